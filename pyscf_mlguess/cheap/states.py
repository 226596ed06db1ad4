"""Which of several solutions the cheap problem hands over: a minimum, and the lowest that it can find.

A solution of the SCF equations may be a saddle point, mostly of higher symmetry than what lies below it: spin-symmetric
diradicals, stretched bonds, bonds between metals.  Where orbitals are close enough for that, the cheap problem looks
at the curvature of its own energy and goes down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyscf.lib import logger
from pyscf.scf import uhf

from pyscf_mlguess.cheap.anderson import Anderson, Point
from pyscf_mlguess.cheap.determinant import Determinant
from pyscf_mlguess.cheap.minimisation import Minimum, Objective, minimise
from pyscf_mlguess.cheap.problem import State
from pyscf_mlguess.cheap.stability import downhill, lowest_curvature
from pyscf_mlguess.level import LevelOfTheory

# Gradient (Eh) to which states are minimised, and the most cheap Fock matrices of one minimisation.
_TOLERANCE, _MAX_EVALUATIONS = 1e-4, 150
_MOST_DESCENTS = 4
# Density matrices of alpha and beta this close (largest element) are the same.
_SAME_SPINS = 1e-6
# Frontier gaps (Eh) above which no saddle is to be feared: without exact exchange, what a share of 1 adds, and at most;
# where both spins share their orbitals, and where they may part.  The largest gaps of saddles in the set
# broken_symmetry: restricted none with PBE, 0.11 with B3LYP, 0.35 with Hartree-Fock; unrestricted 0.12 with either.
_SAFE, _SAFE_APART = (0.02, 0.5, 0.38), (0.13, 0.4, 0.5)


@dataclass
class Found:
    """minimum: where the search ended.  descents: saddle points left behind.  stable: None where nobody looked."""

    minimum: Minimum
    descents: int
    stable: bool | None


def in_doubt(determinant: Determinant, fock: np.ndarray) -> bool:
    """Whether a solution with the Fock matrix ``fock`` (of every spin) may be a saddle point, by its frontier gap."""
    least, slope, most = _SAFE if np.ndim(fock) == 2 else _SAFE_APART
    safe = min(least + slope * LevelOfTheory.of(determinant.problem.mf).exact_exchange, most)
    return determinant.canonical(fock)[0].smallest_gap(fock) < safe


def lower_state(anderson: Anderson, best: Point, converged: bool) -> State | None:
    """A state below that of ``best``, where the iterations ended, or one that they did not reach; None for no other.

    The history of ``anderson``, that of another state, is forgotten then.
    converged: whether the iterations got to where they should.
    """
    problem = anderson.problem
    # A start that nothing improved has no orbitals of its own.
    points = [best, *sorted(anderson.points, key=anderson.gradient)]
    point, determinant = next(((p, d) for p in points if (d := Determinant.of_state(problem, p.state))), (best, None))
    if determinant is None or (converged and not in_doubt(determinant, anderson.corrected(point))):
        return None
    precise = problem.precise
    objective = Objective(problem, anderson.correction(point.state), np.asarray(point.state.dm))
    if converged:
        # Mostly it is a minimum, and clearly enough for single precision.
        problem.precise = False
        if _lowest_curvature(objective, determinant, anderson.corrected(point)).is_clearly_stable:
            anderson.stable, problem.precise = True, precise
            return None
    problem.precise = True
    found = search(objective, determinant, converged)
    if converged and not found.descents:
        anderson.stable, problem.precise = found.stable, precise
        return None
    state = found.minimum.determinant.state
    logger.info(problem.mf, "Initial guess: %s, saddle points left: %d, in %d cheap Fock matrices",
                "from the solution on" if converged else "minimised", found.descents, objective.evaluations)
    anderson.restart()
    anderson.fails, anderson.stable = not converged, found.stable
    anderson.start(state)
    return state


def search(objective: Objective, determinant: Determinant, converged: bool = True) -> Found:
    """The minimum below ``determinant``, which is a solution already or (not ``converged``) the start of one."""
    energy, fock = objective(determinant.state)
    if converged:
        minimum = Minimum(determinant, energy, fock, float(np.linalg.norm(determinant.gradient(fock))) / 2)
    else:
        minimum = minimise(objective, determinant, _TOLERANCE, _MAX_EVALUATIONS)
    descents = 0
    while in_doubt(minimum.determinant, minimum.fock):
        curvature = _lowest_curvature(objective, minimum.determinant, minimum.fock)
        if curvature.is_stable or descents == _MOST_DESCENTS:
            return Found(minimum, descents, curvature.is_stable)
        minimum = minimise(objective, downhill(objective, curvature), _TOLERANCE, _MAX_EVALUATIONS)
        descents += 1
    return Found(minimum, descents, None)


def _lowest_curvature(objective, determinant, fock):
    return lowest_curvature(objective, determinant, fock, _spins_stay_together(objective.problem.mf, determinant))


def _spins_stay_together(mf, determinant):
    """Whether the user wants alpha and beta alike, as they are: UHF of a singlet without ``init_guess_breaksym``."""
    if mf.mol.spin or not isinstance(mf, uhf.UHF) or mf.init_guess_breaksym:
        return False
    alpha, beta = np.asarray(determinant.state.dm)
    return bool(np.abs(alpha - beta).max() < _SAME_SPINS)
