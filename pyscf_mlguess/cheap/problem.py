"""The cheap problem: a density matrix in, a Fock matrix out that is nearly the user's, for a few per cent of its cost.

Coulomb and exchange by density fitting in single precision, exchange and correlation on a coarse grid; the core
Hamiltonian, occupations, symmetry, smearing and linear dependence are the SCF object's own.  What is missing
(non-local correlation, the response of a solvent) enters as a constant in the two-level SCF.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from pyscf import df, lib
from pyscf.scf import hf, rohf

from pyscf_mlguess.cheap.coarse_grid import CoarseGrid
from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.density_fitting.tensor import FittedInteraction, Interaction
from pyscf_mlguess.functional import STAND_IN_EXCHANGE
from pyscf_mlguess.refusal import Refusal
from pyscf_mlguess.routes.auxiliary_fock import AuxiliaryProblem

GRID_LEVEL = 0
# Shares of mf.max_memory (less what the process holds already) for the tensors and for functions on the grid.
_TENSOR_SHARE, _GRID_SHARE = 0.7, 0.2
# The largest share of exact exchange for which a semilocal stand-in still helps.
_MOST_STAND_IN = 0.5
_LEAST_OCCUPATION = 1e-6
_IDEMPOTENT = 1e-4


@dataclass
class State:
    """A density matrix as the SCF object makes it from a Fock matrix.

    dm: (nao, nao) or (2, nao, nao).  orbitals: per spin (one entry for RHF), C sqrt(occ), so that D = C C^T.
    """

    dm: np.ndarray
    orbitals: list[np.ndarray]


@dataclass
class CheapProblem:
    """The Fock matrix of an SCF object's density matrix, cheaply; see the module's text.

    mf: RHF, RKS, UHF, UKS, ROHF or ROKS object, left untouched but for a shared density-fitting tensor, which
        is built if that SCF will need it.
    grid_level: PySCF's grid level for the semilocal part.
    precise: products in double instead of single precision.  Rounding in a Fock matrix is amplified by small
        eigenvalues of the overlap matrix, to gradients of 1e-4 Eh in a triple-zeta basis.
    notes: what was replaced or left out.  iterations: Fock matrices so far.
    """

    mf: hf.SCF
    grid_level: int = GRID_LEVEL
    precise: bool = False
    notes: list[str] = field(default_factory=list)
    iterations: int = 0

    def __post_init__(self):
        self._scf = self.mf.copy()
        self._scf.verbose, self._scf.chkfile, self._scf.callback = 0, None, None
        self.mol = self.mf.mol
        self.ovlp = np.asarray(self.mf.get_ovlp())
        self.hcore = np.asarray(self.mf.get_hcore())
        values, vectors = scipy.linalg.eigh(self.ovlp)
        keep = values > 1e-8
        # X and its inverse's transpose: X^T S X = 1, with linear combinations that hardly exist left out.
        self._orthogonal = vectors[:, keep] / np.sqrt(values[keep])
        self._inverse = vectors[:, keep] * np.sqrt(values[keep])
        self.restricted_open = isinstance(self.mf, rohf.ROHF)
        self._numint = getattr(self.mf, "_numint", None)
        self._set_up_interactions()
        self._set_up_grid()

    # -- set-up --

    def _set_up_interactions(self):
        interaction = self._exchange_interaction()
        self._coulomb = self._exchange = self._direct = None
        self.share = 0.0
        with_df = _shareable(self.mf)
        auxmol = self._auxiliary(with_df)
        budget = (self.mf.max_memory - lib.current_memory()[0]) * _TENSOR_SHARE
        size = FittedInteraction.size_mb(self.mol, auxmol)
        # Without exact exchange PySCF may do without the tensor; then it is ours, and of half the size.
        if with_df is not None and (with_df._cderi is not None or interaction is not None):
            self._coulomb = FittedInteraction.shared(with_df)
        elif size < budget:
            self._coulomb = FittedInteraction(self.mol, auxmol)
            budget -= size
        else:
            self._direct = AuxiliaryProblem(self.mol)
        if interaction is not None and interaction.is_coulomb and self._coulomb is not None:
            self._exchange, self.share = self._coulomb, interaction.short_range
        elif interaction is not None and size < budget:
            self._exchange, self.share = FittedInteraction(self.mol, auxmol, interaction), 1.0
        self.lacks_exchange = interaction is not None and self._exchange is None
        if self.lacks_exchange and max(interaction.short_range, interaction.long_range) > _MOST_STAND_IN:
            raise Refusal(f"exact exchange needs {size / _TENSOR_SHARE:.0f} MB beyond the "
                               f"{lib.current_memory()[0]:.0f} in use; max_memory is {self.mf.max_memory:.0f}")

    def _auxiliary(self, with_df):
        # Integral drivers want spherical or cartesian functions throughout.
        if with_df is None:
            auxmol = auxiliary_mole(self.mol)
            auxmol.cart = self.mol.cart
            return auxmol
        return with_df.auxmol or df.make_auxmol(self.mol, with_df.auxbasis)

    def _exchange_interaction(self):
        """The interaction of the user's exact exchange, its shares included; None for a semilocal functional."""
        if self._numint is None:
            return Interaction()
        omega, long_range, short_range = self._numint.rsh_and_hybrid_coeff(self.mf.xc, self.mol.spin)
        if short_range == 0 and (omega == 0 or long_range == 0):
            return None
        return Interaction(short_range, long_range if omega else short_range, omega)

    def _set_up_grid(self):
        self._terms, self._grid = [], None
        xctype = "HF"
        if self._numint is not None:
            xctype = self._numint._xc_type(self.mf.xc)
            self._terms.append((1.0, self.mf.xc))
        if self.lacks_exchange:
            share = self._exchange_interaction().short_range
            self._terms.append((share, STAND_IN_EXCHANGE))
            self.notes.append(f"exact exchange replaced by {share:g} {STAND_IN_EXCHANGE}")
            xctype = "GGA" if xctype in ("HF", "LDA") else xctype
        if xctype != "HF":
            self._xctype = xctype
            self._grid = self.grid(self.grid_level)

    def grid(self, level: int) -> CoarseGrid:
        memory = max(0.0, self.mf.max_memory - lib.current_memory()[0]) * _GRID_SHARE
        return CoarseGrid(self.mol, self._xctype, level, memory)

    @property
    def semilocal(self) -> bool:
        return self._grid is not None

    # -- the maps --

    @property
    def _dtype(self):
        return np.float64 if self.precise else np.float32

    def fock(self, state: State) -> np.ndarray:
        """Fock matrix (of every spin) of ``state``, shape of its dm, Eh."""
        self.iterations += 1
        dm = np.asarray(state.dm)
        total = dm if dm.ndim == 2 else dm[0] + dm[1]
        together = self._exchange is not None and self._exchange is self._coulomb
        if self._coulomb is None:
            coulomb = self._direct.potential_matrix(self._direct.solve_metric(self._direct.project(total)))
        else:
            coulomb, exchange = self._coulomb.jk(total, state.orbitals if together else None, dtype=self._dtype)
        fock = self.hcore + coulomb
        fock = np.array([fock] * 2) if dm.ndim == 3 else fock
        if self._exchange is not None:
            if not together:
                exchange = self._exchange.jk(total, state.orbitals, with_j=False, dtype=self._dtype)[1]
            fock -= self.share * (exchange if dm.ndim == 3 else exchange[0] / 2)
        if self._grid is not None:
            fock += self._grid.potential(self._numint, self._terms, dm, self._dtype)
        return fock

    def grid_correction(self, state: State, level: int) -> np.ndarray:
        """What the xc matrix of ``state`` changes by on the grid of ``level``, shape of its dm, Eh."""
        dm = np.asarray(state.dm)
        return (self.grid(level).potential(self._numint, self._terms, dm)
                - self._grid.potential(self._numint, self._terms, dm))

    def effective(self, fock: np.ndarray, state: State) -> np.ndarray:
        """The matrix whose eigenvectors are the next orbitals: Roothaan's for ROHF, else ``fock`` itself."""
        return np.asarray(rohf.get_roothaan_fock(fock, state.dm, self.ovlp)) if self.restricted_open else fock

    def state(self, effective: np.ndarray, spins: np.ndarray | None = None) -> State:
        """Diagonalise and occupy through the SCF object's own methods.

        spins: alpha and beta Fock matrix behind an effective one of ROHF, by which it orders its orbitals.
        """
        if self.restricted_open and spins is not None:
            effective = lib.tag_array(effective, focka=spins[0], fockb=spins[1])
        energies, coefficients = self._scf.eig(effective, self.ovlp)
        occupations = self._scf.get_occ(energies, coefficients)
        dm = np.asarray(self._scf.make_rdm1(coefficients, occupations))
        return State(dm, _occupied(coefficients, occupations, dm.ndim))

    def state_of(self, dm: np.ndarray) -> State:
        """Any density matrix with its natural orbitals; parts with negative occupation are left out of exchange."""
        dm = np.array(dm)
        orbitals = []
        for spin in dm[np.newaxis] if dm.ndim == 2 else dm:
            values, vectors = scipy.linalg.eigh(self._inverse.T @ spin @ self._inverse)
            keep = values > _LEAST_OCCUPATION
            orbitals.append(self._orthogonal @ vectors[:, keep] * np.sqrt(values[keep]))
        return State(dm, orbitals)

    def gradient(self, fock: np.ndarray, state: State) -> float:
        """Norm of the orbital gradient in PySCF's definition (``norm(mf.get_grad(...))``), of any density matrix.

        fock: that of every spin.  For orbitals that are filled or empty it is that of ``get_grad``, otherwise that
        of the commutator FDS - SDF (Pulay, J. Comput. Chem. 3, 556 (1982)).
        """
        dm = np.asarray(state.dm)
        if self.restricted_open:
            return self._restricted_open_gradient(fock, dm)
        spins = [(fock, dm)] if dm.ndim == 2 else zip(fock, dm)
        return float(np.linalg.norm([self._commutator(f, d) for f, d in spins]) / np.sqrt(2))

    def _commutator(self, fock, dm):
        product = self._orthogonal.T @ fock @ dm @ self._inverse
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


def _occupied(coefficients, occupations, ndim):
    coefficients, occupations = np.asarray(coefficients), np.asarray(occupations)
    if ndim == 3 and coefficients.ndim == 2:  # ROHF: one set of orbitals, two occupations
        occupations = np.array([occupations > 0, occupations > 1], dtype=float)
        coefficients = np.array([coefficients] * 2)
    pairs = [(coefficients, occupations)] if coefficients.ndim == 2 else zip(coefficients, occupations)
    return [c[:, occ > 0] * np.sqrt(occ[occ > 0]) for c, occ in pairs]


def _shareable(mf):
    """PySCF's density-fitting object whose tensor serves for J and K alike, if ``mf`` has one."""
    with_df = getattr(mf, "with_df", None)
    return with_df if isinstance(with_df, df.DF) and not getattr(mf, "only_dfj", False) else None
