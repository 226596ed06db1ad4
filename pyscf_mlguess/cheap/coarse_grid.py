"""Semilocal exchange and correlation on a coarse grid, from orbital basis functions kept where they live.

Functions that vanish on a block of neighbouring points are left out there, so that the work per iteration
grows linearly with the molecule.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import islice

import numpy as np
from pyscf import dft, gto

from pyscf_mlguess.parallel import in_threads

# A multiple of the points that a row of PySCF's mask stands for.
_POINTS = 18 * dft.gen_grid.BLKSIZE
# The functional is evaluated for this many blocks at once: its threads are dear to start.
_BLOCKS_TOGETHER = 20
# A function is left out of a block where its value times sqrt(weight) stays below this.
_NEGLIGIBLE = 1e-6
# Points below this density (e/bohr^3) contribute nothing.
_DENSITY_FLOOR = 1e-9


class CoarseGrid:
    """xc matrices of one molecule on PySCF's grid of ``level``.

    xctype: "LDA", "GGA" or "MGGA".  memory_mb: basis functions on the grid are kept up to this size,
    in single precision, and evaluated again in every iteration beyond it.
    """

    def __init__(self, mol: gto.Mole, xctype: str, level: int, memory_mb: float):
        self._mol, self._xctype, self._memory = mol, xctype, memory_mb * 1e6
        self._grids = dft.Grids(mol)
        self._grids.level, self._grids.verbose = level, 0
        self._grids.build(with_non0tab=True)
        self._kept = []

    @property
    def multiplications(self) -> int:
        """About those of one xc matrix, as far as functions are held; small blocks run at an eighth of full speed."""
        return sum(16 * values.shape[1] * values.shape[2] ** 2 for _, values, _ in self._kept)

    def _blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(indices of functions, their values and gradients (1 or 4, points, functions), weights)."""
        yield from self._kept
        first = sum(len(weights) for _, _, weights in self._kept)
        held = sum(values.nbytes for _, values, _ in self._kept)
        derivative = "GTOval_cart" if self._mol.cart else "GTOval_sph"
        derivative += "" if self._xctype == "LDA" else "_deriv1"
        # PySCF's mask has one row per BLKSIZE points.
        per_row = dft.gen_grid.BLKSIZE
        for start in range(first, len(self._grids.weights), _POINTS):
            weights = self._grids.weights[start : start + _POINTS]
            mask = self._grids.non0tab[start // per_row : -(-(start + len(weights)) // per_row)]
            values = self._mol.eval_gto(derivative, self._grids.coords[start : start + _POINTS], non0tab=mask)
            values = values.reshape(-1, len(weights), self._mol.nao)
            size = np.abs(values[0] * np.sqrt(np.abs(weights))[:, None]).max(axis=0)
            index = np.flatnonzero(size > _NEGLIGIBLE)
            block = index, values[:, :, index].astype(np.float32), weights
            held += block[1].nbytes
            if held < self._memory:
                self._kept.append(block)
            yield block

    def potential(self, numint, xc: list[tuple[float, str]], dm: np.ndarray, dtype=np.float64,
                  orbitals: list[np.ndarray] | None = None) -> tuple[float, np.ndarray]:
        """Energy and matrix of the functional sum_k share_k xc_k, Eh; the matrix in the shape of ``dm``.

        dm: (nao, nao) or (2, nao, nao).  dtype: precision of the products with the functions.  orbitals: of every
        spin, (nao, k) so that D = C C^T: the density takes less time through few of them.
        """
        spins = dm[np.newaxis] if dm.ndim == 2 else dm
        spins = list(zip(spins, orbitals or [None] * len(spins)))
        energy, matrix = 0.0, np.zeros((len(spins), *dm.shape[-2:]))
        for blocks in _batched(self._blocks(), _BLOCKS_TOGETHER):
            density = np.concatenate(in_threads(lambda block: self._densities(block, spins, dtype), blocks), axis=2)
            weights = [weights for _, _, weights in blocks]
            per_point, derivative = self._functional(numint, xc, density)
            energy += per_point @ np.concatenate(weights)
            weighted = (derivative * np.concatenate(weights)).astype(dtype)
            parts = np.split(weighted, np.cumsum([len(w) for w in weights])[:-1], axis=2)
            for (index, _, _), local in zip(blocks, in_threads(_matrices, zip(blocks, parts))):
                matrix[:, index[:, None], index] += local
        matrix += matrix.swapaxes(1, 2)
        return float(energy), matrix.reshape(dm.shape)

    def _densities(self, block, spins, dtype):
        index, functions, _ = block
        functions = functions.astype(dtype, copy=False)
        return np.array([self._density(functions, _factors(dm, orbitals, index, dtype)) for dm, orbitals in spins])

    def _density(self, functions, factors):
        """rho, its gradient and the kinetic energy density, shape (1, 4 or 5, points)."""
        density = np.zeros(({"LDA": 1, "GGA": 4, "MGGA": 5}[self._xctype], functions.shape[1]))
        contracted = functools.reduce(np.matmul, factors, functions[0])
        density[0] = np.einsum("pi,pi->p", contracted, functions[0])
        if self._xctype != "LDA":
            density[1:4] = 2 * np.einsum("pi,kpi->kp", contracted, functions[1:])
        if self._xctype == "MGGA":
            for function in functions[1:]:
                # The derivatives of the orbitals themselves, or of one side of the density matrix.
                half = function @ factors[0]
                density[4] += 0.5 * np.einsum("pi,pi->p", half, function if len(factors) == 1 else half)
        return density

    def _functional(self, numint, xc, density):
        """Energy per volume e_xc (points,), and d e_xc / d density, shape of ``density`` (spins, 1, 4 or 5, points)."""
        polarised = len(density) == 2
        keep = density[:, 0].sum(axis=0) > _DENSITY_FLOOR
        kept = density[:, :, keep]
        # Rounding may leave a vanishing density or kinetic energy density below zero.
        kept[:, 0] = np.maximum(kept[:, 0], 0.0)
        if self._xctype == "MGGA":
            kept[:, 4] = np.maximum(kept[:, 4], 0.0)
        energy, total = np.zeros(len(keep)), np.zeros_like(density)
        for share, code in xc:
            kind = numint._xc_type(code)
            if kind == "HF" or not kept.size:
                continue
            rows = {"LDA": 1, "GGA": 4, "MGGA": 5}[kind]
            argument = kept[:, 0] if kind == "LDA" else kept[:, :rows]
            per_electron, value = numint.eval_xc_eff(code, argument if polarised else argument[0], deriv=1,
                                                     xctype=kind, spin=int(polarised))[:2]
            energy[keep] += share * per_electron.ravel() * kept[:, 0].sum(axis=0)
            total[:, :rows, keep] += share * value.reshape(len(density), rows, -1)
        return energy, total


def _factors(dm, orbitals, index, dtype):
    """Matrices whose product is the density matrix of some functions: itself, or C and C^T where orbitals are few."""
    if orbitals is None or 2 * orbitals.shape[1] > len(index):
        return [dm[np.ix_(index, index)].astype(dtype)]
    local = orbitals[index].astype(dtype)
    return [local, local.T]


def _matrices(block_and_part):
    """Those of every spin, in the functions of one block."""
    (_, functions, _), part = block_and_part
    return np.array([_matrix(functions.astype(part.dtype, copy=False), potential) for potential in part])


def _matrix(functions, weighted):
    """Half of the symmetric matrix of a weighted potential (1, 4 or 5, points)."""
    scaled = functions[0] * (0.5 * weighted[0])[:, None]
    for function, potential in zip(functions[1:], weighted[1:4]):
        scaled += function * potential[:, None]
    half = functions[0].T @ scaled
    if len(weighted) == 5:
        root, sign = np.sqrt(0.25 * np.abs(weighted[4]))[:, None], np.sign(weighted[4])[:, None]
        for function in functions[1:]:
            scaled = function * root
            # A matrix times its own transpose is half of the work.
            half += scaled.T @ (scaled if sign.min() >= 0 else scaled * sign)
    return half


def _batched(items, size):
    """Lists of up to ``size`` items (itertools.batched, which Python 3.10 lacks)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
