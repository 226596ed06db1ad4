"""Molecule sets: SMILES, or (extended) xyz files with charge= and multiplicity= in the comment line, angstrom."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyscf import gto
from pyscf.data.elements import ELEMENTS, charge

_SETS = Path(__file__).parent / "sets"
_LAST_ALL_ELECTRON_DEF2 = 36
_KEY_VALUE = re.compile(r'(?:^|\s)(\w+)=(?:"([^"]*)"|(\S+))')
_COUNT = re.compile(r"\s*0*[1-9][0-9]{0,8}\s*")


class MoleculeFileError(ValueError):
    """A molecule file that cannot be read; the message names the file and the line."""


@dataclass(frozen=True)
class Molecule:
    """One geometry.

    positions: natm triples in angstrom.
    multiplicity: 2S + 1. Raises ValueError where the electrons cannot have it.
    inchikey: without stereochemistry (``training.split.molecule_key``), or empty.
    path: frames of one geometry path share this name and are in order; empty for a single geometry.
    """

    name: str
    symbols: tuple[str, ...]
    positions: tuple[tuple[float, float, float], ...]
    charge: int = 0
    multiplicity: int = 1
    smiles: str = ""
    inchikey: str = ""
    path: str = ""

    def __post_init__(self):
        nelec, unpaired = sum(map(charge, self.symbols)) - self.charge, self.multiplicity - 1
        if not 0 <= unpaired <= nelec or (nelec - unpaired) % 2:
            raise ValueError(f"{nelec} electrons cannot have multiplicity {self.multiplicity}")

    def mol(self, basis: str) -> gto.Mole:
        """The PySCF molecule, with the core potentials that belong to a def2 basis."""
        ecp = {symbol: basis for symbol in set(self.symbols) if has_core_potential(symbol, basis)}
        return gto.M(atom=list(zip(self.symbols, self.positions)), unit="Angstrom", charge=self.charge,
                     spin=self.multiplicity - 1, basis=basis, ecp=ecp, verbose=0)

    @property
    def fingerprint(self) -> str:
        """Tells geometries of the same name apart: a hash of atoms, positions, charge and multiplicity."""
        state = (self.symbols, self.positions, self.charge, self.multiplicity)
        return hashlib.sha256(repr(state).encode()).hexdigest()[:12]


def has_core_potential(symbol: str, basis: str) -> bool:
    """Whether ``Molecule.mol`` replaces the core of this element by the potential that belongs to the basis."""
    return basis.lower().startswith("def2") and charge(symbol) > _LAST_ALL_ELECTRON_DEF2


def shipped_sets() -> dict[str, Path]:
    """Name and file of each benchmark set of the package."""
    return {path.stem: path for path in sorted(_SETS.glob("*.xyz"))}


def load_set(name_or_path: str | Path) -> tuple[list[Molecule], list[MoleculeFileError]]:
    """The molecules of a shipped set (``qm9_size``) or of a file, and the errors of those that cannot be read.

    Raises FileNotFoundError, and MoleculeFileError as ``read_molecules``.
    """
    shipped = shipped_sets()
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        raise FileNotFoundError(f"no molecule file {str(path)!r}; the shipped sets are {', '.join(shipped)}")
    return read_molecules(path)


def read_molecules(path: str | Path) -> tuple[list[Molecule], list[MoleculeFileError]]:
    """The molecules of a .smi or xyz file (any other suffix), and the errors of those that cannot be read.

    The second molecule of the same name counts as an error. Raises MoleculeFileError where no molecule can be read
    and for a file that is not text.
    """
    molecules, errors = {}, []
    for _, entry in iter_molecules(path):
        if isinstance(entry, MoleculeFileError):
            errors.append(entry)
        else:
            molecules[entry.name] = entry
    if not molecules:
        raise errors[0] if errors else MoleculeFileError(f"{path}: no molecule in the file")
    return list(molecules.values()), errors


def iter_molecules(path: str | Path) -> Iterator[tuple[int, Molecule | MoleculeFileError]]:
    """Line index and molecule, or its error, one after the other: ``read_molecules`` for files of any length.

    Raises MoleculeFileError for a file that is not text.
    """
    if is_smi(path):
        from pyscf_mlguess.benchmark.smiles import read_smi as read  # imports this module
    else:
        read = _read_frames
    names = set()
    for index, entry in read(path):
        if not isinstance(entry, MoleculeFileError):
            if entry.name in names:
                entry = line_error(path, index, f"the name {entry.name!r} occurs twice")
            else:
                names.add(entry.name)
        yield index, entry


def count_molecules(path: str | Path) -> int:
    """How many molecules and errors ``iter_molecules`` will give, without embedding any SMILES; errors as there."""
    if is_smi(path):
        from pyscf_mlguess.benchmark.smiles import smi_lines

        return sum(1 for _ in smi_lines(path))
    return sum(1 for _ in _read_frames(path))


def is_smi(path: str | Path) -> bool:
    """Whether a molecule file holds SMILES; all others hold xyz frames."""
    return Path(path).suffix.lower() == ".smi"


def read_xyz(path: str | Path) -> list[Molecule]:
    """All frames of an xyz file; a frame without name= is called <file>_<number>.

    Raises MoleculeFileError for the first frame that cannot be read; ``read_molecules`` reads the others.
    """
    molecules = []
    for _, entry in _read_frames(path):
        if isinstance(entry, MoleculeFileError):
            raise entry
        molecules.append(entry)
    if not molecules:
        raise MoleculeFileError(f"{path}: no molecule in the file")
    return molecules


def write_xyz(path: str | Path, molecules: list[Molecule]) -> None:
    """Write an extended xyz file that ``read_xyz`` gives back unchanged, positions to 1e-6 angstrom.

    Raises ValueError for texts that hold a quotation mark or a line break.
    """
    with open(path, "w", encoding="utf-8") as file:
        for molecule in molecules:
            comment = [f"name={_quoted(molecule.name)}", f"charge={molecule.charge}",
                       f"multiplicity={molecule.multiplicity}"]
            comment += [f"{key}={_quoted(text)}" for key in ("smiles", "inchikey", "path")
                        if (text := getattr(molecule, key))]
            file.write(f"{len(molecule.symbols)}\n{' '.join(comment)}\n")
            for symbol, position in zip(molecule.symbols, molecule.positions):
                file.write(f"{symbol:2s} " + " ".join(f"{x:12.6f}" for x in position) + "\n")


def text_lines(path: str | Path) -> list[str]:
    """The lines of a text file. Raises MoleculeFileError for anything else."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise MoleculeFileError(f"{path}: not a text file")
    return text.splitlines()


def line_error(path: str | Path, index: int, message: str) -> MoleculeFileError:
    """The error of the line with this index (from 0) of a file."""
    return MoleculeFileError(f"{path}, line {index + 1}: {message}")


def _read_frames(path):
    """Line index and molecule, or its error, of each frame of an xyz file."""
    lines = text_lines(path)
    start, number = _after_blanks(lines, 0), 0
    while start < len(lines):
        number += 1
        try:
            end = _frame_end(lines, start, path)
            entry = _read_frame(lines, start, end, path, f"{Path(path).stem}_{number}")
        except MoleculeFileError as error:
            entry, end = error, _end_of_bad_frame(lines, start)
        yield start + 1, entry
        start = _after_blanks(lines, end)


def _frame_end(lines, start, path):
    natm = _parse(int, lines[start], path, start, "the number of atoms")
    if natm < 1:
        raise line_error(path, start, f"a molecule of {natm} atoms")
    end = start + 2 + natm
    if end > len(lines):
        raise line_error(path, len(lines) - 1, f"the file ends within a molecule of {natm} atoms")
    return end


def _end_of_bad_frame(lines, start):
    """Where the atom count says, if a frame can begin there; else the next line that is an atom count."""
    first = start + 1
    if _COUNT.fullmatch(lines[start]):
        end = start + 2 + int(lines[start])
        following = _after_blanks(lines, end)
        if end <= len(lines) and (following == len(lines) or _COUNT.fullmatch(lines[following])):
            return end
        first = start + 2  # the comment line may be a number, too
    return next((i for i in range(first, len(lines)) if _COUNT.fullmatch(lines[i])), len(lines))


def _after_blanks(lines, start):
    return next((i for i in range(start, len(lines)) if lines[i].strip()), len(lines))


def _quoted(text):
    if '"' in text or len(text.splitlines()) > 1:
        raise ValueError(f"an xyz comment line cannot hold the text {text!r}")
    return f'"{text}"'


def _read_frame(lines, start, end, path, default_name):
    comment = {key: quoted or plain for key, quoted, plain in _KEY_VALUE.findall(lines[start + 1])}
    atoms = [_read_atom(lines[i], path, i) for i in range(start + 2, end)]
    symbols, positions = zip(*atoms)
    total = _parse(int, comment.get("charge", "0"), path, start + 1, "charge=")
    multiplicity = _parse(int, comment.get("multiplicity", "1"), path, start + 1, "multiplicity=")
    texts = {key: comment.get(key, "") for key in ("smiles", "inchikey", "path")}
    try:
        return Molecule(comment.get("name", default_name), symbols, positions, total, multiplicity, **texts)
    except ValueError as error:
        raise line_error(path, start + 1, f"{error}; set charge= and multiplicity= in this line") from None


def _read_atom(line, path, index):
    fields = line.split()
    if len(fields) < 4:
        raise line_error(path, index, f"expected an element and three coordinates, found {line.strip()!r}")
    symbol = fields[0].capitalize()
    if symbol not in ELEMENTS[1:]:
        raise line_error(path, index, f"unknown element {fields[0]!r}")
    position = tuple(_parse(float, x, path, index, "a coordinate") for x in fields[1:4])
    if not all(map(math.isfinite, position)):
        raise line_error(path, index, "a coordinate is not finite")
    return symbol, position


def _parse(kind, text, path, index, what):
    try:
        return kind(text)
    except ValueError:
        raise line_error(path, index, f"expected {what}, found {text.strip()!r}") from None
