"""A PySCF molecule as atoms, positions and total charge; the seam for units (bohr inside)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyscf import gto


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


def element_numbers(mol: gto.Mole) -> np.ndarray:
    """Atomic numbers (0 for ghost atoms), not reduced by effective core potentials, shape (natm,)."""
    return np.array(
        [0 if gto.is_ghost_atom(mol.atom_symbol(i)) else gto.charge(mol.atom_symbol(i)) for i in range(mol.natm)],
        dtype=int,
    ).reshape(-1)
