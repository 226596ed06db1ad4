"""Every SCF of the process as a two-level one, while a ``with`` block lasts or for good."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pyscf.lib import logger
from pyscf.scf import atom_hf, dhf, hf
from pyscf.soscf import newton_ah

from pyscf_mlguess.refusal import Attempts, Refusal, check_molecule, check_scf_class, marked_unasked
from pyscf_mlguess.two_level_scf import TwoLevelSCF, forget, two_level

# Where PySCF's SCF objects begin their work: the methods that all others call.
_DRIVERS = ((hf.SCF, "scf"), (dhf.DHF, "scf"), (newton_ah._CIAH_SOSCF, "kernel"))
_lock = threading.Lock()
_originals: dict[tuple[type, str], Callable] = {}
_open = 0
_as_they_are: ContextVar[bool] = ContextVar("scf_objects_as_they_are", default=False)


@contextmanager
def accelerated() -> Iterator[None]:
    """Every molecular SCF that is run while the block lasts is a two-level one, also those that other modules run.

    That of a geometry optimisation, a scanner, a CASSCF's mean field ..., in whatever thread of the process, and in
    processes that are forked; for others there is ``mlguess enable --two-level``.  The objects stay what they are: each
    is of a two-level class (``pyscf_mlguess.two_level``) while its kernel runs, and of its own before and after, with
    the results where PySCF puts them.  What cannot be served is left to plain PySCF, and one line in PySCF's log says
    why.  Blocks may be nested; at the end of the last one PySCF is as it was.
    """
    switch_on()
    try:
        yield
    finally:
        switch_off()


@contextmanager
def as_they_are() -> Iterator[None]:
    """SCF objects that this thread runs in the block are what they are, whatever is switched on: for references."""
    token = _as_they_are.set(True)
    try:
        yield
    finally:
        _as_they_are.reset(token)


def switch_on() -> None:
    """What entering ``accelerated`` does."""
    global _open
    with _lock:
        if _open == 0:
            for cls, name in _DRIVERS:
                _originals[cls, name] = vars(cls)[name]
                setattr(cls, name, _as_two_level(vars(cls)[name]))
        _open += 1


def switch_off() -> None:
    """What leaving ``accelerated`` does; more often than ``switch_on`` does nothing."""
    global _open
    with _lock:
        if _open == 1:
            for (cls, name), original in _originals.items():
                setattr(cls, name, original)
            _originals.clear()
        _open = max(0, _open - 1)


def _as_two_level(original):
    @functools.wraps(original)
    def driver(self, *args, **kwargs):
        # Without cycles there is an energy of the guess to be had, and no SCF; atoms are part of PySCF's guesses.
        if _as_they_are.get() or self.max_cycle <= 0 or isinstance(self, (TwoLevelSCF, atom_hf.AtomSphAverageRHF)):
            return original(self, *args, **kwargs)
        if reason := _left_alone(self):
            logger.note(self, "two-level SCF: plain PySCF runs, %s", reason)
            return original(self, *args, **kwargs)
        plain = type(self)
        with Attempts(self, "two-level SCF") as attempt:
            attempt("plain PySCF", lambda: setattr(self, "__class__", type(two_level(self))))
        if type(self) is plain:
            return original(self, *args, **kwargs)
        try:
            with marked_unasked(self):
                return type(self).scf(self, *args, **kwargs)
        finally:
            self.__class__ = plain
            forget(self)

    return driver


def _left_alone(mf) -> str | None:
    """Why ``mf`` is not made two-level; some of it two_level() takes, because it is asked for."""
    try:
        check_scf_class(mf)
        check_molecule(mf.mol)
    except Refusal as refusal:
        return str(refusal)
    if isinstance(mf, newton_ah._CIAH_SOSCF):
        return "a second-order SCF does not use DIIS"
    if mf.diis is not True or mf.DIIS is not hf.SCF.DIIS:
        return "the object has DIIS settings of its own"
    if mf._eri is not None and mf.mo_coeff is None:
        return "the object has two-electron integrals of its own"
    if "get_occ" in vars(mf):
        return "the object has a get_occ of its own (mom_occ, frac_occ ...)"
    # What another class does before and after its parent's work would be done twice.
    if type(mf).scf is not hf.SCF.scf:
        return f"{type(mf).__name__} has an scf of its own"
    return None
