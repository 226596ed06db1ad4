"""Extended xyz files with charge= and multiplicity= in the comment line, angstrom; errors name file and line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.molecules.molecule import Molecule

_KEY_VALUE = re.compile(r'(?:^|\s)(\w+)=(?:"([^"]*)"|(\S+))')
_COUNT = re.compile(r"\s*0*[1-9][0-9]{0,8}\s*")


class MoleculeFileError(ValueError):
    """A molecule file that cannot be read; the message names the file and the line."""


def read_xyz(path: str | Path) -> list[Molecule]:
    """All frames of an xyz file; a frame without name= is called <file>_<number>.

    Raises MoleculeFileError for the first frame that cannot be read; ``read_molecules`` reads the others.
    """
    molecules = []
    for _, entry in read_frames(path):
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


def read_frames(path: str | Path) -> Iterator[tuple[int, Molecule | MoleculeFileError]]:
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
