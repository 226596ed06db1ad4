"""How electrons screen a change of the Fock matrix: the preconditioner of the cheap problem.

The response of independent electrons, chi_PQ = -sum_ia w_ia (P|ia)(ia|Q) with w_ia = 2 (f_i - f_a) / (e_a - e_i),
and the Coulomb interaction give the dielectric matrix 1 - chi, in orthonormal auxiliary functions (the random phase
approximation), or V - chi in those of the metric V.  With it a residual R of the Fock matrix becomes the step
R + J[(1 - chi)^-1 chi R], Newton's but for the response of exchange and correlation: an iteration gains a factor of ten
instead of two to three.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.memory import free_mb
from pyscf_mlguess.parallel import in_threads, shares

# Gaps (Eh) below this one would turn nearly degenerate orbitals by more than a linear response can tell.
_LEAST_GAP = 0.05
# Orbitals this far (Eh) from the frontier hardly respond: the window costs no iteration and saves half of the pairs.
_DEEP, _HIGH = 5.0, 2.0
# Pairs of orbitals whose occupations differ by less do not respond.
_LEAST_DIFFERENCE = 1e-3
# Of all pairs, about as many are in the window.
_SHARE_OF_PAIRS = 0.4
# Seconds for a multiplication in the products of large matrices that set it up, and in an iteration's with what is
# around them (PBE/def2-SVP, 31 and 45 atoms: 0.28 and 0.91 s to set up, iterations of 0.08 and 0.15 s).
_OPERATION, _ITERATIONS_OPERATION = 3e-11, 1.4e-10
_SAVED_ITERATIONS = 5
# Pairs at a time.
_COLUMNS = 1024


class Dielectric:
    """The screening by the orbitals of one Fock matrix.

    problem: a cheap problem with a Coulomb tensor.  effective, spins: matrix to diagonalise, and those of every spin,
    as ``CheapProblem.state`` takes them.
    """

    def __init__(self, problem: CheapProblem, effective: np.ndarray, spins: np.ndarray):
        self._tensor = problem.coulomb_tensor
        self._channels = [_Channel(*orbitals) for orbitals in problem.orbitals(effective, spins)]
        integrals = self._tensor.transformed([(c.occupied, c.empty) for c in self._channels])
        metric = self._tensor.rows_metric
        # A small eigenvalue of the metric is not to drown in the rounding of what is added to it.
        dtype = np.float32 if metric is None else np.float64
        matrix = np.eye(self._tensor.rank) if metric is None else metric.copy()
        for channel, pairs in zip(self._channels, integrals):
            channel.integrals = pairs
            matrix += _response(pairs, channel.weights, dtype)
        self._factor = scipy.linalg.cho_factor(matrix, overwrite_a=True)

    @staticmethod
    def pays(problem: CheapProblem) -> bool:
        """Whether it fits into memory and takes less time than the iterations that it saves.

        For large molecules without exact exchange it does not: it grows with the fourth power of the size, an iteration
        with the third at most.
        """
        saved = _SAVED_ITERATIONS * _ITERATIONS_OPERATION * problem.multiplications
        return Dielectric.seconds(problem) < saved

    @staticmethod
    def seconds(problem: CheapProblem) -> float:
        """About those of one core that it takes to set up; infinite where it does not fit into memory."""
        tensor = problem.coulomb_tensor
        if tensor is None:
            return np.inf
        nao, nocc = problem.mol.nao, max(problem.mol.nelec)
        pairs = nocc * (nao - nocc) * _SHARE_OF_PAIRS
        if 4e-6 * tensor.rank * pairs > free_mb(problem.mf):
            return np.inf
        return tensor.rank * (nao**2 * nocc + nao * pairs + tensor.rank * pairs / 2) * _OPERATION

    def metric(self, residual: np.ndarray) -> np.ndarray:
        """``residual`` as a vector whose square is the second-order energy it stands for."""
        matrices = residual if residual.ndim == 3 else [residual]
        return np.concatenate([channel.rotations(r) * np.sqrt(channel.weights)
                               for channel, r in zip(self._channels, matrices)])

    def step(self, residual: np.ndarray) -> np.ndarray:
        """The change of the Fock matrix that removes ``residual``, both of the shape of the effective one, Eh."""
        matrices = residual if residual.ndim == 3 else [residual]
        density = sum(channel.integrals @ -(channel.rotations(r) * channel.weights).astype(np.float32)
                      for channel, r in zip(self._channels, matrices))
        screened = scipy.linalg.cho_solve(self._factor, density.astype(float))
        return residual + self._tensor.combine(screened)


def _response(integrals, weights, dtype):
    """sum_k w_k (P|k)(k|Q), shape (naux, naux), by products of the precision ``dtype``."""
    roots = np.sqrt(weights).astype(dtype)
    chunks = range(0, len(roots), _COLUMNS)

    def share(numbers):
        matrix = np.zeros((len(integrals), len(integrals)))
        for k in numbers:
            columns = slice(chunks[k], chunks[k] + _COLUMNS)
            half = integrals[:, columns] * roots[columns]
            matrix += half @ half.T
        return matrix

    return sum(in_threads(share, shares(len(chunks))))


class _Channel:
    """Orbitals of one spin, or of both where they share them: those that give electrons, those that take them."""

    def __init__(self, energies, coefficients, occupations):
        gives = occupations > _LEAST_DIFFERENCE
        takes = occupations < occupations.max(initial=0.0) - _LEAST_DIFFERENCE
        gives &= energies > energies[gives].max(initial=-np.inf) - _DEEP
        takes &= energies < energies[takes].min(initial=np.inf) + _HIGH
        self.occupied, self.empty = coefficients[:, gives], coefficients[:, takes]
        difference = occupations[gives][:, None] - occupations[takes]
        gap = np.maximum(energies[takes] - energies[gives][:, None], _LEAST_GAP)
        # A pair of fractional orbitals stands here in both orders, one of them negative.
        self.weights = (2 * np.maximum(difference, 0.0) / gap).ravel()
        self.integrals: np.ndarray

    def rotations(self, matrix):
        return (self.occupied.T @ matrix @ self.empty).ravel()
