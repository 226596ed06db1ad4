"""Where PySCF meets the package: the key ``'ml'`` in ``get_init_guess`` of PySCF and gpu4pyscf."""

from __future__ import annotations

import functools
import importlib
import re
import sys
import warnings
from collections.abc import Callable, Iterator

from pyscf.lib import logger
from pyscf.scf import atom_hf, hf

from pyscf_mlguess.refusal import GuessRefused, Refusal

_LEARNED = re.compile(r"ml(\+refine)?(:.*)?", re.IGNORECASE | re.DOTALL)
_REFINED = re.compile(r"(.+)\+refine", re.IGNORECASE | re.DOTALL)
# Marks our handler and holds what it replaced, so that the classes themselves are the only state.
_ORIGINAL = "_pyscf_mlguess_original"
_PACKAGES = {"pyscf", "gpu4pyscf", "pyscf_mlguess"}


def register() -> None:
    """Teach PySCF's SCF classes, and gpu4pyscf's where it is loaded, the key ``'ml'``; again does nothing."""
    for cls in _scf_classes():
        method = vars(cls)["get_init_guess"]
        if not hasattr(method, _ORIGINAL):
            cls.get_init_guess = _with_ml_key(method)


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


def is_ml_key(key) -> bool:
    """Whether ``key`` asks for a learned guess: ``'ml'`` or ``'ml+refine'``, either with ``':<name or path>'``."""
    return isinstance(key, str) and _LEARNED.fullmatch(key) is not None


def is_our_key(key) -> bool:
    """Whether ``key`` is ours: a learned guess, or any of PySCF's refined, as ``'minao+refine'``."""
    return isinstance(key, str) and (_REFINED.fullmatch(key) or _LEARNED.fullmatch(key)) is not None


def refined_key(key: str) -> str:
    """``key`` with refinement: ``'ml+refine:x'`` for ``'ml:x'``, ``'minao+refine'`` for ``'minao'``."""
    learned = _LEARNED.fullmatch(key)
    if learned:
        return "ml+refine" + (learned[2] or "")
    return key if _REFINED.fullmatch(key) else key + "+refine"


def our_guess(mf, mol, key: str, pyscf_guess: Callable, refine: Callable | None = None):
    """The density matrix of ``key``; what is refused is left out, with one warning and one line in PySCF's log.

    mf: SCF object of PySCF or gpu4pyscf.  mol: None or the molecule handed to ``get_init_guess``.
    key: as for ``is_our_key``.  pyscf_guess: PySCF's guess of a key.  refine: from a density matrix to a better
    one, in place of the package's.  A learned guess falls back to minao, a refined one to the guess itself.
    Returns (nao, nao) for restricted and (2, nao, nao) for unrestricted and restricted open-shell objects; a cupy
    array for gpu4pyscf.  Errors other than refusals
    (unknown model, missing or damaged file) are raised.
    """
    learned = _LEARNED.fullmatch(key)
    if learned:
        refined, plain = learned[1], "ml" + (learned[2] or "")
        dm = _or_else(mf, key, "minao", lambda: _predict(mf, mol, plain, bool(refined)), lambda: pyscf_guess("minao"))
    else:
        refined, plain = True, _REFINED.fullmatch(key)[1]
        dm = pyscf_guess(plain)
    if not refined:
        return dm
    return _or_else(mf, key, f"{plain} unrefined", lambda: refine(dm) if refine else _refine(mf, mol, dm), lambda: dm)


def _or_else(mf, key, instead, guess, fallback):
    try:
        return guess()
    except Refusal as refusal:
        message = f"initial guess {key!r} refused, falling back to {instead}: {refusal}"
    # Outside of the handler, whose traceback would keep the arrays of the refused guess alive.
    _tell(mf, message)
    return fallback()


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

        if not is_our_key(key):
            return pyscf_guess(key)
        # Inner SCFs of PySCF's own guesses see 'ml' when it is the configured default key.
        if isinstance(self, atom_hf.AtomSphAverageRHF):
            return pyscf_guess("minao")
        return our_guess(self, mol, key, pyscf_guess)

    setattr(get_init_guess, _ORIGINAL, original)
    return get_init_guess


def _predict(mf, mol, key: str, to_be_refined: bool):
    _check_molecule_of(mf, mol)
    from pyscf_mlguess import pipeline

    if isinstance(mf, hf.SCF):
        return pipeline.initial_density_matrix(mf, key, to_be_refined)
    return _to_gpu(pipeline.initial_density_matrix(_to_cpu(mf), key, to_be_refined))


def _refine(mf, mol, dm):
    _check_molecule_of(mf, mol)
    from pyscf_mlguess.cheap.refinement import refine

    return refine(mf, dm) if isinstance(mf, hf.SCF) else _to_gpu(refine(_to_cpu(mf), dm.get()))


def _check_molecule_of(mf, mol):
    if mol is not None and mol is not mf.mol:
        # Core Hamiltonian, orbitals and occupations come from mf, in the basis of mf.mol.
        raise Refusal("the molecule handed to get_init_guess is not that of the SCF object")


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


def _tell(mf, message: str) -> None:
    # logger.warn would repeat the message on stderr, where the Python warning already is.
    if mf.verbose >= logger.WARN:
        logger.flush(mf, "WARN: %s", message)
    # Attribute the warning to the caller of PySCF, however deep PySCF's own stack is.
    frame, stacklevel = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, GuessRefused, stacklevel=stacklevel)
