"""What a single Fock build is good for: the cheap problem that it corrects says what the next one would find."""

from __future__ import annotations

import numpy as np
from pyscf import lib
from pyscf.lib import logger
from pyscf.scf import chkfile, hf

from pyscf_mlguess.cheap.anderson import Anderson, Correction, Point
from pyscf_mlguess.cheap.grid_levels import left_by_grid
from pyscf_mlguess.parallel import single_blas
from pyscf_mlguess.scf_copy import gradient_threshold
from pyscf_mlguess.stages import count, stage

# The cheap problem is solved to this share of the real gradient.
_RATIO, _MAX_ITERATIONS = 0.01, 20
# Error of the energy over tr (F_1 - F_0)(D_1 - D_0): below 0.001 with PBE, B3LYP and r2SCAN, at most 0.004 with wB97X-D
# (116 molecules, ions and radicals; SF6, which converges from no guess, apart); and what rounding leaves where it
# vanishes, Eh.
_SHARE, _ROUNDING = 0.01, 2e-11
# Gradients (Eh) below this are rounding.
_NOTHING = 1e-9
# Fock matrices that correct a guess, at most.
_MOST_BUILDS = 2


def run(mf: hf.SCF, anderson: Anderson, dm: np.ndarray) -> None:
    """Build one Fock matrix, at the refined ``dm``, and leave in ``mf`` what it predicts of the converged SCF.

    ``e_tot`` is E_0 + tr[(F_0 + F_1)(D_1 - D_0)] / 2 with the solution D_1 of the cheap problem that F_0 corrects and
    its Fock matrix F_1: the trapezoidal rule for dE = tr F dD, right to third order but for the change of the
    correction.  ``energy_error`` (Eh) estimates what that leaves; ``converged`` says whether it is below ``conv_tol``
    and the gradient of the corrected cheap problem below ``conv_tol_grad``.  Orbitals are those of F_1.
    """
    real, h1e, vhf = _built(mf, anderson, dm)
    energy = mf.energy_tot(dm, h1e, vhf)
    point = _solved(anderson, dm, real)
    predicted, change = anderson.corrected(point), np.asarray(point.state.dm) - np.asarray(dm)
    mf.e_tot = float(energy + np.vdot(real + predicted, change) / 2)
    mf.energy_error = float(_SHARE * abs(np.vdot(predicted - real, change)) + _ROUNDING)
    fock = anderson.problem.effective(predicted, point.state)
    if anderson.problem.restricted_open:
        fock = lib.tag_array(fock, focka=predicted[0], fockb=predicted[1])
    mf.mo_energy, mf.mo_coeff = mf.eig(fock, mf.get_ovlp())
    mf.mo_occ = mf.get_occ(mf.mo_energy, mf.mo_coeff)
    gradient, mf.cycles = anderson.gradient(point), 0
    mf.converged = bool(gradient < gradient_threshold(mf) and mf.energy_error < mf.conv_tol)
    logger.note(mf, "two-level SCF: energy predicted from one Fock build, right to some %.1e Eh", mf.energy_error)
    if mf.chkfile:
        chkfile.dump_scf(mf.mol, mf.chkfile, mf.e_tot, mf.mo_energy, mf.mo_coeff, mf.mo_occ)


def corrected(anderson: Anderson, dm: np.ndarray) -> np.ndarray:
    """The solution of the cheap problem that a real Fock matrix, at the refined ``dm``, corrects; seldom a second one.

    Where there is none nearby, the point of the smallest gradient met, ``dm`` itself included.
    """
    problem = anderson.problem
    # Grid, tensor and integrals stay with the user's object, which needs them next; its log and timers are its own.
    quiet = problem.mf.copy().set(verbose=0)
    for _ in range(_MOST_BUILDS):
        real, _, _ = _built(quiet, anderson, dm)
        # A method that hangs on the object itself works on it, not on its copy.
        problem.mf._eri = quiet._eri if problem.mf._eri is None else problem.mf._eri
        before = problem.iterations
        with stage("cheap"), single_blas():
            point = _solved(anderson, dm, real)
            gradient, growth = problem.gradient(real, problem.state_of(dm)), _growth(anderson, point)
        count("cheap_iterations", problem.iterations - before)
        logger.info(problem.mf, "Initial guess corrected by a Fock matrix, |g| = %.1e to %.1e, which grows %.1f times "
                    "in a step without mixing", gradient, anderson.gradient(point), growth)
        dm = point.state.dm
        # What the grid leaves may not grow beyond the SCF's threshold in its last step.
        if growth * left_by_grid(problem.mf) * gradient < gradient_threshold(problem.mf):
            break
    return dm


def _growth(anderson, point):
    """By which factor the gradient grows in a step without mixing, as PySCF's last one is: the larger one of two.

    What the first leaves is mostly in the direction that grows.
    """
    problem, state, spins = anderson.problem, point.state, anderson.corrected(point)
    gradients = [anderson.gradient(point)]
    for _ in range(2):
        state = problem.state(problem.effective(spins, state), spins)
        spins = problem.fock(state) + anderson.correction(state)
        gradients.append(problem.gradient(spins, state))
    return max(after / max(before, _NOTHING) for before, after in zip(gradients, gradients[1:]))


def _built(mf, anderson, dm):
    """The Fock matrix of every spin, and what it is made of."""
    h1e = mf.get_hcore()
    vhf = mf.get_veff(mf.mol, dm)
    # Not h1e + vhf: a solvent's potential is added here.
    fock = mf.get_fock(h1e, mf.get_ovlp(), vhf, dm)
    return anderson.problem.scf.spins(fock), h1e, vhf


def _solved(anderson: Anderson, dm: np.ndarray, real: np.ndarray) -> Point:
    problem = anderson.problem
    problem.precise = True
    start = next((point for point in anderson.points if np.array_equal(point.state.dm, dm)), None)
    if start is None:
        start = anderson.start(problem.state_of(dm))
    anderson.sharpen(start)
    anderson.correction = Correction(problem)
    anderson.correction.add(start.state, real - start.cheap)
    anderson.solve(_RATIO * problem.gradient(real, start.state), _MAX_ITERATIONS)
    if problem.grid_is_coarse:
        anderson.foresee_grid(start.state, finer=2)
        anderson.solve(_RATIO * problem.gradient(real, start.state), _MAX_ITERATIONS)
    return anderson.best()
