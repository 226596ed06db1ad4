"""Orbitals and occupations, and the rotations that change them: energies as functions of antisymmetric matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from pyscf_mlguess.cheap.problem import CheapProblem, State, occupied

# Orbitals of different occupation are at least this far apart (Eh) in the matrix that is handed to be diagonalised.
_APART = 0.5
# Natural occupations are whole within this.
_WHOLE = 1e-3


@dataclass
class _Set:
    """Orthonormal orbitals of one kind: those of RHF or ROHF, of alpha or beta.

    coefficients: (nao, k).  occupations: (k,) as PySCF has them.  counts: (components, k), electrons of every density
    matrix that the set takes part in.  irreps: (k,), or None without symmetry.
    """

    coefficients: np.ndarray
    occupations: np.ndarray
    counts: np.ndarray
    irreps: np.ndarray | None = None

    def __post_init__(self):
        total = self.counts.sum(axis=0)
        free = total[:, None] < total
        if self.irreps is not None:
            free &= self.irreps[:, None] == self.irreps
        # Rotations of orbital p into q, which holds fewer electrons.
        self.q, self.p = np.nonzero(free)

    def gradient(self, focks):
        lost = self.counts[:, self.p] - self.counts[:, self.q]
        return 2 * sum(n * (self.coefficients.T @ f @ self.coefficients)[self.q, self.p] for n, f in zip(lost, focks))

    def curvature(self, focks):
        levels = np.array([np.einsum("pi,pq,qi->i", self.coefficients, f, self.coefficients) for f in focks])
        lost = self.counts[:, self.p] - self.counts[:, self.q]
        return 2 * (lost * (levels[:, self.q] - levels[:, self.p])).sum(axis=0)

    def generator(self, x):
        kappa = np.zeros((len(self.occupations),) * 2)
        kappa[self.q, self.p] = x
        return kappa - kappa.T

    def with_orbitals(self, coefficients):
        return _Set(coefficients, self.occupations, self.counts, self.irreps)

    def canonical(self, fock):
        """Turned among orbitals of the same occupation to those of ``fock``, and by which matrix."""
        turn = np.zeros((len(self.occupations),) * 2)
        kinds = [self.occupations] if self.irreps is None else [self.occupations, self.irreps]
        _, kind = np.unique(np.array(kinds), axis=1, return_inverse=True)
        for k in range(kind.max() + 1):
            block = np.flatnonzero(kind.ravel() == k)
            vectors = self.coefficients[:, block]
            turn[np.ix_(block, block)] = scipy.linalg.eigh(vectors.T @ fock @ vectors)[1]
        return self.with_orbitals(self.coefficients @ turn), turn


@dataclass
class Determinant:
    """What the SCF object occupies, and the free rotations between orbitals of different occupation.

    A rotation is a vector x: the orbitals become C (1 - kappa/2)^-1 (1 + kappa/2), Cayley's transform, which is
    exp(kappa) to second order, with kappa_qp = x for q that holds fewer electrons than p, and -x for pq.
    """

    problem: CheapProblem
    sets: list[_Set]

    @classmethod
    def of(cls, problem: CheapProblem, coefficients: np.ndarray, occupations: np.ndarray) -> "Determinant | None":
        """That of PySCF's arrays; None where occupations are fractional or orbitals, as minao's, not orthonormal."""
        irreps = problem.scf.irreps(coefficients)
        coefficients, occupations = np.asarray(coefficients), np.asarray(occupations)
        whole = (0, 1) if coefficients.ndim == 3 else (0, 1, 2)
        if not np.isin(occupations, whole).all() or not problem.spans(coefficients):
            return None
        if coefficients.ndim == 3:
            counts = np.eye(2)[:, :, None] * occupations[:, None]
            return cls(problem, [_Set(*of_spin) for of_spin in zip(
                coefficients, occupations, counts, irreps if irreps is not None else (None, None))])
        counts = occupations[None]
        if problem.restricted_open and occupations.ndim == 2:  # PySCF's density matrix of ROHF with more beta electrons
            counts, occupations = occupations.astype(float), occupations.sum(axis=0)
        elif problem.restricted_open:
            counts = np.array([occupations > 0, occupations > 1], float)[::-1 if problem.scf.mf.mol.spin < 0 else 1]
        return cls(problem, [_Set(coefficients, occupations, counts, irreps)])

    @classmethod
    def of_state(cls, problem: CheapProblem, state: State) -> "Determinant | None":
        """That of a density matrix which carries its orbitals, as those do that come from a Fock matrix; else None."""
        dm = state.dm
        return cls.of(problem, dm.mo_coeff, dm.mo_occ) if hasattr(dm, "mo_coeff") else None

    @classmethod
    def of_density(cls, problem: CheapProblem, dm: np.ndarray) -> "Determinant | None":
        """That of natural orbitals; ``dm`` is the total for ROHF.  None where their occupations are not whole."""
        found = []
        for spin in np.asarray(dm) if np.ndim(dm) == 3 else [np.asarray(dm)]:
            orbitals, occupations = problem.natural_orbitals(spin)
            if np.abs(occupations - occupations.round()).max() > _WHOLE:
                return None
            found.append((orbitals, occupations.round()))
        coefficients, occupations = map(np.array, zip(*found))
        if np.ndim(dm) == 2:
            coefficients, occupations = coefficients[0], occupations[0]
        return cls.of(problem, coefficients, occupations)

    @property
    def state(self) -> State:
        """Its density matrix."""
        coefficients, occupations = self.arrays
        dm = self.problem.scf.density_matrix(coefficients, occupations)
        return State(dm, occupied(coefficients, occupations, dm.ndim))

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """PySCF's mo_coeff and mo_occ."""
        coefficients, occupations = [s.coefficients for s in self.sets], [s.occupations for s in self.sets]
        return (np.array(coefficients), np.array(occupations)) if len(self.sets) == 2 else (
            coefficients[0], occupations[0])

    def with_shared_orbitals(self) -> "Determinant":
        """With alpha's orbitals for beta, too, which occupies the same space."""
        alpha, beta = self.sets
        return Determinant(self.problem, [alpha, beta.with_orbitals(alpha.coefficients)])

    def _focks(self, fock):
        return fock if np.ndim(fock) == 3 else np.asarray(fock)[None]

    def _each(self, vector):
        return np.split(vector, np.cumsum([len(s.p) for s in self.sets])[:-1])

    def gradient(self, fock: np.ndarray) -> np.ndarray:
        """dE/dx (Eh) for the Fock matrix of every spin: twice PySCF's ``get_grad``."""
        return np.concatenate([s.gradient(self._focks(fock)) for s in self.sets])

    def curvature(self, fock: np.ndarray) -> np.ndarray:
        """d2E/dx2 of independent electrons (Eh), the diagonal for canonical orbitals."""
        return np.concatenate([s.curvature(self._focks(fock)) for s in self.sets])

    def smallest_gap(self, fock: np.ndarray) -> float:
        """The smallest curvature by the electrons that move, Eh: of canonical orbitals the frontier gap."""
        lost = np.concatenate([(s.counts[:, s.p] - s.counts[:, s.q]).sum(axis=0) for s in self.sets])
        return float((self.curvature(fock) / (2 * lost)).min(initial=np.inf))

    def rotated(self, x: np.ndarray) -> "Determinant":
        return Determinant(self.problem, [
            s.with_orbitals(s.coefficients @ _cayley(s.generator(part)))
            for s, part in zip(self.sets, self._each(x))])

    def canonical(self, fock: np.ndarray, vectors: list[np.ndarray] = ()) -> tuple["Determinant", list[np.ndarray]]:
        """With canonical orbitals, and rotations ``vectors`` as those of the new orbitals."""
        focks, sets, turns = self._focks(fock), [], []
        for k, s in enumerate(self.sets):
            mean = focks[k] if len(self.sets) == 2 else sum(focks) / len(focks)
            new, turn = s.canonical(mean)
            sets.append(new)
            turns.append(turn)
        moved = [np.concatenate([(turn.T @ s.generator(part) @ turn)[s.q, s.p]
                                 for s, turn, part in zip(self.sets, turns, self._each(v))]) for v in vectors]
        return Determinant(self.problem, sets), moved

    def effective(self, fock: np.ndarray) -> np.ndarray:
        """A matrix to diagonalise whose lowest orbitals are the occupied ones, in the order of ``fock``'s levels, Eh.

        fock: that of every spin, for which the determinant is canonical.
        """
        ovlp, matrices, focks = self.problem.ovlp, [], self._focks(fock)
        for k, s in enumerate(self.sets):
            mean = focks[k] if len(self.sets) == 2 else sum(focks) / len(focks)
            levels = np.einsum("pi,pq,qi->i", s.coefficients, mean, s.coefficients)
            top = -np.inf
            for occupation in sorted(set(s.occupations), reverse=True):
                kind = s.occupations == occupation
                levels[kind] += max(0.0, top + _APART - levels[kind].min())
                top = levels[kind].max()
            dual = ovlp @ s.coefficients
            matrices.append((dual * levels) @ dual.T)
        return np.array(matrices) if len(matrices) == 2 else matrices[0]


def _cayley(kappa):
    one, half = np.eye(len(kappa)), kappa / 2
    return np.linalg.solve(one - half, one + half)
