"""Direct minimisation of the cheap energy over rotations of the orbitals, where mixing of Fock matrices fails.

Geometric direct minimisation: quasi-Newton steps in canonical orbitals of every step, into which the history is turned
(T. Van Voorhis, M. Head-Gordon, Mol. Phys. 100, 1713 (2002)).  It needs no aufbau principle and goes downhill alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyscf_mlguess.cheap.determinant import Determinant
from pyscf_mlguess.cheap.problem import CheapProblem, State

_HISTORY = 12
# Curvatures (Eh) are taken for at least this much; the first steps' length (radians), and the longest.
_LEAST_CURVATURE, _RADIUS, _LONGEST, _SHORTEST = 0.1, 0.3, 1.0, 1e-6
# Changes of the density matrix are linearly dependent below this share of the largest.
_INDEPENDENT = 1e-3
# Energies (Eh) this close are the same: rounding in double precision.
_SAME_ENERGY = 1e-9


class Secant:
    """The symmetric matrix A of least norm with A s = y: how one thing changes (y) when another does (s).

    Powell's, for several pairs at once (R. B. Schnabel, Quasi-Newton methods using multiple secant equations,
    University of Colorado, CU-CS-247-83 (1983)): with S+ the pseudo-inverse of the steps, A = Y S+ + (Y S+)^T
    - S+^T S^T Y S+.

    steps, changes: (pairs, n) of a density matrix, and of a Fock matrix, in an orthonormal basis, flat.
    """

    def __init__(self, steps: np.ndarray, changes: np.ndarray):
        self._changes = changes
        self._inverse = np.linalg.pinv(steps.T, rcond=_INDEPENDENT)
        # That of a real energy is symmetric.
        product = steps @ changes.T
        self._product = (product + product.T) / 2

    def __call__(self, step: np.ndarray) -> np.ndarray:
        weights = self._inverse @ step
        return self._changes.T @ weights + self._inverse.T @ (self._changes @ step - self._product @ weights)


@dataclass
class Objective:
    """The cheap energy, corrected around a density matrix D_0: E_cheap(D) + tr d (delta + A d / 2), d = D - D_0.

    delta: F_real - F_cheap at D_0, shape of the density matrix; 0 without.
    secant: A, how delta changes with the density matrix, as far as it is known.
    """

    problem: CheapProblem
    delta: np.ndarray | float = 0.0
    origin: np.ndarray | float = 0.0
    secant: Secant | None = None
    evaluations: int = 0

    def __call__(self, state: State) -> tuple[float, np.ndarray]:
        """Energy (Eh, up to a constant) and Fock matrix of every spin."""
        self.evaluations += 1
        energy, fock = self.problem.energy_and_fock(state)
        if not np.ndim(self.delta):
            return float(energy), fock
        step = np.asarray(state.dm) - self.origin
        energy, fock = energy + np.vdot(self.delta, step), fock + self.delta
        if self.secant is not None:
            step = self.problem.orthonormal_density(step)
            change = self.secant(step)
            energy, fock = energy + change @ step / 2, fock + self.problem.from_orthonormal(change, fock.shape)
        return float(energy), fock


@dataclass
class Minimum:
    """Where a minimisation ended.  fock: of every spin.  gradient: norm as PySCF has it, Eh."""

    determinant: Determinant
    energy: float
    fock: np.ndarray
    gradient: float


def minimise(objective: Objective, start: Determinant, tolerance: float, max_evaluations: int,
             reach: float = np.inf) -> Minimum:
    """Go down from ``start`` until the gradient (Eh) is below ``tolerance``.

    reach: largest change of the density matrix, as its Frobenius norm in an orthonormal basis.
    """
    metric = objective.problem.orthonormal_density
    origin = metric(np.asarray(start.state.dm))
    determinant, radius, pairs = start, _RADIUS, []
    energy, fock = objective(start.state)
    last = objective.evaluations + max_evaluations
    while True:
        determinant, turned = determinant.canonical(fock, [vector for pair in pairs for vector in pair])
        pairs = list(zip(turned[::2], turned[1::2]))
        gradient = determinant.gradient(fock)
        norm = float(np.linalg.norm(gradient)) / 2
        if norm < tolerance or objective.evaluations >= last or radius < _SHORTEST:
            return Minimum(determinant, energy, fock, norm)
        curvature = np.maximum(np.abs(determinant.curvature(fock)), _LEAST_CURVATURE)
        step = _quasi_newton(gradient, curvature, pairs)
        step *= min(1.0, radius / np.linalg.norm(step))
        new = determinant.rotated(step)
        state, at_border = new.state, False
        while (distance := np.linalg.norm(metric(np.asarray(state.dm)) - origin)) > reach:
            step *= max(0.3, 0.9 * reach / distance)
            new, at_border = determinant.rotated(step), True
            state = new.state
        found, new_fock = objective(state)
        new_gradient = new.gradient(new_fock)
        expected, gained = -(step @ gradient) / 2, energy - found
        if gained < -_SAME_ENERGY and np.linalg.norm(new_gradient) / 2 > tolerance:
            radius, pairs = min(radius, np.linalg.norm(step)) / 3, []
            continue
        if gained > 0.7 * expected:
            radius = min(1.5 * radius, _LONGEST)
        elif gained < 0.2 * expected:
            radius = max(np.linalg.norm(step) / 2, 10 * _SHORTEST)
        change = new_gradient - gradient
        if step @ change > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            pairs = [*pairs[1 - _HISTORY :], (step, change)]
        determinant, energy, fock = new, found, new_fock
        if at_border:
            return Minimum(determinant, energy, fock, float(np.linalg.norm(new_gradient)) / 2)


def _quasi_newton(gradient, curvature, pairs):
    """The L-BFGS step (J. Nocedal, Math. Comput. 35, 773 (1980)) that begins with ``curvature``."""
    direction, shares = gradient.copy(), []
    for step, change in reversed(pairs):
        shares.append(step @ direction / (step @ change))
        direction -= shares[-1] * change
    direction /= curvature
    for (step, change), share in zip(pairs, reversed(shares)):
        direction += step * (share - change @ direction / (step @ change))
    return -direction if direction @ gradient > 0 else -gradient / curvature
