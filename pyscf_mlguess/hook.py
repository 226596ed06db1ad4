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

from pyscf_mlguess import gate

_KEY = re.compile(r"ml(\+refine)?(:.*)?", re.IGNORECASE | re.DOTALL)
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
    """Whether ``key`` asks for a learned guess: ``'ml'``, ``'ml:<name or path>'`` or the reserved ``'ml+refine'``."""
    return isinstance(key, str) and _KEY.fullmatch(key) is not None


def learned_guess(mf, mol, key: str, default: Callable):
    """The learned density matrix or, with one warning and one line in PySCF's log, ``default()``.

    mf: SCF object of PySCF or gpu4pyscf.  mol: None or the molecule handed to ``get_init_guess``.
    key: as for ``is_ml_key``.  Returns (nao, nao) for restricted and (2, nao, nao) for unrestricted
    and restricted open-shell objects; a cupy array for gpu4pyscf.  Errors other than refusals
    (unknown model, missing or damaged file) are raised.
    """
    try:
        return _predict(mf, mol, key)
    except gate.Refusal as refusal:
        message = f"initial guess {key!r} refused, falling back to minao: {refusal}"
    # Outside of the handler, whose traceback would keep the arrays of the refused guess alive.
    _tell(mf, message)
    return default()


def _scf_classes() -> Iterator[type]:
    """The classes that hold a ``get_init_guess`` of their own; gpu4pyscf's does not inherit PySCF's."""
    yield hf.SCF
    gpu_hf = sys.modules.get("gpu4pyscf.scf.hf")
    if hasattr(gpu_hf, "SCF"):
        yield gpu_hf.SCF


def _with_ml_key(original: Callable) -> Callable:
    @functools.wraps(original)
    def get_init_guess(self, mol=None, key="minao", **kwargs):
        if not is_ml_key(key):
            return original(self, mol, key, **kwargs)

        def minao():
            return original(self, mol, "minao", **kwargs)

        # Inner SCFs of PySCF's own guesses see 'ml' when it is the configured default key.
        if isinstance(self, atom_hf.AtomSphAverageRHF):
            return minao()
        return learned_guess(self, mol, key, minao)

    setattr(get_init_guess, _ORIGINAL, original)
    return get_init_guess


def _predict(mf, mol, key: str):
    refine, model = _KEY.fullmatch(key).groups(default="")
    if refine:
        raise gate.Refusal("'ml+refine' is reserved for a later release")
    if mol is not None and mol is not mf.mol:
        # The guess takes core Hamiltonian, orbitals and occupations from mf, in the basis of mf.mol.
        raise gate.Refusal("the molecule handed to get_init_guess is not that of the SCF object")
    from pyscf_mlguess import pipeline

    if isinstance(mf, hf.SCF):
        return pipeline.initial_density_matrix(mf, key="ml" + model)
    dm = pipeline.initial_density_matrix(_to_cpu(mf), key="ml" + model)
    return importlib.import_module("cupy").asarray(dm)


def _to_cpu(mf):
    # gpu4pyscf marks what it does not convert by to_cpu = NotImplemented.
    if not callable(getattr(mf, "to_cpu", None)):
        raise gate.Refusal(f"{type(mf).__name__} has no conversion to a CPU object")
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
    warnings.warn(message, gate.GuessRefused, stacklevel=stacklevel)
