"""The two-level SCF led by energies: where mixing fails, and from a saddle point to the minimum below it.

Every real Fock build corrects the cheap energy, to first order, and with the builds nearby to second order; it is then
minimised over rotations within a region of trust.  A build that is higher than the lowest so far shrinks the region,
one that is lower widens it, so that the SCF goes down until it is at a minimum.
"""

from __future__ import annotations

import numpy as np
from pyscf.lib import logger

from pyscf_mlguess.cheap.anderson import Anderson
from pyscf_mlguess.cheap.determinant import Determinant
from pyscf_mlguess.cheap.minimisation import Minimum, Objective, Secant, minimise
from pyscf_mlguess.cheap.problem import State
from pyscf_mlguess.cheap.states import Found, in_doubt, search
from pyscf_mlguess.scf_copy import gradient_threshold
from pyscf_mlguess.stages import count

# The corrected cheap energy is minimised to this share of the real gradient, in this many cheap Fock matrices at most.
_RATIO, _MAX_EVALUATIONS = 0.01, 60
# ... but no further than this share of the SCF's own gradient threshold.
_BELOW_THRESHOLD = 0.1
# Real energies (Eh) this close are the same.
_SAME_ENERGY = 1e-8
# By which the region shrinks after a build that is higher, widens after one that is lower; the size to give up at.
_SHRINK, _WIDEN, _SMALLEST = 0.3, 2.0, 1e-5
# Real points that tell how the correction changes: so many, no further away (norm of the change of the density matrix).
_KNOWN, _NEAR = 4, 0.3
# Density matrices this close (largest element) are the same.
_SAME_DENSITY = 1e-6
# Saddle points to be left in one run.
_MOST_DESCENTS = 3
# Builds after which the end is not far from where the refinement looked at the stability.
_SURE_CYCLES = 2


class Descent:
    """That of one run of a TwoLevelSCF object.

    follows: whether saddle points are left, or only warned of.
    """

    def __init__(self, mf, anderson: Anderson, follows: bool):
        self._mf, self._anderson, self._problem = mf, anderson, anderson.problem
        self._follows = follows
        self._radius, self._energy, self._gradient = np.inf, np.inf, np.inf
        self._best: Determinant | None = None
        self._fock: np.ndarray | None = None
        # Real points met: their states and Fock matrices, and what these differ by from the cheap ones.
        self._known: list[tuple[State, np.ndarray, np.ndarray]] = []
        self._objective: Objective | None = None
        self._handed: Minimum | None = None
        self._below: Minimum | None = None
        self._descents = 0
        self.active, self.at_saddle = anderson.fails, False

    def next(self, d: np.ndarray, f: np.ndarray, h1e: np.ndarray, vhf: np.ndarray) -> np.ndarray | None:
        """The matrix to diagonalise next; arguments as PySCF's ``get_fock`` hands them over.

        None where occupations are not whole, or nothing nearby is lower.
        """
        problem, before = self._problem, self._problem.iterations
        here = self._determinant(d)
        if here is None:
            return None
        problem.precise = self.active = True
        # ROHF hands over the total of both spins.
        dm = here.state.dm if problem.restricted_open else d
        # Of a solvent, vhf holds the potential, but not the energy.
        energy = float(self._mf.energy_tot(dm, h1e, self._mf.last_vhf))
        lower = self._add(here, energy, np.asarray(h1e + vhf) if problem.restricted_open else np.asarray(f))
        if self._radius < _SMALLEST:
            return None
        if not (lower and self._below):
            tolerance = max(_RATIO * self._gradient, _BELOW_THRESHOLD * gradient_threshold(self._mf))
            self._handed = minimise(self._objective, self._best, tolerance, _MAX_EVALUATIONS, self._radius)
        else:
            self._handed = self._below
        self._below = None
        count("cheap_iterations", problem.iterations - before)
        logger.info(self._mf, "two-level SCF: E = %.9f, |g| = %.1e, %s, region of %.1e, %d cheap Fock matrices", energy,
                    self._gradient, "lower" if lower else "higher, back", self._radius, problem.iterations - before)
        determinant, _ = self._handed.determinant.canonical(self._handed.fock)
        return determinant.effective(self._handed.fock)

    def _determinant(self, d):
        if self._handed is not None:
            dm = np.asarray(self._handed.determinant.state.dm)
            if np.abs((dm.sum(axis=0) if dm.ndim > np.ndim(d) else dm) - d).max() < _SAME_DENSITY:
                return self._handed.determinant
        dm = self._mf.last_dm
        found = Determinant.of(self._problem, dm.mo_coeff, dm.mo_occ) if hasattr(dm, "mo_coeff") else None
        # Natural orbitals have no symmetry labels.
        return found if found or self._problem.mol.symmetry else Determinant.of_density(self._problem, d)

    def _add(self, determinant, energy, fock):
        """Whether a real point is the lowest so far."""
        corrected = self._corrected(determinant, fock)
        self._known = [*self._known[1 - _KNOWN :], (determinant.state, fock, corrected.delta)]
        if self._best is not None and energy > self._energy + _SAME_ENERGY:
            self._radius = _SHRINK * min(self._radius, self._distance(determinant))
            self._refine_grid()
            # What the higher point tells corrects the cheap energy around the lowest one, too.
            self._objective = self._with_curvature(self._corrected(self._best, self._fock))
            return False
        self._radius *= _WIDEN
        self._best, self._energy, self._fock = determinant, energy, fock
        self._gradient = float(np.linalg.norm(determinant.gradient(fock))) / 2
        self._objective = self._with_curvature(corrected)
        return True

    def _refine_grid(self):
        if refined := self._problem.refine_grid():
            self._known = [(state, fock, self._delta(state, fock)) for state, fock, _ in self._known]
        return refined

    def _delta(self, state, fock):
        return fock - self._problem.fock(state)

    def _corrected(self, determinant, fock):
        """To first order: what is known of the curvature might make a saddle point of a minimum."""
        state = determinant.state
        return Objective(self._problem, self._delta(state, fock), np.asarray(state.dm))

    def _with_curvature(self, objective):
        """To second order where other builds are near."""
        problem, steps, changes = self._problem, [], []
        for state, _, delta in self._known:
            step = problem.orthonormal_density(np.asarray(state.dm) - objective.origin)
            if _SAME_DENSITY < np.linalg.norm(step) < _NEAR:
                steps.append(step)
                changes.append(problem.orthonormal(delta - objective.delta))
        if steps:
            objective.secant = Secant(np.array(steps), np.array(changes))
        return objective

    def _distance(self, determinant):
        change = np.asarray(determinant.state.dm) - np.asarray(self._best.state.dm)
        return float(np.linalg.norm(self._problem.orthonormal_density(change)))

    def leaves(self, envs: dict) -> bool:
        """Whether a converged run (``envs``, the locals of PySCF's kernel) is at a saddle point and goes on below it.

        ``at_saddle`` says whether it stays at one.
        """
        self.at_saddle = False
        if self._anderson.stable and not self.active and envs["cycle"] < _SURE_CYCLES:
            return False
        found = self._search(envs)
        if found is None or (found.stable is not False and not found.descents):
            return False
        if self._follows and found.descents and self._descents < _MOST_DESCENTS:
            self._descents += 1
            self._below = found.minimum
            self.active = True
            logger.note(self._mf, "two-level SCF: a saddle point at E = %.9f, on from there", envs["e_tot"])
            return True
        self.at_saddle = True
        return False

    def _search(self, envs) -> Found | None:
        """What the corrected cheap problem finds below; None where nothing raises a doubt."""
        determinant, fock = self.determinant(envs), self.spins(envs)
        if determinant is None or not in_doubt(determinant, fock):
            return None
        self._problem.precise = True
        found = search(self._corrected(determinant, fock), determinant)
        # A coarse grid alone may make a saddle point of an open shell that turns freely.
        if found.descents and self._refine_grid():
            found = search(self._corrected(determinant, fock), determinant)
        return found

    def determinant(self, envs: dict) -> Determinant | None:
        """That of the orbitals in the locals of PySCF's kernel; None with fractional occupations."""
        return Determinant.of(self._problem, envs["mo_coeff"], envs["mo_occ"])

    def spins(self, envs: dict) -> np.ndarray:
        """The Fock matrix of every spin there."""
        return self._problem.scf.spins(envs["fock"])
