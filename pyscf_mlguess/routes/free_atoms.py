"""The density matrix that the Fock matrix of free atoms gives: what a predicted one is relative to.

One diagonalisation, no self-consistency (Harris, Phys. Rev. B 31, 1770 (1985)), makes bonds and whole occupations.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from pyscf import dft, gto, scf

from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.routes.auxiliary_fock import AuxiliaryFock
from pyscf_mlguess.routes.occupation import spread_over_degenerate

# PySCF's level of the grid.
GRID_LEVEL = 0


def density_matrix(mol: gto.Mole, xc: str, electrons: np.ndarray) -> np.ndarray:
    """S^1/2 D S^1/2 of the occupied orbitals of the free atoms' Fock matrix, (nao, nao).

    xc: a functional without exact exchange.  electrons: (n,) in each occupied orbital, the free atoms' density being
    brought to as many in all.
    """
    fitting = DensityFitting(mol)
    potential = SemilocalPotential.of(dft.RKS(mol, xc=xc))
    coefficients = fitting.restore_electron_count(free_atom_coefficients(fitting.auxmol), electrons.sum())
    fock = scf.hf.get_hcore(mol) + AuxiliaryFock(fitting, potential, GRID_LEVEL).matrix(coefficients)[0]
    values, vectors = scipy.linalg.eigh(mol.intor_symmetric("int1e_ovlp"))
    inverse = (vectors / np.sqrt(values)) @ vectors.T
    return lowest_filled(inverse @ fock @ inverse, electrons)


def lowest_filled(fock: np.ndarray, electrons: np.ndarray) -> np.ndarray:
    """The density matrix of the lowest orbitals of a Fock matrix, both (n, n) in an orthonormal basis.

    electrons: in each of them, 2 or 1.  A degenerate frontier is filled alike, or the matrix would not turn with the
    molecule.
    """
    energies, orbitals = scipy.linalg.eigh(fock)
    occupations = np.pad(electrons, (0, len(energies) - len(electrons)))
    return (orbitals * spread_over_degenerate(energies, occupations)) @ orbitals.T
