"""The Coulomb metric J_PQ = (P|Q) of auxiliary functions and its root, near-singular ones included."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.linalg
from pyscf import gto

# Eigenvalues below this share of the largest one are linear dependencies.
_LINEAR_DEPENDENCE = 1e-12


def function_integrals(mol: gto.Mole) -> np.ndarray:
    """Integral over space of every function of ``mol``, shape (nao,): electrons in each auxiliary function."""
    constant = gto.fakemol_for_charges(np.zeros((1, 3)))
    # A normalised s function of vanishing exponent, rescaled to the constant 1.
    constant._env[constant._bas[0, gto.PTR_EXP]] = 0.0
    constant._env[constant._bas[0, gto.PTR_COEFF]] = np.sqrt(4 * np.pi)
    constant.cart = mol.cart
    return gto.intor_cross("int1e_ovlp", mol, constant)[:, 0]


class Metric:
    """A positive symmetric ``matrix`` (naux, naux), Eh, as L L^T.

    L is the Cholesky factor, or, where the functions are linearly dependent to rounding, the scaled eigenvectors of
    the space that is left: (naux, rank).
    """

    def __init__(self, matrix: np.ndarray):
        self.matrix = matrix

    @classmethod
    def coulomb(cls, auxmol: gto.Mole) -> "Metric":
        """That of the Coulomb interaction, which ``auxmol.with_range_coulomb`` may change."""
        return cls(auxmol.intor("int2c2e", hermi=1))

    @cached_property
    def _cholesky(self) -> np.ndarray | None:
        try:
            return scipy.linalg.cholesky(self.matrix, lower=True)
        except scipy.linalg.LinAlgError:
            return None

    @cached_property
    def _eigenpairs(self):
        values, vectors = scipy.linalg.eigh(self.matrix)
        keep = values > _LINEAR_DEPENDENCE * values[-1]
        return np.sqrt(values[keep]), vectors[:, keep]

    @property
    def rank(self) -> int:
        """Number of linearly independent functions."""
        return len(self.matrix) if self._cholesky is not None else len(self._eigenpairs[0])

    @cached_property
    def least_eigenvalue(self) -> float:
        """About the smallest one, Eh, from the 1-norm of the inverse; 0 where functions are linearly dependent."""
        if self._cholesky is None:
            return 0.0
        norm = np.linalg.norm(self.matrix, 1)
        return float(scipy.linalg.lapack.dpocon(self._cholesky, norm, uplo="L")[0] * norm)

    def solve(self, vector: np.ndarray) -> np.ndarray:
        """J^-1 applied to (naux,) or (naux, k); its pseudoinverse where functions are linearly dependent."""
        if self._cholesky is not None:
            return scipy.linalg.cho_solve((self._cholesky, True), vector)
        roots, vectors = self._eigenpairs
        return (vectors / roots**2) @ (vectors.T @ vector)

    def root(self, vector: np.ndarray) -> np.ndarray:
        """L applied to (rank,)."""
        return self._cholesky @ vector if self._cholesky is not None else self._scaled @ vector

    def root_transposed(self, vector: np.ndarray) -> np.ndarray:
        """L^T applied to (naux,)."""
        return self._cholesky.T @ vector if self._cholesky is not None else self._scaled.T @ vector

    def solve_root(self, rows: np.ndarray) -> np.ndarray:
        """L^-1 (its pseudoinverse) applied to (naux, k): (rank, k)."""
        if self._cholesky is not None:
            return scipy.linalg.solve_triangular(self._cholesky, rows, lower=True, check_finite=False)
        roots, vectors = self._eigenpairs
        return (vectors / roots).T @ rows

    @property
    def _scaled(self):
        roots, vectors = self._eigenpairs
        return vectors * roots
