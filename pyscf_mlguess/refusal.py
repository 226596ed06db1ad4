"""What the package cannot serve at all, and how it says so: a refusal, never an error in the user's SCF."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from pyscf import gto
from pyscf.lib import logger
from pyscf.lib.exceptions import BasisNotFoundError
from pyscf.scf import hf, rohf, uhf
from scipy.spatial import cKDTree

from pyscf_mlguess.density_fitting.auxiliary_basis import AUXBASIS, LAST_ELEMENT
from pyscf_mlguess.structure import element_numbers

SUPPORTED_CLASSES = (
    "RHF, RKS, UHF, UKS, ROHF and ROKS of molecules, "
    "also with density fitting, newton, symmetry, smearing, spin-free X2C and QM/MM"
)
# Real atoms closer than this (angstrom) are a mistake in the input: the shortest bond, H2, is 0.74.
SHORTEST_DISTANCE = 0.1
_LISTED = 3
# Their frames are not where a user would look for the cause of a warning.
_PACKAGES = {"pyscf", "gpu4pyscf", "pyscf_mlguess"}
_Result = TypeVar("_Result")


class GuessRefused(UserWarning):
    """The learned guess was not used and PySCF's default guess (minao) took its place, refined."""


class GuessFailed(GuessRefused):
    """The guess was not used because of an error in this package: please report it."""


class SaddlePoint(UserWarning):
    """The two-level SCF ended at a saddle point of the energy: a solution, but no minimum."""


class Refusal(ValueError):
    """The guess does not serve this case; ``str(exc)`` is the reason that the user reads."""


# What unlucky numbers, and not wrong code, may raise: linear algebra, overflow, arrays that are not finite, memory.
_NUMERICAL = (np.linalg.LinAlgError, ArithmeticError, MemoryError)


@contextmanager
def numerical_errors_refused() -> Iterator[None]:
    """Turn what fails numerically in the block, or lacks a basis, into a Refusal that names it; other errors pass."""
    try:
        # Underflow is harmless; numpy.seterr(all="raise") makes it an error like the others.
        with np.errstate(under="ignore"):
            yield
    except _NUMERICAL as error:
        raise Refusal(f"a step of the guess failed numerically ({type(error).__name__}: {error})") from error
    except BasisNotFoundError as error:
        # PySCF's own density fitting may have none for a basis, and says at length which could be taken.
        raise Refusal(f"PySCF has no auxiliary basis: {str(error).strip().splitlines()[0]}") from error
    except ValueError as error:
        # SciPy says "array must not contain infs or NaNs".
        if isinstance(error, Refusal) or "infs or NaNs" not in str(error):
            raise
        raise Refusal(f"a step of the guess failed numerically ({error})") from error


class Attempts:
    """Steps that must never end the user's SCF: what one of them is refused or fails at is left out, and told once.

    A context; at its end stand one Python warning, ``GuessRefused`` or ``GuessFailed``, and one line in PySCF's log.
    mf: the user's SCF object, of PySCF or gpu4pyscf.  what: whose steps they are, in words for the user.
    quiet: what is refused is no warning, only the line: nobody has asked for it.  Default: where ``mf`` is marked so.
    """

    def __init__(self, mf, what: str, quiet: bool | None = None):
        self._mf, self._what, self._quiet = mf, what, unasked(mf) if quiet is None else quiet
        self._left_out: list[tuple[str, str, str]] = []  # what happened, what takes the place, why
        self._category: type[GuessRefused] = GuessRefused

    def __call__(self, instead: str, step: Callable[[], _Result]) -> _Result | None:
        """What ``step`` returns; None where it is refused or fails, and ``instead`` takes its place."""
        try:
            with numerical_errors_refused():
                return step()
        except Refusal as refusal:
            # The text alone: a traceback would keep the arrays of the refused guess alive.
            self._left_out.append(("refused", instead, str(refusal)))
        except Exception as error:
            logger.debug(self._mf, "%s", traceback.format_exc())
            self._left_out.append(("failed", instead, f"{type(error).__name__}: {error}; "
                                                      "this is an error in pyscf_mlguess, please report it"))
            self._category = GuessFailed
        return None

    def __enter__(self) -> "Attempts":
        return self

    def __exit__(self, kind, *_):
        if kind is not None or not self._left_out:
            return
        told = (f"{happened}, falling back to {instead}: {why}" for happened, instead, why in self._left_out)
        message = f"{self._what} {'; '.join(told)}"
        if self._quiet and self._category is GuessRefused:
            logger.note(self._mf, "%s", message)
        else:
            tell(self._mf, message, self._category)


_UNASKED = "_mlguess_unasked"


@contextmanager
def marked_unasked(mf) -> Iterator[None]:
    """While the block runs, ``mf`` gets of this package what its user has not asked for with this object."""
    setattr(mf, _UNASKED, True)
    try:
        yield
    finally:
        vars(mf).pop(_UNASKED, None)


def unasked(mf) -> bool:
    """Whether ``mf`` is marked so."""
    # getattr would have PySCF search all its modules for a missing attribute.
    return vars(mf).get(_UNASKED, False)


def tell(mf, message: str, category: type[Warning]) -> None:
    """One Python warning, seen from where the user called PySCF, and one line in PySCF's log."""
    # logger.warn would repeat the message on stderr, where the Python warning already is.
    if mf.verbose >= logger.WARN:
        logger.flush(mf, "WARN: %s", message)
    # Attribute the warning to the caller of PySCF, however deep PySCF's own stack is.
    frame, stacklevel = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, category, stacklevel=stacklevel)


def check_scf_class(mf: hf.SCF) -> None:
    """Raise Refusal unless ``mf`` is one of PySCF's real, scalar, molecular SCF classes."""
    # The generalised, Dirac, spinor X2C and periodic classes derive from hf.SCF directly.
    if not isinstance(mf, (hf.RHF, uhf.UHF)):
        # Classes of the same name (pyscf.x2c.x2c.UHF) are told apart by the module.
        raise Refusal(f"{type(mf).__module__}.{type(mf).__name__} is not supported; what works is {SUPPORTED_CLASSES}")


def check_density_matrix(mf: hf.SCF, dm: np.ndarray) -> None:
    """Raise Refusal unless ``dm`` has the shape that ``mf`` needs: (nao, nao) for RHF and RKS, else (2, nao, nao)."""
    nao, spins = mf.mol.nao, () if isinstance(mf, hf.RHF) and not isinstance(mf, rohf.ROHF) else (2,)
    if np.shape(dm) != (*spins, nao, nao):
        raise Refusal(f"density matrix of shape {np.shape(dm)}; {type(mf).__name__} needs {(*spins, nao, nao)}")


def check_one_electron_matrices(mol: gto.MoleBase, hcore: np.ndarray, ovlp: np.ndarray) -> None:
    """Raise Refusal unless both are (nao, nao): a core Hamiltonian for each spin, or a model's own, is not served."""
    for name, matrix in (("core Hamiltonian", hcore), ("overlap", ovlp)):
        if matrix.shape != (mol.nao, mol.nao):
            raise Refusal(f"the {name} has the shape {matrix.shape}, the molecule {mol.nao} basis functions")


def check_molecule(mol: gto.MoleBase) -> None:
    """Raise Refusal for a molecule that has no meaningful density.

    That is a periodic cell, no atoms, no electrons, an element without an auxiliary basis, coordinates
    that are not finite, or two real (not ghost) atoms within ``SHORTEST_DISTANCE``.
    """
    if hasattr(mol, "lattice_vectors"):
        raise Refusal(f"periodic cells are not supported; what works is {SUPPORTED_CLASSES}")
    if mol.natm == 0:
        raise Refusal("the molecule has no atoms")
    if mol.nelectron <= 0:
        raise Refusal(f"the molecule has {mol.nelectron} electrons")

    numbers = element_numbers(mol)
    if numbers.max() > LAST_ELEMENT:
        raise Refusal(f"no auxiliary basis for element {numbers.max()}: {AUXBASIS} ends at {LAST_ELEMENT}")
    coords = mol.atom_coords(unit="Angstrom")
    bad = np.flatnonzero(~np.isfinite(coords).all(axis=1))
    if bad.size:
        listed = ", ".join(f"atom {i} ({mol.atom_symbol(i)}) at {coords[i]}" for i in bad[:_LISTED])
        raise Refusal(f"coordinates that are not finite ({bad.size} of {mol.natm} atoms): {listed}")

    real = np.flatnonzero(numbers > 0)
    close = real[cKDTree(coords[real]).query_pairs(SHORTEST_DISTANCE, output_type="ndarray")]
    if close.size:
        listed = ", ".join(
            f"atoms {i} ({mol.atom_symbol(i)}) and {j} ({mol.atom_symbol(j)}) "
            f"at {np.linalg.norm(coords[i] - coords[j]):.3g} angstrom"
            for i, j in close[:_LISTED]
        )
        raise Refusal(f"atoms on top of each other ({len(close)} in all): {listed}")
