"""What a density that is not self-consistent says about the self-consistent one.

A density c gives a Fock matrix, and that matrix' orbitals a density c_out.  To first order the residual
r = c_out - c is (chi K - 1)(c - c*), and the way to c* leads through the inverse of the dielectric 1 - chi K.  Here
that inverse is local and learned: for every atom and l a matrix that acts on the atom's own coefficients of r and
on those of its Coulomb potential.  A second response of the same form, learned from what the first one leaves,
finds most of the rest.  The residuals must come from a grid that is fine enough: at the exact density it
is 100 times smaller on PySCF's level 1 than on level 0 (d^T Q d, 2e-5 and 2e-3 of free atoms).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from pyscf import gto

from pyscf_mlguess.shells import irrep_indices


@dataclass
class Response:
    """factor: what the residual is multiplied with, on all atoms alike, or charge and its surroundings fall apart.

    matrices: {(element, l): (n_l, 2 n_l)}, acting on residual and potential, added to it.
    """

    factor: float
    matrices: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def correction(self, numbers: np.ndarray, auxmol: gto.Mole, residual: np.ndarray, coulomb: np.ndarray):
        """c* - c from c_out - c, shape (naux,).

        numbers: (natm,) atomic numbers of the atoms of ``auxmol``; coulomb: (naux, naux), its Coulomb metric.
        """
        result = self.factor * residual
        for number, layout, features in zip(numbers, irrep_indices(auxmol), response_features(auxmol, residual,
                                                                                             coulomb)):
            for l, index in layout.items():
                matrix = self.matrices.get((number, l))
                # An atom whose core no potential replaces has more functions than where it was learned.
                if matrix is not None and matrix.shape[1] == len(features[l]):
                    result[index] += matrix @ features[l]
        return result


def response_features(auxmol: gto.Mole, residual: np.ndarray, coulomb: np.ndarray) -> list[dict[int, np.ndarray]]:
    """Residual and its Coulomb potential for every atom, {l: (2 n_l, 2l+1)}."""
    potential = coulomb @ residual
    return [{l: np.concatenate([residual[index], potential[index]]) for l, index in layout.items()}
            for layout in irrep_indices(auxmol)]
