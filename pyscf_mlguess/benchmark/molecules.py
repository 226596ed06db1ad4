"""Molecule sets: (extended) xyz files with charge= and multiplicity= in the comment line, angstrom."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

from pyscf import gto
from pyscf.data.elements import ELEMENTS, charge

_SETS = Path(__file__).parent / "sets"
_LAST_ALL_ELECTRON_DEF2 = 36
_KEY_VALUE = re.compile(r'(?:^|\s)(\w+)=(?:"([^"]*)"|(\S+))')


class MoleculeFileError(ValueError):
    """A molecule file that cannot be read; the message names the file and the line."""


@dataclass(frozen=True)
class Molecule:
    """One geometry.

    positions: natm triples in angstrom.
    multiplicity: 2S + 1.
    """

    name: str
    symbols: tuple[str, ...]
    positions: tuple[tuple[float, float, float], ...]
    charge: int = 0
    multiplicity: int = 1
    smiles: str = ""

    def mol(self, basis: str) -> gto.Mole:
        """The PySCF molecule, with the core potentials that belong to a def2 basis."""
        def2 = basis.lower().startswith("def2")
        ecp = {symbol: basis for symbol in set(self.symbols) if def2 and charge(symbol) > _LAST_ALL_ELECTRON_DEF2}
        return gto.M(atom=list(zip(self.symbols, self.positions)), unit="Angstrom", charge=self.charge,
                     spin=self.multiplicity - 1, basis=basis, ecp=ecp, verbose=0)

    @property
    def fingerprint(self) -> str:
        """Tells geometries of the same name apart: a hash of atoms, positions, charge and multiplicity."""
        state = (self.symbols, self.positions, self.charge, self.multiplicity)
        return hashlib.sha256(repr(state).encode()).hexdigest()[:12]


def load_set(name_or_path: str | Path) -> list[Molecule]:
    """The molecules of a shipped set (``reference_unseen``) or of an xyz file.

    Raises FileNotFoundError, or MoleculeFileError for what cannot be read and for names that occur twice.
    """
    shipped = {path.stem: path for path in sorted(_SETS.glob("*.xyz"))}
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        raise FileNotFoundError(f"no molecule file {str(path)!r}; the shipped sets are {', '.join(shipped)}")
    molecules = read_xyz(path)
    seen = set()
    for molecule in molecules:
        if molecule.name in seen:
            raise MoleculeFileError(f"{path}: the name {molecule.name!r} occurs twice")
        seen.add(molecule.name)
    return molecules


def read_xyz(path: str | Path) -> list[Molecule]:
    """All frames of an xyz file; a frame without name= is called <file>_<number>."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise MoleculeFileError(f"{path}: not a text file") from None
    molecules, start = [], 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        natm = _parse(int, lines[start], path, start, "the number of atoms")
        if natm < 1:
            raise _error(path, start, f"a molecule of {natm} atoms")
        end = start + 2 + natm
        if end > len(lines):
            raise _error(path, len(lines) - 1, f"the file ends within a molecule of {natm} atoms")
        molecules.append(_read_frame(lines, start, end, path, f"{Path(path).stem}_{len(molecules) + 1}"))
        start = end
    if not molecules:
        raise MoleculeFileError(f"{path}: no molecule in the file")
    return molecules


def write_xyz(path: str | Path, molecules: list[Molecule]) -> None:
    """Write an extended xyz file that ``read_xyz`` gives back unchanged, positions to 1e-6 angstrom."""
    with open(path, "w", encoding="utf-8") as file:
        for molecule in molecules:
            smiles = f' smiles="{molecule.smiles}"' if molecule.smiles else ""
            file.write(f"{len(molecule.symbols)}\nname={molecule.name} charge={molecule.charge} "
                       f"multiplicity={molecule.multiplicity}{smiles}\n")
            for symbol, position in zip(molecule.symbols, molecule.positions):
                file.write(f"{symbol:2s} " + " ".join(f"{x:12.6f}" for x in position) + "\n")


def _read_frame(lines, start, end, path, default_name):
    comment = {key: quoted or plain for key, quoted, plain in _KEY_VALUE.findall(lines[start + 1])}
    atoms = [_read_atom(lines[i], path, i) for i in range(start + 2, end)]
    symbols, positions = zip(*atoms)
    molecule = Molecule(
        name=comment.get("name", default_name),
        symbols=symbols,
        positions=positions,
        charge=_parse(int, comment.get("charge", "0"), path, start + 1, "charge="),
        multiplicity=_parse(int, comment.get("multiplicity", "1"), path, start + 1, "multiplicity="),
        smiles=comment.get("smiles", ""),
    )
    nelec, unpaired = sum(map(charge, symbols)) - molecule.charge, molecule.multiplicity - 1
    if not 0 <= unpaired <= nelec or (nelec - unpaired) % 2:
        raise _error(path, start + 1, f"{nelec} electrons cannot have multiplicity {molecule.multiplicity}; "
                                      "set charge= and multiplicity= in this line")
    return molecule


def _read_atom(line, path, index):
    fields = line.split()
    if len(fields) < 4:
        raise _error(path, index, f"expected an element and three coordinates, found {line.strip()!r}")
    symbol = fields[0].capitalize()
    if symbol not in ELEMENTS[1:]:
        raise _error(path, index, f"unknown element {fields[0]!r}")
    position = tuple(_parse(float, x, path, index, "a coordinate") for x in fields[1:4])
    if not all(map(math.isfinite, position)):
        raise _error(path, index, "a coordinate is not finite")
    return symbol, position


def _parse(kind, text, path, index, what):
    try:
        return kind(text)
    except ValueError:
        raise _error(path, index, f"expected {what}, found {text.strip()!r}") from None


def _error(path, index, message):
    return MoleculeFileError(f"{path}, line {index + 1}: {message}")
