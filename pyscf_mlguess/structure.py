"""A PySCF molecule as atoms, positions and total charge, and its pairs of atoms; the seam for units (bohr inside)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyscf import gto
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Structure:
    """Atoms of a molecule without any basis.

    numbers: (natm,) int, atomic numbers; ghost atoms are left out.
    positions: (natm, 3) float64, bohr.
    charge: total charge in units of e.
    atoms: (natm,) int, the index in the ``Mole`` of each atom kept here.
    """

    numbers: np.ndarray
    positions: np.ndarray
    charge: int
    atoms: np.ndarray

    @classmethod
    def from_mol(cls, mol: gto.Mole) -> "Structure":
        """Take atoms, positions (bohr) and charge from ``mol``; ghost atoms are skipped."""
        numbers = element_numbers(mol)
        atoms = np.flatnonzero(numbers > 0)
        positions = mol.atom_coords(unit="Bohr").reshape(-1, 3)
        return cls(numbers[atoms], positions[atoms], int(mol.charge), atoms)

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Pairs:
    """Ordered pairs of atoms: with (i, j) stands (j, i).

    first, second: (npairs,) int, the atoms i and j, ordered by i, then by j.
    vectors: (npairs, 3) float64, from i to j, bohr.
    reverse: (npairs,) int, the position of (j, i).
    """

    first: np.ndarray
    second: np.ndarray
    vectors: np.ndarray
    reverse: np.ndarray

    @property
    def distances(self) -> np.ndarray:
        """(npairs,) bohr."""
        return np.linalg.norm(self.vectors, axis=1)

    def __len__(self) -> int:
        return len(self.first)


def pairs(structure: Structure, cutoff: float) -> Pairs:
    """All ordered pairs of different atoms that are at most ``cutoff`` (bohr, may be infinite) apart."""
    found = cKDTree(structure.positions).query_pairs(cutoff, output_type="ndarray")
    first, second = np.concatenate([found, found[:, ::-1]]).T
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    # In the order of the second atom, then the first, the reversed pairs are in the order of the pairs.
    return Pairs(first, second, structure.positions[second] - structure.positions[first], np.lexsort((first, second)))


def element_numbers(mol: gto.Mole) -> np.ndarray:
    """Atomic numbers (0 for ghost atoms), not reduced by effective core potentials, shape (natm,)."""
    return np.array(
        [0 if gto.is_ghost_atom(mol.atom_symbol(i)) else gto.charge(mol.atom_symbol(i)) for i in range(mol.natm)],
        dtype=int,
    ).reshape(-1)
