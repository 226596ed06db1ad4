"""Where PySCF meets the package: the key ``'ml'`` in ``get_init_guess`` of PySCF and gpu4pyscf."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator

import numpy as np
from pyscf import __config__
from pyscf.scf import atom_hf, hf

from pyscf_mlguess.keys import GuessKey
from pyscf_mlguess.memory import integrals_stay
from pyscf_mlguess.refusal import (
    Attempts,
    Refusal,
    check_molecule,
    check_scf_class,
    numerical_errors_refused,
    unasked,
)

# Marks our handler and holds what it replaced, so that the classes themselves are the only state.
_ORIGINAL = "_pyscf_mlguess_original"
# The name of the default key in PySCF's configuration file.
_DEFAULT = "scf_hf_SCF_init_guess"


def register() -> None:
    """Teach PySCF's SCF classes, and gpu4pyscf's where it is loaded, the key ``'ml'``; again does nothing."""
    default = getattr(__config__, _DEFAULT, None)
    for cls in _scf_classes():
        method = vars(cls)["get_init_guess"]
        if not hasattr(method, _ORIGINAL):
            cls.get_init_guess = _with_ml_key(method)
            if _is_ours(default) and "init_guess" in vars(cls):
                cls.init_guess = default


def unregister() -> None:
    """Put back the functions that ``register`` replaced."""
    for cls in _scf_classes():
        method = vars(cls)["get_init_guess"]
        original = getattr(method, _ORIGINAL, None)
        if original is None:
            continue
        if cls is not hf.SCF and method.__wrapped__ is not original:
            # gpu4pyscf was imported after register() and decorated a copy of our handler
            # (functools.wraps copies the mark); decorate PySCF's function as it would have done.
            original = sys.modules[cls.__module__].return_cupy_array(original)
        cls.get_init_guess = original
        # PySCF would run minao, and say in its log that it is 'ml'.
        if _is_ours(vars(cls).get("init_guess")):
            cls.init_guess = "minao"


def our_guess(mf, mol, key: str, wanted: GuessKey, pyscf_guess: Callable, make_anderson: Callable | None = None):
    """The density matrix of a key; what is refused is left out, with one warning and one line in PySCF's log.

    mf: SCF object of PySCF or gpu4pyscf.  mol: None or the molecule handed to ``get_init_guess``.
    key: what the user wrote.  wanted: what is to be done.  pyscf_guess: PySCF's guess of a key.
    make_anderson: from ``mf`` to the cheap problem (``Anderson``) that refines, or None; default: one that is given up
    afterwards.  A learned guess that is refused is minao in its place, refined as it would have been; a refinement
    that is refused leaves the guess as it is.
    Returns (nao, nao) for restricted and (2, nao, nao) for unrestricted and restricted open-shell objects; a cupy
    array for gpu4pyscf.  A model that is unknown, missing or damaged is an error where the user has set the key, and
    minao with a warning where it is the default; nothing else is an error.  What a default does not serve is no
    warning, but a line in the log.
    """
    by_default = "init_guess" not in vars(mf) and key == getattr(type(mf), "init_guess", None)
    model = None if by_default else _model(wanted)
    quiet = by_default and (_is_ours(key) or unasked(mf))
    with Attempts(mf, f"initial guess {key!r}", quiet) as attempt, integrals_stay(mf):
        if by_default and wanted.is_learned and (model := attempt("minao", lambda: _model(wanted))) is None:
            return pyscf_guess("minao")
        return _guess(mf, mol, wanted, model, pyscf_guess, make_anderson, attempt)


def checked_guess(mf, key: str) -> np.ndarray:
    """The density matrix of a key of PySCF or of ours, shaped as in ``our_guess``, without a Fock matrix of ``mf``;
    nothing takes its place.

    mf: SCF object of PySCF.  Raises Refusal where ``our_guess`` would fall back, ValueError for an unknown key, and
    whatever loading the model raises.
    """
    wanted = GuessKey.known(key)
    if wanted is None:
        return mf.get_init_guess(mf.mol, key)
    model = _model(wanted)
    with numerical_errors_refused():
        return _guess(mf, mf.mol, wanted, model, lambda key: mf.get_init_guess(mf.mol, key), None,
                      lambda instead, step: step(), builds=False)


def _model(wanted):
    # Imported late: registering the key must cost next to nothing.
    from pyscf_mlguess.models import load_model

    return load_model(wanted.model) if wanted.is_learned else None


def _guess(mf, mol, wanted, model, pyscf_guess, make_anderson, attempt, builds=True):
    from pyscf_mlguess import pipeline, spinors
    from pyscf_mlguess.cheap.refinement import refined, refined_alone, unsolved

    plain = wanted.plain or "minao"
    served = attempt(plain, lambda: _served(mf, mol, wanted))
    if served is None:
        return pyscf_guess(plain)
    cpu, real = served
    anderson = attempt(f"{'ml' if model else plain} unrefined", lambda: (make_anderson or unsolved)(real))
    dm = None
    if model:
        cheap = anderson.problem if anderson else None
        dm = attempt("refined minao" if anderson else "minao",
                     lambda: pipeline.initial_density_matrix(real, model, cheap=cheap))
    learned = dm is not None
    if not learned:
        dm = pyscf_guess(plain)
    if anderson:
        real_guess = pyscf_guess if real is cpu else functools.partial(real.get_init_guess, real.mol)
        start = _to_numpy(dm if learned or real is cpu else real_guess(plain))
        otherwise = (lambda: _to_numpy(real_guess("minao"))) if learned else None
        # What a file holds is a state that somebody chose.
        descend = plain != "chkfile"
        closely = functools.partial(refined, closely=True)
        # A Fock matrix of what is run on a GPU, or with spinors, would be another one, and dear.
        alone = refined_alone if builds and real is mf else closely
        refine = alone if make_anderson is None else refined
        better = attempt("the unrefined guess", lambda: refine(anderson, start, otherwise, descend))
        learned, dm = learned or better is not None, dm if better is None else better
    if learned and real is not cpu:
        dm = spinors.matrix(cpu, dm)
    return _to_gpu(dm) if learned and cpu is not mf else dm


def _served(mf, mol, wanted) -> tuple[hf.SCF, hf.SCF]:
    """``mf`` as an object of PySCF, and that of real orbitals for which the guess is made; raises Refusal."""
    if mol is not None and mol is not mf.mol:
        # Core Hamiltonian, orbitals and occupations come from mf, in the basis of mf.mol.
        raise Refusal("the molecule handed to get_init_guess is not that of the SCF object")
    from pyscf_mlguess import spinors

    cpu = mf if isinstance(mf, hf.SCF) else _to_cpu(mf)
    check_molecule(cpu.mol)
    real = spinors.real(cpu)
    check_scf_class(real)
    if real is not cpu and wanted.plain == "chkfile":
        raise Refusal("the spinors of a checkpoint file are not refined")
    return cpu, real


def _scf_classes() -> Iterator[type]:
    """The classes that hold a ``get_init_guess`` of their own; gpu4pyscf's does not inherit PySCF's."""
    yield hf.SCF
    gpu_hf = sys.modules.get("gpu4pyscf.scf.hf")
    if hasattr(gpu_hf, "SCF"):
        yield gpu_hf.SCF


def _with_ml_key(original: Callable) -> Callable:
    @functools.wraps(original)
    def get_init_guess(self, mol=None, key="minao", **kwargs):
        def pyscf_guess(key):
            return original(self, mol, key, **kwargs)

        wanted = GuessKey.parse(key)
        if wanted is None:
            return pyscf_guess(key)
        # Inner SCFs of PySCF's own guesses see 'ml' when it is the configured default key.
        if isinstance(self, atom_hf.AtomSphAverageRHF):
            return pyscf_guess("minao")
        return our_guess(self, mol, key, wanted, pyscf_guess)

    setattr(get_init_guess, _ORIGINAL, original)
    return get_init_guess


def _is_ours(key):
    try:
        return GuessKey.parse(key) is not None
    except ValueError:  # such as 'mlx', an error when it is used
        return True


def _to_numpy(dm):
    return dm.get() if hasattr(dm, "get") else dm  # cupy's way


def _to_gpu(dm):
    return importlib.import_module("cupy").asarray(dm)


def _to_cpu(mf):
    # gpu4pyscf marks what it does not convert by to_cpu = NotImplemented.
    if not callable(getattr(mf, "to_cpu", None)):
        raise Refusal(f"{type(mf).__name__} has no conversion to a CPU object")
    cpu = mf.to_cpu()
    if hasattr(mf, "init_guess_breaksym"):
        # A class attribute whose default differs (0 in gpu4pyscf, 1 in PySCF): to_cpu() leaves it behind.
        cpu.init_guess_breaksym = mf.init_guess_breaksym
    return cpu
