"""Coulomb and exchange matrices by density fitting, in single precision: the dear part of the cheap problem.

J_mn = sum_P B_P,mn sum_ls B_P,ls D_ls and K_mn = sum_Pi (B_P C_i)_m (B_P C_i)_n with B = L^-1 (P|mn) and
L L^T = (P|Q), for any interaction whose Fourier transform is positive (resolution of the identity: Weigend,
Phys. Chem. Chem. Phys. 4, 4285 (2002)).  J alone does with (P|mn) and the inverse of (P|Q): L^-1 for every pair takes
almost as long as all the rest of a large tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pyscf import gto
from pyscf.df import df
from pyscf.df.outcore import _guess_shell_ranges
from pyscf.scf import _vhf

from pyscf_mlguess.density_fitting.metric import Metric
from pyscf_mlguess.parallel import in_threads, shares

_BLOCK_BYTES = 1e7  # of the unpacked tensor: large enough for fast products, small enough for the cache
_BUILD_BYTES = 1.6e8  # of the integrals at a time
_LARGEST = np.iinfo(np.int16).max
# The least eigenvalue (Eh) of the metric with which (P|mn) serve in single precision: with the functions for J alone it
# is 3e-5 to 3e-4, with those for exchange and diffuse orbitals 1e-7 to 1e-6, where a Coulomb matrix would be noise.
_LEAST_EIGENVALUE = 1e-5


@dataclass(frozen=True)
class Interaction:
    """short_range / r + (long_range - short_range) erf(omega r) / r; Coulomb's, times any share, where omega is 0."""

    short_range: float = 1.0
    long_range: float = 1.0
    omega: float = 0.0

    @property
    def is_coulomb(self) -> bool:
        return self.omega == 0


@dataclass(frozen=True)
class Storage:
    """How a tensor is held: every pair of functions by its bound (ij|ij)^1/2 (Eh^1/2).

    negligible: pairs below are left out.  narrow: pairs below are held in 16-bit integers with a scale of their own,
    those above in single precision.  Errors of a pair go with its bound, so that rounding the small ones more coarsely
    changes nothing; all of them in 16 bits leave 1e-3 Eh in a Coulomb matrix, which small eigenvalues of the overlap
    matrix then multiply.
    """

    negligible: float
    narrow: float

    def pairs(self, mol: gto.Mole) -> tuple[np.ndarray, np.ndarray]:
        """Indices into the packed lower triangle of the pairs in single precision, and of those in 16 bits."""
        bounds = _pair_bounds(mol)
        wide = bounds > max(self.negligible, self.narrow)
        return np.flatnonzero(wide), np.flatnonzero((bounds > self.negligible) & ~wide)

    def size_mb(self, mol: gto.Mole, auxmol: gto.Mole) -> float:
        """Memory (MB) that the tensor will hold."""
        wide, narrow = self.pairs(mol)
        return auxmol.nao * (4e-6 * len(wide) + 2e-6 * len(narrow))

    @classmethod
    def within(cls, mol: gto.Mole, auxmol: gto.Mole, budget_mb: float) -> "Storage | None":
        """The best that fits; None where none does."""
        return next((storage for storage in STORAGES if storage.size_mb(mol, auxmol) < budget_mb), None)


# From good to just good enough: the real Fock matrix corrects what the tensor lacks.
STORAGES = Storage(1e-7, narrow=0.0), Storage(1e-7, narrow=1e-2), Storage(1e-5, narrow=1e-2)


class FittedTensor:
    """The tensor B of one molecule and interaction.

    mol, auxmol: orbital and auxiliary basis, both spherical or both cartesian.  Holds ``storage.size_mb(mol, auxmol)``.
    for_exchange: hold B, which K needs; otherwise (P|mn), unless the auxiliary functions are so nearly dependent that
        rounding would be amplified.
    """

    def __init__(self, mol: gto.Mole, auxmol: gto.Mole, interaction: Interaction = Interaction(),
                 storage: Storage = STORAGES[0], for_exchange: bool = True):
        self._with_df, self.auxmol = None, auxmol
        metric = Metric(_integrals(interaction, auxmol, lambda: auxmol.intor("int2c2e", hermi=1)))
        # The metric of rows that are (P|mn); None where they are those of B.
        self._bare = None if for_exchange or metric.least_eigenvalue < _LEAST_EIGENVALUE else metric
        wide, narrow = storage.pairs(mol)
        self._set_up(mol.nao, np.concatenate([wide, narrow]))
        self._tensor = _tensor(mol, auxmol, interaction, wide, narrow, None if self._bare else metric)

    @classmethod
    def shared(cls, with_df: df.DF) -> "FittedTensor":
        """The tensor of a PySCF density-fitting object, built here if it is not there yet."""
        self = cls.__new__(cls)
        self._bare = None
        if with_df._cderi is None:
            with_df.build()
        if not isinstance(with_df._cderi, np.ndarray):
            raise MemoryError(f"PySCF keeps its fitting tensor on disk; max_memory is {with_df.max_memory:.0f}")
        self._with_df, self.auxmol = with_df, with_df.auxmol
        nao = with_df.mol.nao
        self._set_up(nao, np.arange(nao * (nao + 1) // 2))
        return self

    def _set_up(self, nao, pairs):
        """pairs: which of the packed lower triangle are there."""
        rows, columns = (index[pairs] for index in np.tril_indices(nao))
        # The column after the last holds zeros for the pairs that are not there.
        square = np.full((nao, nao), len(pairs))
        square[rows, columns] = square[columns, rows] = np.arange(len(pairs))
        self._nao, self._pairs, self._rows, self._columns, self._square = nao, pairs, rows, columns, square.ravel()
        self._batch = max(1, int(_BLOCK_BYTES / (4 * nao**2)))
        self._reference = None

    @property
    def rank(self) -> int:
        """Number of rows."""
        return len(self._tensor[0]) if self._with_df is None else self._with_df.get_naoaux()

    def multiplications(self, nocc: int) -> int:
        """About those of J, and of K with ``nocc`` orbitals (none: 0) on top; reading the tensor counts as ten each."""
        exchange = self._nao**2 * (10 + 3 * nocc // 2) if nocc else 0
        return self.rank * (20 * len(self._pairs) + exchange)

    @cached_property
    def metric(self) -> Metric:
        """The Coulomb metric of the auxiliary functions; where B is held not kept from building it, but made again."""
        return self._bare or Metric.coulomb(self.auxmol)

    @property
    def has_root(self) -> bool:
        """Whether the rows of B are those of L^-1 as ``metric`` has it, so that densities go through the tensor.

        PySCF leaves linear dependencies out in another way.
        """
        return self._with_df is None or self.rank == self.metric.rank == self.auxmol.nao

    @property
    def rows_metric(self) -> np.ndarray | None:
        """M, (rank, rank), Eh, of J_mn = sum_PQls T_P,mn M^-1_PQ T_Q,ls D_ls with the rows T; None: the identity."""
        return self._bare.matrix if self._bare else None

    def project(self, dm: np.ndarray) -> np.ndarray:
        """(P|D) = sum_ij (ij|P) D_ij, shape (naux,), for a symmetric D of shape (nao, nao)."""
        vector = self._times(self._packed(dm))
        return vector if self._bare else self.metric.root(vector)

    def contract(self, vector: np.ndarray) -> np.ndarray:
        """sum_P (ij|P) x_P, shape (nao, nao), for x of shape (naux,)."""
        return self.combine(vector if self._bare else self.metric.root_transposed(vector))

    def combine(self, vector: np.ndarray) -> np.ndarray:
        """sum_P T_P,ij x_P of the rows T, shape (nao, nao), for x of shape (rank,)."""
        return self._unpacked(self._transposed_times(vector))

    def _times(self, packed):
        """The rows times a packed vector, in the precision of that."""
        def block(k):
            return self._block(k)[:, : len(packed)].astype(packed.dtype, copy=False) @ packed

        return np.concatenate(in_threads(block, range(self._count)))

    def _transposed_times(self, vector):
        """A combination of the rows, packed, in the precision of ``vector``."""
        def share(blocks):
            return sum(vector[self._rows_of(k)] @ self._block(k)[:, : len(self._pairs)].astype(vector.dtype, copy=False)
                       for k in blocks)

        return sum(in_threads(share, shares(self._count)))

    def transformed(self, spaces: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """sum_mn T_P,mn C_mi C_na of the rows T for every pair of C (nao, n) and C (nao, m).

        Each (rank, n m), in single precision.
        """
        spaces = [(left.T.astype(np.float32), right.astype(np.float32)) for left, right in spaces]
        found = [np.empty((self.rank, left.shape[0] * right.shape[1]), dtype=np.float32) for left, right in spaces]

        def share(blocks):
            buffer = self._buffer(np.float32)
            for k in blocks:
                matrices = self._square_matrices(self._block(k), buffer)
                for (left, right), array in zip(spaces, found):
                    array[self._rows_of(k)] = ((left @ matrices) @ right).reshape(len(matrices), -1)

        in_threads(share, shares(self._count))
        return found

    def _buffer(self, dtype):
        return np.empty((self._batch, self._nao**2), dtype=dtype)

    def _square_matrices(self, block, buffer):
        """Rows of B as matrices (n, nao, nao), in ``buffer``."""
        matrices = np.take(block.astype(buffer.dtype, copy=False), self._square, axis=1, mode="clip",
                           out=buffer[: len(block)])
        return matrices.reshape(-1, self._nao, self._nao)

    @property
    def _count(self):
        """Number of blocks of rows."""
        return -(-self.rank // self._batch)

    def _rows_of(self, k):
        return slice(k * self._batch, (k + 1) * self._batch)

    def _block(self, k) -> np.ndarray:
        """The ``k``-th batch of rows of B, (n, pairs) and a column of zeros where pairs are missing."""
        if self._with_df is not None:
            return self._with_df._cderi[self._rows_of(k)]
        wide, narrow, scales = self._tensor
        block = wide[self._rows_of(k)]
        return np.hstack([block, narrow[self._rows_of(k)] * scales]) if len(scales) > 1 else block

    def jk(self, dm: np.ndarray, orbitals: list[np.ndarray] | None = None, with_j: bool = True, dtype=np.float64):
        """(J, Ks): J of the symmetric matrix ``dm`` (nao, nao), and K of C C^T for every C (nao, n) in ``orbitals``.

        dtype: precision of the products.  Shapes (nao, nao) and (len(orbitals), nao, nao), Eh; J is None
        without ``with_j``.
        """
        spins = orbitals or []
        if self._bare:
            if spins:
                raise ValueError("exchange of a tensor that was made for J alone: FittedTensor(..., for_exchange=True)")
            return self._bare_coulomb(dm, dtype), np.zeros((0, self._nao, self._nao))
        together = np.hstack(spins).T.astype(dtype) if spins else None
        ends = np.cumsum([0] + [c.shape[1] for c in spins])
        kind = dtype if self._reference is not None else np.float64
        density = self._change(dm).astype(kind) if with_j else None

        def share(blocks):
            coulomb, exchange = 0.0, np.zeros((len(spins), self._nao, self._nao))
            buffer = self._buffer(dtype) if spins else None
            for block in map(self._block, blocks):
                if with_j:
                    block = block.astype(kind, copy=False)
                    rows = block[:, : len(self._pairs)]
                    coulomb = coulomb + (rows @ density) @ rows
                if spins:
                    half = together @ self._square_matrices(block, buffer)
                    for k, (a, b) in enumerate(zip(ends[:-1], ends[1:])):
                        rows = half[:, a:b].reshape(-1, self._nao)
                        exchange[k] += rows.T @ rows
            return coulomb, exchange

        coulomb, exchange = map(sum, zip(*in_threads(share, shares(self._count))))
        return self._total(dm, coulomb) if with_j else None, exchange

    def _bare_coulomb(self, dm, dtype):
        # The inverse of the metric would multiply the rounding of the first product, which is therefore in double.
        fitted = self._bare.solve(self._times(self._change(dm)))
        return self._total(dm, self._transposed_times(fitted.astype(dtype if self._reference else np.float64)))

    def _change(self, dm):
        """What ``dm`` adds to the first density matrix met, packed: J is linear, and so rounding meets this alone."""
        return self._packed(dm if self._reference is None else dm - self._reference[0])

    def _total(self, dm, packed):
        coulomb = self._unpacked(packed)
        if self._reference is None:
            self._reference = np.array(dm), coulomb
            return coulomb
        return self._reference[1] + coulomb

    def _packed(self, dm):
        # Both triangles count, the diagonal once.
        return np.where(self._rows == self._columns, 1.0, 2.0) * dm[self._rows, self._columns]

    def _unpacked(self, packed):
        matrix = np.zeros((self._nao, self._nao))
        matrix[self._rows, self._columns] = matrix[self._columns, self._rows] = packed
        return matrix


def _pair_bounds(mol):
    """(ij|ij)^1/2 of the packed lower triangle."""
    opt = _vhf._VHFOpt(mol, "int2e", "CVHFnrs8_prescreen")
    opt.init_cvhf_direct(mol, "int2e", "CVHFnr_int2e_q_cond")
    shell_of = np.repeat(np.arange(mol.nbas), np.diff(mol.ao_loc))
    return np.asarray(opt.q_cond).reshape(mol.nbas, mol.nbas)[np.ix_(shell_of, shell_of)][np.tril_indices(mol.nao)]


def _tensor(mol, auxmol, interaction, wide, narrow, metric):
    """Columns in single precision, columns in 16 bits, and the scales of these; in the last one a column of zeros.

    metric: without, (P|mn) as they are.
    """
    rank = auxmol.nao if metric is None else metric.rank
    columns = np.zeros((rank, len(wide) + (0 if len(narrow) else 1)), dtype=np.float32)
    small = np.zeros((rank, len(narrow) + 1), dtype=np.int16)
    scales = np.ones(len(narrow) + 1, dtype=np.float32)
    together = mol + auxmol
    auxiliary = (0, mol.nbas, mol.nbas, mol.nbas + auxmol.nbas)
    rows = max(mol.nao, int(_BUILD_BYTES / (8 * auxmol.nao)))
    start = 0
    for first, last, count in _guess_shell_ranges(mol, rows, "s2ij"):
        (a, b), (c, d) = (np.searchsorted(pairs, (start, start + count)) for pairs in (wide, narrow))
        if b > a or d > c:
            integrals = _integrals(interaction, together, lambda: together.intor(
                "int3c2e", shls_slice=(first, last, *auxiliary), aosym="s2ij"))
            chosen = np.concatenate([wide[a:b], narrow[c:d]]) - start
            found = integrals[chosen].T
            found = found if metric is None else metric.solve_root(np.asarray(found, order="F"))
            columns[:, a:b], rest = found[:, : b - a], found[:, b - a :]
            scales[c:d] = np.maximum(np.abs(rest).max(axis=0, initial=0.0) / _LARGEST, np.finfo(np.float32).tiny)
            small[:, c:d] = np.rint(rest / scales[c:d])
        start += count
    return columns, small, scales


def _integrals(interaction, mol, evaluate):
    if interaction.is_coulomb:
        return evaluate()
    total = interaction.short_range * evaluate() if interaction.short_range else 0.0
    with mol.with_range_coulomb(interaction.omega):
        return total + (interaction.long_range - interaction.short_range) * evaluate()
