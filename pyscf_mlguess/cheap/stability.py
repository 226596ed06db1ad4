"""Whether a solution is a minimum: the lowest curvature of the energy under rotations of the orbitals, by Davidson.

The product of the Hessian with a rotation is the difference of two gradients, of one cheap Fock matrix each, so that
it knows everything that the cheap problem knows (R. Seeger, J. A. Pople, J. Chem. Phys. 66, 3045 (1977)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyscf_mlguess.cheap.determinant import Determinant
from pyscf_mlguess.cheap.minimisation import Objective

# Length of the rotation (radians) behind a difference of gradients, in double and in single precision: then rounding
# and what is beyond the second order leave about 1e-3 of a curvature of 1 Eh.
_DIFFERENCE, _COARSE_DIFFERENCE = 2e-3, 1e-2
# Curvatures (Eh) below are those of another, lower solution.
_UNSTABLE = -1e-3
# ... and known well enough below this one.
_CLEARLY_UNSTABLE = -0.01
# ... and those that are not, whatever rounding in single precision does to them.
_CLEARLY_STABLE = 0.02
_RESIDUAL, _LEAST_DENOMINATOR = 3e-3, 0.1
_MAX_PRODUCTS = 40
# Davidson's method begins with so many rotations at most, of curvatures (of independent electrons, Eh) this close to
# the lowest: fewer miss an instability of another symmetry (Co2, CoN).
_STARTS, _NEAR = 8, 0.1
# Lengths (radians) of first steps down.
_STEPS = (0.1, 0.3, 0.6)


@dataclass
class Curvature:
    """The lowest one found, Eh, and the rotation of unit length that has it.

    determinant: that to which the rotation belongs.
    """

    lowest: float
    direction: np.ndarray
    determinant: Determinant

    @property
    def is_stable(self) -> bool:
        return self.lowest > _UNSTABLE

    @property
    def is_clearly_stable(self) -> bool:
        """Whether that holds even if it was found in single precision."""
        return self.lowest > _CLEARLY_STABLE


def lowest_curvature(objective: Objective, determinant: Determinant, fock: np.ndarray,
                     spins_together: bool = False) -> Curvature:
    """Davidson's method (J. Comput. Phys. 17, 87 (1975)), as far as the sign of the lowest curvature needs it.

    fock: that of ``determinant``, which is a solution of ``objective``.  spins_together: alpha and beta, which occupy
    the same orbitals, are turned alike.
    """
    determinant, _ = determinant.canonical(fock)
    if spins_together:
        determinant = determinant.with_shared_orbitals()
    gradient, diagonal = determinant.gradient(fock), determinant.curvature(fock)
    difference = _DIFFERENCE if objective.problem.precise else _COARSE_DIFFERENCE

    def product(vector):
        state = (new := determinant.rotated(difference * vector)).state
        return (new.gradient(objective(state)[1]) - gradient) / difference

    space, products = np.empty((0, len(diagonal))), np.empty((0, len(diagonal)))
    trials = _first(diagonal)
    while True:
        known = len(space)
        for trial in trials:
            if spins_together:
                trial = np.tile(trial.reshape(2, -1).sum(axis=0), 2)
            # Twice, for the digits that the first time loses.
            for _ in range(2):
                trial = trial - space.T @ (space @ trial)
            if (norm := np.linalg.norm(trial)) > 1e-3:
                space = np.vstack([space, trial / norm])
                products = np.vstack([products, product(trial / norm)])
        matrix = space @ products.T
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        value, vector = values[0], vectors[:, 0]
        residual = vector @ products - value * (vector @ space)
        size = np.linalg.norm(residual)
        done = size < _RESIDUAL or value < _CLEARLY_UNSTABLE or value - size > 0 or len(space) == known
        if done or len(space) >= min(_MAX_PRODUCTS, len(diagonal)):
            return Curvature(float(value), vector @ space, determinant)
        denominator = diagonal - value
        trials = [residual / np.where(np.abs(denominator) < _LEAST_DENOMINATOR, _LEAST_DENOMINATOR, denominator)]
        trials[0] /= np.linalg.norm(trials[0])


def _first(diagonal):
    """The rotations between the closest orbitals, and one of no symmetry at all, which finds what these cannot."""
    trials = [np.eye(1, len(diagonal), k)[0] for k in np.argsort(diagonal)[:_STARTS]
              if diagonal[k] < diagonal.min() + _NEAR]
    signs = np.random.default_rng(0).choice([-1.0, 1.0], len(diagonal))
    mixed = signs / np.maximum(diagonal, _LEAST_DENOMINATOR) ** 2
    return [*trials, mixed / np.linalg.norm(mixed)]


def downhill(objective: Objective, curvature: Curvature) -> Determinant:
    """The lowest of a few determinants along the direction of negative curvature, both ways."""
    candidates = [curvature.determinant.rotated(sign * step * curvature.direction)
                  for step in _STEPS for sign in (1, -1)]
    return min(candidates, key=lambda candidate: objective(candidate.state)[0])
