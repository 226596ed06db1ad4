"""The molecules of a reference file that no training run sees, as a benchmark set."""

from __future__ import annotations

from pathlib import Path

from pyscf_mlguess.benchmark.molecules import Molecule, write_xyz
from pyscf_mlguess.training.reference import read_entry, read_names
from pyscf_mlguess.training.split import split_of


def write_unseen(reference: str | Path, path: str | Path) -> None:
    """Write the geometries of the test split of a reference HDF5 file to an extended xyz file."""
    molecules = []
    for name, smiles in read_names(reference):
        if split_of(smiles) == "test":
            mol = read_entry(reference, name).mol("sto-3g")
            positions = tuple(map(tuple, mol.atom_coords(unit="Angstrom").tolist()))
            molecules.append(Molecule(name, tuple(mol.elements), positions, mol.charge, mol.multiplicity, smiles))
    write_xyz(path, molecules)
