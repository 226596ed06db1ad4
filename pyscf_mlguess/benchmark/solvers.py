"""PySCF's own answers to an SCF that does not converge, compared as if they were guesses: all start from minao."""

from __future__ import annotations

from collections.abc import Callable

from pyscf import scf

# Second-order: the augmented Hessian of soscf.newton_ah.
NEWTON = "solver:newton"


def _newton(mf):
    return mf.newton()


def _level_shift(mf):
    mf.level_shift = 0.2  # Eh
    return mf


def _damping(mf):
    # Inside DIIS.  mf.damp ends where DIIS begins: with the documented diis_start_cycle = 2, PySCF 2.14 damps nothing,
    # and a later start converges fewer of the transition metal compounds than this.
    mf.diis_damp = 0.5
    return mf


# Name of the solver, and what makes an SCF object use it: the object itself or one around it.
SOLVERS: dict[str, Callable[[scf.hf.SCF], scf.hf.SCF]] = {
    NEWTON: _newton, "solver:level-shift": _level_shift, "solver:damping": _damping,
}
