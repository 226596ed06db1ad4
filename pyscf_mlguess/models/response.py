"""What a density that is not self-consistent says about the self-consistent one.

A density c gives a Fock matrix, and that matrix' orbitals a density c_out.  To first order the residual
r = c_out - c is (chi K - 1)(c - c*), and the way to c* leads through the inverse of the dielectric 1 - chi K.  Here
that inverse is local and learned: for every atom and l a matrix that acts on the atom's own coefficients of r and
on those of its Coulomb potential.  The residual must come from a grid that is fine enough: at the exact density it
is 100 times smaller on PySCF's level 1 than on level 0 (d^T Q d, 2e-5 and 2e-3 of free atoms).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyscf import gto

from pyscf_mlguess.shells import irrep_indices

# The inverse dielectric where nothing is known, a damping factor.
DAMPING = 0.3


@dataclass
class Response:
    """matrices: {(element, l): (n_l, 2 n_l)}, acting on residual and potential, to be added to ``DAMPING`` r."""

    matrices: dict[tuple[int, int], np.ndarray]

    def correction(self, numbers: np.ndarray, auxmol: gto.Mole, residual: np.ndarray, coulomb: np.ndarray):
        """c* - c from c_out - c, shape (naux,).

        numbers: (natm,) atomic numbers of the atoms of ``auxmol``; coulomb: (naux, naux), its Coulomb metric.
        """
        result = DAMPING * residual
        for number, layout, features in zip(numbers, irrep_indices(auxmol), response_features(auxmol, residual,
                                                                                             coulomb)):
            for l, index in layout.items():
                if (number, l) in self.matrices:
                    result[index] += self.matrices[number, l] @ features[l]
        return result


def response_features(auxmol: gto.Mole, residual: np.ndarray, coulomb: np.ndarray) -> list[dict[int, np.ndarray]]:
    """Residual and its Coulomb potential for every atom, {l: (2 n_l, 2l+1)}."""
    potential = coulomb @ residual
    return [{l: np.concatenate([residual[index], potential[index]]) for l, index in layout.items()}
            for layout in irrep_indices(auxmol)]
