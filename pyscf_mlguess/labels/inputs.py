"""Input files -> one task per molecule: SMILES, xyz frames, geometries of label files, converged orbitals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py

from pyscf_mlguess.labels.calculation import calculate, displaced, label_of_orbitals, stretched
from pyscf_mlguess.molecules.files import count_molecules, iter_molecules
from pyscf_mlguess.molecules.hdf5 import open_hdf5
from pyscf_mlguess.molecules.label import Label, Level, molecule_of
from pyscf_mlguess.molecules.label_files import Failure, is_label_file, read_labels, read_summary
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.orbital_files import read_entry, read_names
from pyscf_mlguess.molecules.xyz import MoleculeFileError

METHODS = ("cheap", "scf")


@dataclass(frozen=True)
class Settings:
    """What is calculated for every molecule.

    levels: to converge.  method: ``calculation.calculate``'s.  displacements: standard deviations (angstrom) of
        which every molecule from a .smi or xyz file gets one.  stretches: lengthenings of a bond, in the same way.
    orbital_basis: that of given orbitals whose level names none.  orbitals: whether labels keep the occupied orbitals.
    """

    levels: tuple[Level, ...]
    method: str = "cheap"
    displacements: tuple[float, ...] = (0.0,)
    stretches: tuple[float, ...] = (0.0,)
    orbital_basis: str = "def2-svp"
    orbitals: bool = False


@dataclass(frozen=True)
class Task:
    """A molecule, called by its id, and the levels that it is to have.

    method, orbitals: see Settings.  entry: converged orbitals of these levels, whose densities are fitted only.
    """

    molecule: Molecule
    levels: tuple[Level, ...]
    method: str = "cheap"
    orbitals: bool = False
    entry: Label | None = None

    def label(self) -> Label:
        """Raises LabelError, and whatever else a calculation fails with."""
        if self.entry is None:
            return calculate(self.molecule, self.levels, self.method, self.orbitals)
        given = {str(level): self.entry.orbitals[str(level)] for level in self.levels}
        return label_of_orbitals(replace(self.entry, name=self.molecule.name, orbitals=given), self.orbitals)

    def failure(self, reason: str) -> Failure:
        """The record of this task's failure."""
        return Failure(self.molecule.name, self.molecule.smiles, reason, " ".join(map(str, self.levels)))


def count_tasks(path: str | Path) -> int:
    """How many entries ``read_tasks`` will give, known in a moment.

    Raises FileNotFoundError, and ValueError for a file that is none of the inputs.
    """
    kind = _kind(path)
    if kind == "labels":
        return len(read_summary(path))
    if kind == "orbitals":
        return len(read_names(path))
    count = count_molecules(path)
    if not count:
        raise MoleculeFileError(f"{path}: no molecule in the file")
    return count


def read_tasks(path: str | Path, settings: Settings) -> Iterator[Task | Failure]:
    """The tasks of a file one after the other, and failures in the place of entries that cannot be read."""
    kind = _kind(path)
    if kind == "labels":
        for label in read_labels(path):
            yield _task(molecule_of(label), settings)
    elif kind == "orbitals":
        for name, smiles in read_names(path):
            yield _orbital_task(path, name, smiles, settings)
    else:
        for index, entry in iter_molecules(path):
            if isinstance(entry, MoleculeFileError):
                reason = str(entry).removeprefix(f"{path}, ")
                yield Failure(f"{Path(path).name}, line {index + 1}", "", reason)
            else:
                number = int(entry.fingerprint, 16)
                turn, number = divmod(number, len(settings.displacements))
                moved = stretched(entry, settings.stretches[turn % len(settings.stretches)])
                yield _task(_identified(displaced(moved, settings.displacements[number])), settings)


def _kind(path):
    if not Path(path).is_file():
        raise FileNotFoundError(f"no input file {str(path)!r}")
    if not h5py.is_hdf5(path):
        return "molecules"
    if is_label_file(path):
        return "labels"
    with open_hdf5(path) as file:
        first = next(iter(file.values()), None)
        if not (isinstance(first, h5py.Group) and "positions_bohr" in first):
            raise ValueError(f"{path}: HDF5, but neither labels nor converged orbitals; their layouts stand in "
                             "molecules/label_files.py and molecules/orbital_files.py")
    return "orbitals"


def _identified(molecule):
    """Named by its geometry, too: the same name in two files is no clash."""
    return replace(molecule, name=f"{molecule.name}-{molecule.fingerprint}")


def _task(molecule, settings):
    return Task(molecule, settings.levels, settings.method, settings.orbitals)


def _orbital_task(path, name, smiles, settings):
    try:
        entry = read_entry(path, name, settings.orbital_basis)
        molecule = _identified(molecule_of(entry))
    except ValueError as error:
        return Failure(f"{Path(path).name}, {name}", smiles, str(error).removeprefix(f"{path}: "))
    return Task(molecule, tuple(map(Level.parse, entry.orbitals)), settings.method, settings.orbitals, entry)
