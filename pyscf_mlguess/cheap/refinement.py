"""Refines any density matrix by converging the cheap problem from it, before the first real Fock matrix is built."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pyscf.lib import logger
from pyscf.scf import hf

from pyscf_mlguess.cheap import one_build
from pyscf_mlguess.cheap.anderson import Anderson
from pyscf_mlguess.cheap.determinant import Determinant
from pyscf_mlguess.cheap.grid_levels import correcting_levels, grid_matters
from pyscf_mlguess.cheap.orientation import FreeRotation, Pin
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.cheap.states import in_doubt, lower_state
from pyscf_mlguess.parallel import single_blas
from pyscf_mlguess.refusal import check_density_matrix, check_molecule, check_scf_class
from pyscf_mlguess.stages import count, stage

MAX_ITERATIONS = 20
# The coarse grid's own error is left at this gradient (Eh); there the finer grid's correction is taken.
_COARSE_TOLERANCE = 1e-2
_TOLERANCE = 1e-3
# An ordinary SCF takes what is handed over as it is; the two-level SCF goes on with the same iterations.  Closed shells
# of GGAs are corrected a second time, by a finer grid: 12 cycles instead of 27 in three quarters of the time (PBE, six
# molecules; from minao 12 with 1e-5 and 17 with 1e-4).
_CLOSE = 1e-5
# Without exchange and correlation on a grid, density fitting is the only error, and the solution worth more.
_TOLERANCE_WITHOUT_GRID = 1e-4


def refine(mf: hf.SCF, dm: np.ndarray) -> np.ndarray:
    """``dm`` after some iterations of the cheap problem: a better start for ``mf.kernel(dm0=...)``.

    mf: RHF, RKS, UHF, UKS, ROHF or ROKS object; nothing of it changes, but what its SCF will need and is made here
        stays with it: tensor of density fitting, grid, integrals.  dm: (nao, nao) or (2, nao, nao).
    Returns the density matrix of the smallest orbital gradient met, ``dm`` itself included, in the same shape.
    One Fock matrix of ``mf`` is built where it saves more than it takes: for open shells, meta-GGAs and range-separated
    functionals, of which the coarse grid leaves much, and for small frontier gaps.  Raises ValueError (Refusal) for
    another SCF class, a molecule without a meaningful density or a matrix of another shape.
    """
    check_scf_class(mf)
    check_molecule(mf.mol)
    check_density_matrix(mf, dm)
    return refined_alone(unsolved(mf), dm)


def refined_alone(anderson: Anderson, dm: np.ndarray, otherwise: Callable[[], np.ndarray] | None = None,
                  descend: bool = False) -> np.ndarray:
    """As ``refined``, for an ordinary SCF, which does not go on with the cheap problem."""
    better = refined(anderson, dm, otherwise, descend, closely=True)
    return one_build.corrected(anderson, better) if _wants_real_fock(anderson) else better


def _wants_real_fock(anderson):
    problem = anderson.problem
    if not problem.semilocal or getattr(problem.mf, "sigma", None):
        return False
    if grid_matters(problem.mf):
        return True
    # Near an instability what is left of the gradient may grow from cycle to cycle of an ordinary SCF.
    best = anderson.best()
    determinant = Determinant.of_state(problem, best.state)
    return determinant is None or in_doubt(determinant, anderson.corrected(best))


def unsolved(mf: hf.SCF, corrected: bool = False) -> Anderson:
    """The cheap problem of ``mf`` before its first iteration; raises Refusal where there is none.

    corrected: as for ``CheapProblem``.
    """
    with stage("cheap"):
        return Anderson(CheapProblem(mf, corrected))


def refined(anderson: Anderson, dm: np.ndarray, otherwise: Callable[[], np.ndarray] | None = None,
            descend: bool = False, closely: bool = False) -> np.ndarray:
    """``refine`` with a cheap problem that the caller goes on using.

    otherwise: another density matrix to begin with where the iterations from ``dm`` get stuck.
    descend: go on from saddle points, and where the iterations do not converge, to a minimum of the energy.
    closely: solve the cheap problem as far as it is right, for an SCF that does not go on with it.
    """
    with stage("cheap"), single_blas():
        best, gradient = _refined(anderson, dm, closely)
        if otherwise is not None and gradient >= _COARSE_TOLERANCE:
            anderson.restart()
            again, lower = _refined(anderson, otherwise(), closely)
            best, gradient = (again, lower) if lower < gradient else (best, gradient)
        state = best.state
        if descend:
            converged = gradient < (_COARSE_TOLERANCE if best.given else _TOLERANCE)
            state = lower_state(anderson, best, converged) or state
        return _oriented(anderson, state.dm, handed=np.array_equal(state.dm, dm))


def _oriented(anderson, dm, handed):
    """``dm``, turned and held where the grid decides about its orientation: see ``cheap.orientation``.

    handed: whether it is what was handed over, converged already, and stays where it is.
    """
    problem = anderson.problem
    free = FreeRotation.of(problem.mf, dm, problem.hcore)
    if free is None:
        return dm
    dm = dm if handed else free.lowest(problem.mf, dm)
    # Points of other orientations would turn it back.
    anderson.restart()
    problem.precise, anderson.pin = True, Pin(problem, dm, free.tangents(dm))
    return anderson.start(problem.state_of(dm)).state.dm


def _refined(anderson, dm, closely):
    """The point of the smallest gradient met, and that gradient (Eh)."""
    problem = anderson.problem
    before = problem.iterations
    start = anderson.start(problem.state_of(dm))
    # Of a spherical atom that fills its orbitals in part it vanishes, too, whatever the number of electrons.
    is_state = start.entering is not None or bool(getattr(problem.mf, "sigma", None))
    if is_state and anderson.gradient(start) < (_COARSE_TOLERANCE if problem.semilocal else _TOLERANCE):
        # A converged density matrix, say: the cheap problem cannot tell it from its own solution.
        return start, anderson.gradient(start)
    tolerance = _CLOSE if closely else _TOLERANCE
    if problem.semilocal:
        gradient = anderson.solve(_COARSE_TOLERANCE, MAX_ITERATIONS)
        for k, level in enumerate(correcting_levels(problem.mf, problem.grid_level, closely)):
            if k == 0 or gradient < _TOLERANCE:
                state = anderson.best().state
                anderson.correction.add(state, problem.grid_correction(state, level))
                gradient = anderson.solve(tolerance, MAX_ITERATIONS)
    else:
        anderson.solve(tolerance, MAX_ITERATIONS)
        problem.precise = True
        anderson.solve(_TOLERANCE_WITHOUT_GRID, MAX_ITERATIONS)
    best = min([anderson.best()] + [start] * is_state, key=anderson.gradient)
    iterations = problem.iterations - before
    count("cheap_iterations", iterations)
    gradient = anderson.gradient(best)
    logger.info(problem.mf, "Initial guess refined in %d cheap iterations from |g| = %.1e to %.1e.%s", iterations,
                anderson.gradient(start), gradient, "".join(f"  {note}." for note in problem.notes))
    return best, gradient
