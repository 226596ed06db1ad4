"""Coulomb and exchange matrices by density fitting, in single precision: the dear part of the cheap problem.

J_mn = sum_P B_P,mn sum_ls B_P,ls D_ls and K_mn = sum_Pi (B_P C_i)_m (B_P C_i)_n with B = L^-1 (P|mn) and
L L^T = (P|Q), for any interaction whose Fourier transform is positive (resolution of the identity: Weigend,
Phys. Chem. Chem. Phys. 4, 4285 (2002)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from pyscf import gto, lib
from pyscf.df import df
from pyscf.df.outcore import _guess_shell_ranges

from pyscf_mlguess.auxiliary_basis import auxiliary_mole

_BLOCK_BYTES = 2e7  # of the unpacked tensor: large enough for fast products, small enough for the cache
_BUILD_BYTES = 1.6e8  # of the integrals at a time
_LINEAR_DEPENDENCE = 1e-10


@dataclass(frozen=True)
class Interaction:
    """short_range / r + (long_range - short_range) erf(omega r) / r; Coulomb's by default."""

    short_range: float = 1.0
    long_range: float = 1.0
    omega: float = 0.0

    @property
    def is_coulomb(self) -> bool:
        return self.omega == 0 or self.short_range == self.long_range


class FittedInteraction:
    """The tensor B of one molecule and interaction, its own in single precision or that of a PySCF object.

    Own tensors hold naux * nao (nao + 1) / 2 float32 numbers (``size_mb``).
    """

    def __init__(self, mol: gto.Mole, interaction: Interaction = Interaction()):
        self._nao = mol.nao
        self._with_df = None
        self._tensor = _tensor(mol, _auxiliary(mol), interaction)
        self._set_up()

    @classmethod
    def shared(cls, with_df: df.DF) -> "FittedInteraction":
        """The tensor of a PySCF density-fitting object, built here if it is not there yet."""
        self = cls.__new__(cls)
        self._nao, self._with_df = with_df.mol.nao, with_df
        if with_df._cderi is None:
            with_df.build()
        self._set_up()
        return self

    def _set_up(self):
        rows, columns = np.tril_indices(self._nao)
        square = np.empty((self._nao, self._nao), dtype=np.intp)
        square[rows, columns] = square[columns, rows] = np.arange(len(rows))
        self._unpacked = square.ravel()
        self._rows = max(1, int(_BLOCK_BYTES / (4 * self._nao**2)))
        self._reference = None

    @staticmethod
    def size_mb(mol: gto.Mole) -> float:
        """Memory (MB) that an own tensor would hold."""
        return _auxiliary(mol).nao * mol.nao * (mol.nao + 1) / 2 * 4e-6

    def _blocks(self) -> Iterator[np.ndarray]:
        if self._with_df is not None:
            yield from self._with_df.loop(self._rows)
            return
        for start in range(0, len(self._tensor), self._rows):
            yield self._tensor[start : start + self._rows]

    def jk(self, dm: np.ndarray, orbitals: list[np.ndarray] | None = None, with_j: bool = True, dtype=np.float64):
        """(J, Ks): J of the symmetric matrix ``dm`` (nao, nao), and K of C C^T for every C (nao, n) in ``orbitals``.

        dtype: precision of the products.  Shapes (nao, nao) and (len(orbitals), nao, nao), Eh; J is None
        without ``with_j``.
        """
        spins = orbitals or []
        together = np.hstack(spins).astype(dtype) if spins else None
        ends = np.cumsum([0] + [c.shape[1] for c in spins])
        exchange = np.zeros((len(spins), self._nao, self._nao))
        unpacked = np.empty((self._rows, self._nao**2), dtype=dtype) if spins else None
        density, coulomb = self._change(dm) if with_j else None, 0.0
        kind = dtype if self._reference is not None else np.float64
        for block in self._blocks():
            if with_j:
                block_j = block.astype(kind, copy=False)
                coulomb = coulomb + (block_j @ density.astype(kind)) @ block_j
            if spins:
                square = np.take(block.astype(dtype, copy=False), self._unpacked, axis=1, mode="clip",
                                 out=unpacked[: len(block)])
                half = (square.reshape(-1, self._nao) @ together).reshape(len(block), self._nao, -1)
                for k, (a, b) in enumerate(zip(ends[:-1], ends[1:])):
                    rows = np.ascontiguousarray(half[:, :, a:b].transpose(0, 2, 1)).reshape(-1, self._nao)
                    exchange[k] += rows.T @ rows
        return self._total(dm, coulomb) if with_j else None, exchange

    def _change(self, dm):
        """What ``dm`` adds to the first density matrix met, packed: J is linear, and so rounding meets this alone."""
        packed = 2 * lib.pack_tril(np.asarray(dm if self._reference is None else dm - self._reference[0]))
        # Both triangles count, the diagonal once.
        diagonal = np.arange(self._nao)
        packed[diagonal * (diagonal + 3) // 2] /= 2
        return packed

    def _total(self, dm, coulomb):
        coulomb = lib.unpack_tril(np.asarray(coulomb, dtype=float))
        if self._reference is None:
            self._reference = np.array(dm), coulomb
            return coulomb
        return self._reference[1] + coulomb


def _auxiliary(mol):
    auxmol = auxiliary_mole(mol)
    # The integral driver wants a spherical or a cartesian basis throughout.
    auxmol.cart = mol.cart
    return auxmol


def _tensor(mol, auxmol, interaction):
    metric = _integrals(interaction, auxmol, lambda: auxmol.intor("int2c2e", hermi=1))
    try:
        factor = scipy.linalg.cholesky(metric, lower=True)
        solve = lambda ints: scipy.linalg.solve_triangular(factor, ints, lower=True, overwrite_b=True,  # noqa: E731
                                                           check_finite=False)
        naux = len(metric)
    except scipy.linalg.LinAlgError:
        values, vectors = scipy.linalg.eigh(metric)
        keep = values > _LINEAR_DEPENDENCE
        inverse_root = (vectors[:, keep] / np.sqrt(values[keep])).T
        solve = inverse_root.__matmul__
        naux = int(keep.sum())
    tensor = np.empty((naux, mol.nao * (mol.nao + 1) // 2), dtype=np.float32)
    together = mol + auxmol
    slice_of = (0, mol.nbas, mol.nbas, mol.nbas + auxmol.nbas)
    start = 0
    rows = max(mol.nao, int(_BUILD_BYTES / (8 * auxmol.nao)))
    for first, last, count in _guess_shell_ranges(mol, rows, "s2ij"):
        ints = _integrals(interaction, together, lambda: together.intor(
            "int3c2e", shls_slice=(first, last, *slice_of), aosym="s2ij"))
        tensor[:, start : start + count] = solve(np.asarray(ints.T, order="F"))
        start += count
    return tensor


def _integrals(interaction, mol, evaluate):
    if interaction.is_coulomb:
        return interaction.short_range * evaluate()
    total = 0.0
    if interaction.short_range:
        total = interaction.short_range * evaluate()
    with mol.with_range_coulomb(interaction.omega):
        return total + (interaction.long_range - interaction.short_range) * evaluate()
