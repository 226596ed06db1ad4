"""Molecules from .smi and xyz files, bad entries as errors beside the good ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.smiles import read_smi, smi_lines
from pyscf_mlguess.molecules.xyz import MoleculeFileError, line_error, read_frames


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
    names = set()
    for index, entry in (read_smi if _is_smi(path) else read_frames)(path):
        if not isinstance(entry, MoleculeFileError):
            if entry.name in names:
                entry = line_error(path, index, f"the name {entry.name!r} occurs twice")
            else:
                names.add(entry.name)
        yield index, entry


def count_molecules(path: str | Path) -> int:
    """How many molecules and errors ``iter_molecules`` will give, without embedding any SMILES; errors as there."""
    return sum(1 for _ in (smi_lines if _is_smi(path) else read_frames)(path))


def _is_smi(path: str | Path) -> bool:
    """Whether a molecule file holds SMILES; all others hold xyz frames."""
    return Path(path).suffix.lower() == ".smi"
