"""Learned initial guesses for PySCF: import this package and set ``mf.init_guess = 'ml'``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from pyscf_mlguess import startup

# PySCF's configuration file may import this package: PySCF itself is imported by functions alone.
if TYPE_CHECKING:
    from pyscf_mlguess.refusal import GuessFailed, GuessRefused, SaddlePoint

__version__ = "0.2.0"
__all__ = ["GuessFailed", "GuessRefused", "SaddlePoint", "accelerated", "energy", "guess", "load_model", "refine",
           "register", "two_level", "unregister"]


def accelerated():
    """Every SCF in a ``with`` block as a two-level one: see ``pyscf_mlguess.accelerated_scf.accelerated``."""
    from pyscf_mlguess import accelerated_scf

    return accelerated_scf.accelerated()


def energy(mf, guess="ml"):
    """Energy and dipole of a guess from one Fock build, without an SCF: see ``pyscf_mlguess.guess_energy.energy``."""
    from pyscf_mlguess import guess_energy

    return guess_energy.energy(mf, guess)


def guess(mf, model: str = "ml"):
    """The initial density matrix that ``mf.init_guess = model`` would start from, for ``mf.kernel(dm0=...)``.

    mf: SCF object.  model: ``'ml'`` or ``'ml:<name or path>'``.  Works without ``register`` too.
    Returns (nao, nao), or (2, nao, nao) for UHF, UKS, ROHF and ROKS.  In the place of a refused
    prediction minao is refined, with a ``GuessRefused`` warning; ``warnings.simplefilter("error", GuessRefused)``
    makes it an exception.  Raises ValueError for a ``model`` of another form, and whatever
    loading the model raises.
    """
    from pyscf_mlguess import hook
    from pyscf_mlguess.keys import GuessKey

    wanted = GuessKey.parse(model)
    if wanted is None or not wanted.is_learned:
        raise ValueError(f"model={model!r}: expected 'ml' or 'ml:<name or path>'")
    return hook.our_guess(mf, mf.mol, model, wanted, lambda key: mf.get_init_guess(mf.mol, key))


def load_model(name: str = "default"):
    """The model of that name or path, loaded once per process: see ``pyscf_mlguess.models.load_model``."""
    from pyscf_mlguess import models

    return models.load_model(name)


def refine(mf, dm):
    """``dm`` refined by some cheap iterations: see ``pyscf_mlguess.cheap.refinement.refine``."""
    from pyscf_mlguess.cheap import refinement

    return refinement.refine(mf, dm)


def register() -> None:
    """Teach PySCF's SCF classes, and gpu4pyscf's where it is loaded, the key ``'ml'``; importing has done so.

    With it comes what ``mlguess enable`` has put into PySCF's configuration: the default, the two-level SCF.
    """
    startup.when_pyscf_is_there(_register)


def unregister() -> None:
    """PySCF as it was: put back what ``register`` replaced."""
    from pyscf_mlguess import hook

    _two_level_default.close()
    hook.unregister()


def two_level(mf, verify: bool = True):
    """``mf`` as a two-level SCF, mostly done in two Fock builds: see ``pyscf_mlguess.two_level_scf.two_level``."""
    from pyscf_mlguess import two_level_scf

    return two_level_scf.two_level(mf, verify)


_two_level_default = ExitStack()


def _register():
    from pyscf import __config__, scf  # noqa: F401  before the hook: its configuration file may import this package

    from pyscf_mlguess import hook

    hook.register()
    if getattr(__config__, "mlguess_two_level", False):
        _two_level_default.close()
        _two_level_default.enter_context(accelerated())


def __getattr__(name):
    if name in ("GuessFailed", "GuessRefused", "SaddlePoint"):
        from pyscf_mlguess import refusal

        return getattr(refusal, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register()
