"""The cheap problem: a density matrix in, a Fock matrix out that is nearly the user's, for a few per cent of its cost.

Coulomb and exchange by density fitting in single precision, exchange and correlation on a coarse grid; the core
Hamiltonian, occupations, symmetry, smearing and linear dependence are the SCF object's own.  What is missing
(non-local correlation, the response of a solvent) enters as a constant in the two-level SCF.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from pyscf import df, gto
from pyscf.scf import hf, rohf, uhf

from pyscf_mlguess.cheap.coarse_grid import CoarseGrid
from pyscf_mlguess.cheap.grid_levels import coarse_level, own_level
from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.density_fitting.fitting import DensityFitting, shareable
from pyscf_mlguess.density_fitting.tensor import STORAGES, FittedTensor, Interaction, Storage
from pyscf_mlguess.functional import STAND_IN_EXCHANGE, exchange_note
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.memory import free_mb
from pyscf_mlguess.refusal import Refusal
from pyscf_mlguess.scf_copy import ScfCopy

# Shares of mf.max_memory (less what the process holds already) for the tensors and for functions on the grid.
_TENSOR_SHARE, _GRID_SHARE = 0.7, 0.2
# Where the tensor for exchange does not fit, that of J may still: in functions that serve J alone.
_COULOMB_AUXBASIS = "def2-universal-jfit"
# The largest share of exact exchange for which a semilocal stand-in still helps.
_MOST_STAND_IN = 0.5
_LEAST_OCCUPATION = 1e-6
_IDEMPOTENT = 1e-4
_ORTHONORMAL = 1e-6


@dataclass
class State:
    """A density matrix as the SCF object makes it from a Fock matrix.

    dm: (nao, nao) or (2, nao, nao), with PySCF's tags ``mo_coeff`` and ``mo_occ`` where it comes from orbitals: real
        builds are up to three times as fast with them.  orbitals: per spin (one entry for RHF), C sqrt(occ), so that
        D = C C^T.
    """

    dm: np.ndarray
    orbitals: list[np.ndarray]


@dataclass
class CheapProblem:
    """The Fock matrix of an SCF object's density matrix, cheaply; see the module's text.

    mf: RHF, RKS, UHF, UKS, ROHF or ROKS object, left untouched but for a shared density-fitting tensor, which
        is built if that SCF will need it.
    corrected: whether real Fock matrices will correct its solution, so that only its changes must be right.
    grid_level: PySCF's grid level for the semilocal part; default: ``coarse_level``.
    precise: products in double instead of single precision.  Rounding in a Fock matrix is amplified by small
        eigenvalues of the overlap matrix, to gradients of 1e-4 Eh in a triple-zeta basis.
    notes: what was replaced or left out.  iterations: Fock matrices so far.
    """

    mf: hf.SCF
    corrected: bool = False
    grid_level: int | None = None
    precise: bool = False
    notes: list[str] = field(default_factory=list)
    iterations: int = 0

    def __post_init__(self):
        self.scf, self.mol = ScfCopy(self.mf), self.mf.mol
        self.hcore, self.ovlp = self.scf.hcore, self.scf.ovlp
        self.restricted_open = self.scf.restricted_open
        # X and its inverse's transpose: X^T S X = 1 in the space in which the SCF itself has its orbitals and gradient.
        self._orthogonal = self.scf.basis
        self._inverse = self.ovlp @ self._orthogonal
        self._numint = getattr(self.mf, "_numint", None)
        self._set_up_interactions()
        self._set_up_grid()

    # -- set-up --

    def _set_up_interactions(self):
        level = LevelOfTheory.of(self.mf)
        interaction = None if level.is_semilocal else Interaction(
            level.short_range_exchange, level.long_range_exchange, level.omega)
        with_df = shareable(self.mf, interaction is not None)
        together = interaction is not None and interaction.is_coulomb
        auxmol = cheap_auxiliary_mole(self.mf, self.corrected)
        budget = free_mb(self.mf) * _TENSOR_SHARE
        self._coulomb = self._exchange = None
        self.share = 0.0
        # Without exact exchange PySCF may do without the tensor; then it is ours, and of half the size.
        if with_df is not None:
            self._coulomb = FittedTensor.shared(with_df)
        elif storage := Storage.within(self.mol, auxmol, budget):
            self._coulomb = self._tensor(auxmol, storage, for_exchange=together)
            budget -= storage.size_mb(self.mol, auxmol)
        if together and self._coulomb is not None:
            self._exchange, self.share = self._coulomb, interaction.short_range
        elif interaction is not None and (storage := Storage.within(self.mol, auxmol, budget)):
            self._exchange, self.share = self._tensor(auxmol, storage, interaction), 1.0
        if self._coulomb is None:
            smaller = df.make_auxmol(self.mol, _COULOMB_AUXBASIS)
            if storage := Storage.within(self.mol, smaller, budget):
                self._coulomb = self._tensor(smaller, storage, for_exchange=False)
        if self._coulomb is not None and self._coulomb.has_root:
            self.fitting = DensityFitting(self.mol, self._coulomb.auxmol, self._coulomb)
        else:
            self.fitting = DensityFitting(self.mol)
        self.lacks_exchange = interaction is not None and self._exchange is None
        if self.lacks_exchange and level.exact_exchange > _MOST_STAND_IN:
            size = STORAGES[-1].size_mb(self.mol, auxmol)
            raise Refusal(f"exact exchange needs {np.ceil(size / _TENSOR_SHARE):.0f} MB beyond the "
                          f"{self.mf.max_memory - free_mb(self.mf):.0f} in use or promised to PySCF's own integrals; "
                          f"max_memory is {self.mf.max_memory:.0f}")
        self._stand_in = level.short_range_exchange if self.lacks_exchange else 0.0

    def _tensor(self, auxmol, storage, interaction=Interaction(), for_exchange=True):
        if storage != STORAGES[0]:
            self.notes.append(f"Tensor of {storage.size_mb(self.mol, auxmol):.0f} MB, most of it in 16 bits")
        return FittedTensor(self.mol, auxmol, interaction, storage, for_exchange)

    def _set_up_grid(self):
        self._terms, self._grid = [], None
        xctype = "HF"
        if self._numint is not None:
            xctype = self._numint._xc_type(self.mf.xc)
            self._terms.append((1.0, self.mf.xc))
        if self._stand_in:
            self._terms.append((self._stand_in, STAND_IN_EXCHANGE))
            self.notes.append(exchange_note(self._stand_in))
            xctype = "GGA" if xctype in ("HF", "LDA") else xctype
        if self.grid_level is None:
            self.grid_level = coarse_level(self.mf)
        if xctype != "HF":
            self._xctype = xctype
            self._grid = self.grid(self.grid_level)

    def grid(self, level: int, held: bool = True) -> CoarseGrid:
        """held: keep functions on it, as far as memory allows, for more than one matrix."""
        return CoarseGrid(self.mol, self._xctype, level, free_mb(self.mf) * _GRID_SHARE if held else 0.0)

    def refine_grid(self) -> bool:
        """Exchange and correlation on a grid like the SCF's own from now on; whether that is another one."""
        if not self.grid_is_coarse:
            return False
        self.grid_level = own_level(self.mf, self.grid_level)
        self._grid = self.grid(self.grid_level)
        return True

    @property
    def grid_is_coarse(self) -> bool:
        """Whether there is one, and the SCF's own is finer."""
        return self._grid is not None and self.grid_level < own_level(self.mf, self.grid_level)

    @property
    def coulomb_tensor(self) -> FittedTensor | None:
        """That of J; None where there is no memory for one."""
        return self._coulomb

    @property
    def multiplications(self) -> int:
        """About those of one iteration, with tensors and functions on the grid that are held."""
        open_shell = self.restricted_open or isinstance(self.mf, uhf.UHF)
        nocc = sum(self.mol.nelec) if open_shell else max(self.mol.nelec)
        tensors = {id(t): (t, nocc if t is self._exchange else 0) for t in (self._coulomb, self._exchange) if t}
        products = sum(tensor.multiplications(n) for tensor, n in tensors.values())
        return products + (self._grid.multiplications if self._grid else 0)

    @property
    def semilocal(self) -> bool:
        return self._grid is not None

    # -- the maps --

    @property
    def _dtype(self):
        return np.float64 if self.precise else np.float32

    def fock(self, state: State) -> np.ndarray:
        """Fock matrix (of every spin) of ``state``, shape of its dm, Eh."""
        return self.energy_and_fock(state)[1]

    def energy_and_fock(self, state: State) -> tuple[float, np.ndarray]:
        """Electronic energy (Eh) of ``state``, and its Fock matrix (of every spin), shape of its dm, Eh.

        One is the derivative of the other, but for the functions and points that the grid leaves out.
        """
        self.iterations += 1
        dm = np.asarray(state.dm)
        total = dm if dm.ndim == 2 else dm[0] + dm[1]
        together = self._exchange is not None and self._exchange is self._coulomb
        if self._coulomb is None:
            coulomb = self.fitting.coulomb(total)
        else:
            coulomb, exchange = self._coulomb.jk(total, state.orbitals if together else None, dtype=self._dtype)
        fock = self.hcore + coulomb
        fock = np.array([fock] * 2) if dm.ndim == 3 else fock
        if self._exchange is not None:
            if not together:
                exchange = self._exchange.jk(total, state.orbitals, with_j=False, dtype=self._dtype)[1]
            fock -= self.share * (exchange if dm.ndim == 3 else exchange[0] / 2)
        energy = np.vdot(self.hcore + fock, dm) / 2
        if self._grid is not None:
            semilocal, potential = self._grid.potential(self._numint, self._terms, dm, self._dtype,
                                                         state.orbitals)
            energy, fock = energy + semilocal, fock + potential
        return float(energy), fock

    def grid_correction(self, state: State, level: int, since: State | None = None) -> np.ndarray:
        """What the xc matrix of ``state`` changes by on the grid of another level, shape of its dm, Eh.

        since: less that of this state.
        """
        fine = self.grid(level, held=False)

        def correction(state):
            there, here = (grid.potential(self._numint, self._terms, np.asarray(state.dm), self._dtype,
                                          state.orbitals)[1] for grid in (fine, self._grid))
            return there - here

        return correction(state) if since is None else correction(state) - correction(since)

    def effective(self, fock: np.ndarray, state: State) -> np.ndarray:
        """The matrix whose eigenvectors are the next orbitals: Roothaan's for ROHF, else ``fock`` itself."""
        return np.asarray(rohf.get_roothaan_fock(fock, state.dm, self.ovlp)) if self.restricted_open else fock

    def state(self, effective: np.ndarray, spins: np.ndarray | None = None) -> State:
        """Diagonalise and occupy through the SCF object's own methods.

        spins: alpha and beta Fock matrix behind an effective one of ROHF, by which it orders its orbitals.
        """
        _, coefficients, occupations = self.scf.orbitals(effective, spins)
        dm = self.scf.density_matrix(coefficients, occupations)
        return State(dm, occupied(coefficients, occupations, dm.ndim))

    def orbitals(self, effective: np.ndarray, spins: np.ndarray | None = None) -> list[tuple]:
        """Orbital energies (Eh), coefficients and occupations of ``state``, of every spin that has its own."""
        orbitals = tuple(map(np.asarray, self.scf.orbitals(effective, spins)))
        return list(zip(*orbitals)) if orbitals[1].ndim == 3 else [orbitals]

    def state_of(self, dm: np.ndarray) -> State:
        """Any density matrix with its natural orbitals; parts with negative occupation are left out of exchange."""
        spins, orbitals = np.asarray(dm), []
        for spin in spins[np.newaxis] if spins.ndim == 2 else spins:
            vectors, values = self.natural_orbitals(spin)
            keep = values > _LEAST_OCCUPATION
            orbitals.append(vectors[:, keep] * np.sqrt(values[keep]))
        return State(dm, orbitals)

    def natural_orbitals(self, dm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of one density matrix, (nao, k), and their occupations, (k,), ascending."""
        values, vectors = scipy.linalg.eigh(self._inverse.T @ dm @ self._inverse)
        return self._orthogonal @ vectors, values

    def spans(self, coefficients: np.ndarray) -> bool:
        """Whether orbitals (..., nao, k) are an orthonormal basis of the space of the SCF's orbitals."""
        if coefficients.shape[-1] != self._orthogonal.shape[1]:
            return False
        overlaps = coefficients.swapaxes(-1, -2) @ self.ovlp @ coefficients
        return bool(np.abs(overlaps - np.eye(coefficients.shape[-1])).max() < _ORTHONORMAL)

    def gradient(self, fock: np.ndarray, state: State) -> float:
        """Norm of the orbital gradient in PySCF's definition (``norm(mf.get_grad(...))``), of any density matrix.

        fock: that of every spin.  For orbitals that are filled or empty it is that of ``get_grad``, otherwise that
        of the commutator FDS - SDF (Pulay, J. Comput. Chem. 3, 556 (1982)).
        """
        dm = np.asarray(state.dm)
        if self.restricted_open:
            return self._restricted_open_gradient(fock, dm)
        # Only where the matrix was made of orbitals: else negative occupations are left out of them.
        factors = [(c, c.T) for c in state.orbitals] if hasattr(state.dm, "mo_coeff") else [
            (d, None) for d in (dm if dm.ndim == 3 else [dm])]
        spins = zip(fock if dm.ndim == 3 else [fock], factors)
        return float(np.linalg.norm([self._commutator(f, *d) for f, d in spins]) / np.sqrt(2))

    def _commutator(self, fock, left, right):
        """Norm of FDS - SDF in the orthonormal basis for D = left right, or ``left``: thin factors are quicker."""
        product = self._orthogonal.T @ (fock @ left)
        product = product @ (self._inverse if right is None else right @ self._inverse)
        return np.linalg.norm(product - product.T)

    def _restricted_open_gradient(self, spins, dm):
        fock_a, fock_b = (self._orthogonal.T @ f @ self._orthogonal for f in spins)
        alpha, closed = (self._inverse.T @ d @ self._inverse for d in dm)
        opened, empty = alpha - closed, np.eye(len(alpha)) - alpha
        blocks = (closed @ (fock_a + fock_b) @ empty, closed @ fock_b @ opened, opened @ fock_a @ empty)
        return float(np.linalg.norm([np.linalg.norm(block) for block in blocks]))

    def orthonormal(self, matrix: np.ndarray) -> np.ndarray:
        """A Fock matrix in an orthonormal basis, flat: the metric in which residuals are compared."""
        return (self._orthogonal.T @ matrix @ self._orthogonal).ravel()

    def from_orthonormal(self, flat: np.ndarray, shape: tuple) -> np.ndarray:
        """The inverse of ``orthonormal`` for a matrix, or one of every spin: in the space of the SCF's orbitals."""
        size = self._orthogonal.shape[1]
        return (self._inverse @ flat.reshape(*shape[:-2], size, size) @ self._inverse.T).reshape(shape)

    def orthonormal_density(self, dm: np.ndarray) -> np.ndarray:
        """A density matrix in an orthonormal basis, flat."""
        return (self._inverse.T @ dm @ self._inverse).ravel()

    def commuting(self, effective: np.ndarray, state: State) -> np.ndarray | None:
        """``effective`` without its blocks between occupied and empty orbitals, so that it gives ``state`` back.

        None where the density matrix has fractional occupations, and no such matrix exists.
        """
        dm = np.asarray(state.dm)
        if dm.ndim == 2:
            return self._without_mixing(effective, [dm / 2])
        if self.restricted_open:
            return self._without_mixing(effective, [dm[1], dm[0] - dm[1]])
        spins = [self._without_mixing(f, [d]) for f, d in zip(effective, dm)]
        return None if any(f is None for f in spins) else np.array(spins)

    def _without_mixing(self, fock, projectors):
        fock = self._orthogonal.T @ fock @ self._orthogonal
        spaces = [self._inverse.T @ p @ self._inverse for p in projectors]
        if any(np.abs(p @ p - p).max() > _IDEMPOTENT for p in spaces):
            return None
        spaces.append(np.eye(len(fock)) - sum(spaces))
        return self._inverse @ sum(p @ fock @ p for p in spaces) @ self._inverse.T


def cheap_auxiliary_mole(mf: hf.SCF, corrected: bool) -> gto.Mole:
    """The auxiliary functions of the cheap problem of ``mf``: those of its own density fitting, where it has one."""
    with_df = getattr(mf, "with_df", None)
    if isinstance(with_df, df.DF) and not getattr(mf, "only_dfj", False):
        return with_df.auxmol or df.make_auxmol(mf.mol, with_df.auxbasis)
    # Integral drivers want spherical or cartesian functions throughout.
    auxmol = auxiliary_mole(mf.mol, changes=corrected)
    auxmol.cart = mf.mol.cart
    return auxmol


def occupied(coefficients, occupations, ndim):
    coefficients, occupations = np.asarray(coefficients), np.asarray(occupations)
    if ndim == 3 and coefficients.ndim == 2:  # ROHF: one set of orbitals, two occupations
        occupations = np.array([occupations > 0, occupations > 1], dtype=float)
        coefficients = np.array([coefficients] * 2)
    pairs = [(coefficients, occupations)] if coefficients.ndim == 2 else zip(coefficients, occupations)
    return [c[:, occ > 0] * np.sqrt(occ[occ > 0]) for c, occ in pairs]
