"""What PySCF calls between a real Fock matrix and its diagonalisation in a two-level SCF."""

from __future__ import annotations

import numpy as np
from pyscf import lib
from pyscf.lib import logger

from pyscf_mlguess.cheap.anderson import Correction
from pyscf_mlguess.cheap.grid_levels import left_by_grid
from pyscf_mlguess.parallel import single_blas
from pyscf_mlguess.refusal import Attempts
from pyscf_mlguess.scf_copy import gradient_threshold
from pyscf_mlguess.stages import count, stage

MAX_ITERATIONS = 10
# The corrected cheap problem is solved to this share of the real gradient.
_RATIO = 0.01
# ... but no further than this share of the SCF's own gradient threshold.
_BELOW_THRESHOLD = 0.1
# A finer grid corrects the step where the coarse one may leave this share of that threshold.
_FORESEE = 0.5
# Mixing that leaves this share of the gradient has failed, and energies lead.
_POOR = 0.5
# Energies lead when this many real gradients in a row are hardly smaller than the best before.
_PATIENCE, _FALLS = 2, 0.7
# Density matrices this close (largest element) are the same: those of earlier points, and those of a Fock matrix that
# went through PySCF's own diagonalisation.  Near the solution all points are close to each other.
_SAME, _SAME_FOCK = 1e-9, 1e-6


class TwoLevelDIIS(lib.diis.DIIS):
    """What PySCF calls between a Fock matrix and its diagonalisation, in place of CDIIS."""

    def __init__(self, mf, filename=None):
        lib.diis.DIIS.__init__(self, mf, filename)
        plain, self._plain_start = mf.plain_diis()
        self._new_plain = lambda: plain(mf, filename)
        self._plain = self._new_plain()
        self._cycle = -1
        self._gradients = []
        self._handed = None
        self._off = False

    def restart_plain(self) -> None:
        """Let plain DIIS forget the points so far, which a descent came by."""
        self._plain = self._new_plain()

    def share_left(self, gradient: float) -> float | None:
        """``gradient`` as a share, 1 at most, of that of the last real Fock matrix handed over; None before one was.

        From a converged density matrix both are rounding, and their ratio may be anything.
        """
        return min(1.0, gradient / self._gradients[-1]) if self._gradients and self._gradients[-1] > 0 else None

    def update(self, s, d, f, mf, h1e=None, vhf=None, f_prev=None, **kwargs):
        """The Fock matrix to diagonalise next; arguments as PySCF's ``get_fock`` hands them over."""
        self._cycle += 1
        plain = f
        if self._cycle >= self._plain_start:
            # Kept up to date, so that plain DIIS can take over at any cycle.
            for name in ("space", "rollback", "damp", "Corth"):
                setattr(self._plain, name, getattr(self, name, None))
            plain = self._plain.update(s, d, f, mf, h1e, vhf, f_prev=f_prev, **kwargs)
        if self._off:
            return plain
        with Attempts(mf, "two-level SCF") as attempt, stage("cheap"), single_blas():
            fock = attempt("plain DIIS", lambda: self._next(d, np.asarray(f), plain, mf, h1e, vhf))
        if fock is None:
            mf.give_up()
            self._off = True
        return plain if fock is None else fock

    def _next(self, d, f, plain, mf, h1e, vhf):
        anderson = mf.cheap_problem()
        if anderson is None:
            self._off = True
            return plain
        if mf.descent.active:
            return self._downhill(d, f, plain, mf, h1e, vhf)
        problem, before = anderson.problem, anderson.problem.iterations
        real = np.asarray(h1e + vhf) if problem.restricted_open else f
        point = self._point(anderson, d)
        if point is None:
            self._handed = np.asarray(plain), real
            return plain
        gradient = problem.gradient(real, point.state)
        if not self._gradients:
            # The refinement's correction is that of a finer grid, another function of D than the real one.
            anderson.correction = Correction(problem)
        anderson.correction.add(point.state, real - point.cheap)
        if self._stuck(gradient):
            logger.note(mf, "two-level SCF: the gradient no longer falls (|g| = %.1e), energies lead from here",
                        gradient)
            return self._downhill(d, f, plain, mf, h1e, vhf)
        # Well below the SCF's own threshold: PySCF's last, undamped step may multiply what is left.
        threshold = gradient_threshold(mf)
        least = _BELOW_THRESHOLD * threshold
        reached = anderson.solve(max(_RATIO * gradient, least), MAX_ITERATIONS)
        if reached > max(_POOR * gradient, least) and (fock := mf.descent.next(d, f, h1e, vhf)) is not None:
            return fock
        # A second real Fock matrix tells by itself how the grids differ along a step.
        first = len(self._gradients) == 1
        if first and problem.grid_is_coarse and left_by_grid(mf) * gradient > _FORESEE * threshold:
            anderson.foresee_grid(point.state, finer=1)
            reached = anderson.solve(max(_RATIO * gradient, least), MAX_ITERATIONS)
        self._handed = anderson.next()
        iterations = problem.iterations - before
        count("cheap_iterations", iterations)
        logger.info(mf, "two-level SCF: |g| = %.1e, %.1e after %d cheap iterations", gradient, reached, iterations)
        return self._handed[0]

    def _downhill(self, d, f, plain, mf, h1e, vhf):
        fock = mf.descent.next(d, f, h1e, vhf)
        if fock is None:
            logger.note(mf, "two-level SCF: fractional occupations or nothing lower nearby, plain DIIS from here")
            mf.give_up()
            self._off = True
            return plain
        return fock

    def _point(self, anderson, d):
        """The point of density matrix ``d``; None for one of ROHF that did not come from here, its total alone."""
        d = np.asarray(d)
        anderson.problem.precise = True
        for point in anderson.points:
            if _same(point.state.dm, d, _SAME):
                anderson.sharpen(point)
                return point
        if self._handed is not None:
            state = anderson.problem.state(*self._handed)
            if _same(state.dm, d, _SAME_FOCK):
                return anderson.add(*self._handed)
        return None if anderson.problem.restricted_open else anderson.start(anderson.problem.state_of(d))

    def _stuck(self, gradient):
        self._gradients.append(gradient)
        recent, earlier = self._gradients[-_PATIENCE:], self._gradients[:-_PATIENCE]
        return bool(earlier) and min(recent) > _FALLS * min(earlier)


def _same(dm, d, largest):
    # ROHF hands over the total of both spins.
    total = dm[0] + dm[1] if dm.ndim == 3 and d.ndim == 2 else dm
    return total.shape == d.shape and np.abs(total - d).max() < largest
