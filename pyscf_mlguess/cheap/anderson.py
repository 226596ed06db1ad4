"""Preconditioned Anderson mixing of the Fock matrix, with a history that stays exact when the problem is corrected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pyscf_mlguess.cheap.dielectric import Dielectric
from pyscf_mlguess.cheap.grid_levels import own_level
from pyscf_mlguess.cheap.problem import CheapProblem, State
from pyscf_mlguess.parallel import in_threads

SPACE = 10
DAMPING = 0.3
# Before the gradient, over the root of the number of electrons, is below this (Eh), orbitals tell the wrong screening.
_SCREENED = 0.05
# Iterations without a smaller gradient after which the best so far is handed over.
_PATIENCE = 5
# Where residuals are of fewer numbers than so many times the points, singular values of their differences, scaled to
# the norm 1, below this share of the largest are noise.
_FEW, _COLLINEAR = 3, 1e-5
_SMALLEST_NORM = 1e-300


class Correction:
    """F_real - F_cheap as a function of the density matrix, from the density matrices where it is known.

    Nothing known: zero.  One: a constant.  More: linear in D between them (multisecant), constant in
    all other directions.
    """

    def __init__(self, problem: CheapProblem):
        self._problem = problem
        self._known: list[tuple[np.ndarray, np.ndarray]] = []
        self._foreseen: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, state: State, delta: np.ndarray) -> None:
        self._known, self._foreseen = [*self._known[1 - SPACE :], (np.asarray(state.dm), delta)], []

    def foresee(self, state: State, change: np.ndarray) -> None:
        """Where it is thought to be larger by ``change`` than at the last one known; forgotten when one is added."""
        self._foreseen = [(np.asarray(state.dm), self._known[-1][1] + change)]

    def __call__(self, state: State) -> np.ndarray | float:
        known = [*self._known, *self._foreseen]
        if not known:
            return 0.0
        last_dm, last = known[-1]
        if len(known) == 1:
            return last
        metric = self._problem.orthonormal_density
        steps = np.array([metric(dm - last_dm) for dm, _ in known[:-1]]).T
        weights = np.linalg.lstsq(steps, metric(np.asarray(state.dm) - last_dm), rcond=1e-3)[0]
        return last + sum(w * (delta - last) for w, (_, delta) in zip(weights, known))


@dataclass
class Point:
    """entering: effective Fock matrix handed in; state: its density matrix; cheap: the cheap Fock matrix of that.

    precise: whether that matrix was made in double precision.  given: whether the density matrix came first; then the
    matrix handed in follows from it and from the correction of the day.
    """

    entering: np.ndarray
    state: State
    cheap: np.ndarray
    precise: bool
    given: bool = False


@dataclass
class Anderson:
    """Solves F = F_cheap(D(F)) + correction(D(F)) (D. G. Anderson, J. ACM 12, 547 (1965)).

    Every point keeps its cheap Fock matrix without the correction, so that all points serve for every
    correction: the two-level SCF goes on with the history of the cycles before.

    pin: one more matrix as a function of the state, which vanishes at the solution.
    fails: whether mixing did not get to a solution, and energies are to lead.  stable: whether the last solution is a
    minimum; None where nothing raised a doubt.
    """

    problem: CheapProblem
    correction: Correction = None
    points: list[Point] = field(default_factory=list)
    dielectric: Dielectric | None = None
    pin: Callable[[State], np.ndarray] = None
    fails: bool = False
    stable: bool | None = None

    def __post_init__(self):
        self.correction = self.correction or Correction(self.problem)

    def restart(self) -> None:
        """Forget all points and corrections."""
        self.points, self.correction, self.pin = [], Correction(self.problem), None
        self.problem.precise, self.dielectric = False, None

    def start(self, state: State) -> Point:
        """Begin at any density matrix: with the Fock matrix nearest to its own that gives it back.

        Where there is none, fractional occupations, the history begins one step later.
        """
        cheap = self.problem.fock(state)
        effective = self.problem.effective(cheap, state)
        entering = self.problem.commuting(effective, state)
        point = Point(entering, state, cheap, self.problem.precise, given=True)
        if entering is None:
            self.add(effective, cheap)
        else:
            self.points = [*self.points[1 - SPACE :], point]
        return point

    def add(self, entering: np.ndarray, spins: np.ndarray) -> Point:
        """The point of an effective Fock matrix and (for ROHF) the alpha and beta matrices behind it."""
        state = self.problem.state(entering, spins)
        point = Point(entering, state, self.problem.fock(state), self.problem.precise)
        self.points = [*self.points[1 - SPACE :], point]
        return point

    def sharpen(self, point: Point) -> None:
        """Make the cheap Fock matrix of ``point`` again if it is of single precision and the problem now of double."""
        if self.problem.precise and not point.precise:
            point.cheap, point.precise = self.problem.fock(point.state), True

    def corrected(self, point: Point) -> np.ndarray:
        return point.cheap + self.correction(point.state) + (self.pin(point.state) if self.pin else 0.0)

    def gradient(self, point: Point) -> float:
        return self.problem.gradient(self.corrected(point), point.state)

    def foresee_grid(self, since: State, finer: int) -> None:
        """Correct the best point by how a grid so many levels finer answers to the step from ``since``, known last."""
        best, problem = self.best().state, self.problem
        level = min(problem.grid_level + finer, own_level(problem.mf, problem.grid_level))
        self.correction.foresee(best, problem.grid_correction(best, level, since))

    def best(self) -> Point:
        return self.points[int(np.argmin(in_threads(self.gradient, self.points)))]

    def next(self) -> tuple[np.ndarray, np.ndarray]:
        """(effective Fock matrix, matrices of every spin) to try next."""
        problem = self.problem
        spins = [self.corrected(point) for point in self.points]
        effective = [problem.effective(f, point.state) for f, point in zip(spins, self.points)]
        entering = [problem.commuting(f, p.state) if p.given else p.entering for f, p in zip(effective, self.points)]
        residuals = [f - e for f, e in zip(effective, entering)]
        metric = self.dielectric.metric if self.dielectric else problem.orthonormal
        weights = _weights(np.array(in_threads(metric, residuals)))
        entering, residual, spins = (np.tensordot(weights, matrices, 1) for matrices in (entering, residuals, spins))
        return entering + (self.dielectric.step(residual) if self.dielectric else DAMPING * residual), spins

    def solve(self, tolerance: float, max_iterations: int) -> float:
        """Iterate until the best gradient is below ``tolerance`` or no longer falls; returns that gradient."""
        lowest, waiting = self.gradient(self.best()), 0
        for _ in range(max_iterations):
            if lowest <= tolerance or waiting >= _PATIENCE:
                break
            self._set_up_dielectric(lowest)
            gradient = self.gradient(self.add(*self.next()))
            waiting = 0 if gradient < lowest else waiting + 1
            lowest = min(lowest, gradient)
        return lowest

    def _set_up_dielectric(self, gradient):
        if self.dielectric is None and gradient < _SCREENED * np.sqrt(self.problem.mol.nelectron) and (
                Dielectric.pays(self.problem)):
            self.screen()

    def screen(self) -> None:
        """Set up the dielectric of the best point, whatever the gradient and its time."""
        best = self.best()
        spins = self.corrected(best)
        self.dielectric = Dielectric(self.problem, self.problem.effective(spins, best.state), spins)


def _weights(residuals):
    """Coefficients that add up to 1 and give the combination of least norm."""
    last = residuals[-1]
    differences = (residuals[:-1] - last).T
    if not differences.size:
        return np.ones(1)
    # A small molecule has few directions; most of ten differences are collinear there, and would leap far.
    norms, least = 1.0, 1e-8
    if len(differences) < _FEW * SPACE:
        norms, least = np.maximum(np.linalg.norm(differences, axis=0), _SMALLEST_NORM), _COLLINEAR
    solution = np.linalg.lstsq(differences / norms, -last, rcond=least)[0] / norms
    return np.append(solution, 1 - solution.sum())
