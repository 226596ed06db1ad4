"""From an auxiliary density to a Fock matrix: auxiliary density functional theory.

Coulomb and semilocal exchange-correlation both go through the auxiliary
functions, F = h + sum_P (ij|P) (c_P + z_P) with z = J^-1 <P|v_xc[c]>, so that no
orbital is ever evaluated on a grid: Koester, Reveles, del Campo, J. Chem. Phys.
121, 3417 (2004).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from pyscf import dft
from pyscf.gto.eval_gto import BLKSIZE, make_screen_index

from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.functional import SemilocalPotential

# PySCF's level of the grid.
GRID_LEVEL = 1
# Radial and angular points of an atom's grid where the density is to be refined: a cheap iteration in eight molecules
# more than PySCF's level 0, of three times as many points.
START_GRID = (12, 26)
# Grid points below this density (e/bohr^3) are dropped: where a fitted density is tiny or
# negative but its gradient is not, gradient-corrected potentials blow up.
DENSITY_FLOOR = 1e-6
# Auxiliary functions below this are left out of a block of grid points, on PySCF's grids and on the start's.
_NEGLIGIBLE, _NEGLIGIBLE_AT_START = 1e-9, 1e-4
# Length of a block of grid points, in PySCF's own blocks.
_BLOCKS = 8


class AuxiliaryFock:
    """J and the semilocal xc matrix of auxiliary densities, again and again.

    fitting: auxiliary functions and three-centre integrals.  potential: the functional.
    grid: PySCF's grid level, or (radial, angular) points of every atom.
    """

    def __init__(self, fitting: DensityFitting, potential: SemilocalPotential,
                 grid: int | tuple[int, int] = GRID_LEVEL):
        self.fitting, self.potential, self._grid = fitting, potential, grid
        self._negligible = _NEGLIGIBLE if isinstance(grid, int) else _NEGLIGIBLE_AT_START

    def matrix(self, coefficients: np.ndarray) -> tuple[np.ndarray, float]:
        """J + V_xc of a density (naux,), shape (nao, nao), Eh, and its electrons in regions of negative density."""
        projected, negative = self._xc(coefficients)
        return self.fitting.contract(coefficients + self.fitting.metric.solve(projected)), negative

    def _xc(self, coefficients):
        """<P|v_xc[rho]>, shape (naux,), and electrons in regions of negative density."""
        projected, negative = np.zeros(self.fitting.auxmol.nao), 0.0
        for index, functions, weights in self.blocks():
            density = coefficients[index] @ functions
            negative -= float(weights @ np.minimum(density[0], 0.0))
            keep = density[0] > DENSITY_FLOOR
            if not keep.any():
                continue
            weighted = np.zeros_like(density)
            weighted[:, keep] = self.potential.first_derivative(density[:, keep]) * weights[keep]
            projected[index] += sum(f @ w for f, w in zip(functions, weighted))
        return projected, negative

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Block by block of the grid: the auxiliary functions (k,) that are not negligible there, these and their
        gradients, (4, k, points), and the points' weights.

        Evaluated anew for every density: kept, they would take a gigabyte for a molecule of 20 atoms and save no time.
        """
        auxmol, grids = self.fitting.auxmol, self._grids
        name = "GTOval_cart_deriv1" if auxmol.cart else "GTOval_sph_deriv1"
        for block, rows, index in self._screened:
            functions = auxmol.eval_gto(name, grids.coords[block], non0tab=rows, cutoff=self._negligible)
            yield index, functions.transpose(0, 2, 1)[:, index], grids.weights[block]

    @cached_property
    def _grids(self) -> dft.Grids:
        grids = dft.Grids(self.fitting.auxmol)
        grids.verbose = 0
        if isinstance(self._grid, int):
            grids.level = self._grid
        else:
            grids.atom_grid, grids.prune = {"default": self._grid}, None
        return grids.build(with_non0tab=False)

    @cached_property
    def _screened(self):
        """Each block's grid points, rows of the screening table, and the auxiliary functions that are left."""
        auxmol, grids = self.fitting.auxmol, self._grids
        points = len(grids.weights)
        sizes = np.diff(auxmol.ao_loc)
        present = make_screen_index(auxmol, grids.coords, cutoff=self._negligible)
        found = []
        for start in range(0, points, _BLOCKS * BLKSIZE):
            rows = present[start // BLKSIZE : start // BLKSIZE + _BLOCKS]
            index = np.flatnonzero(np.repeat(rows.any(axis=0), sizes))
            found.append((slice(start, min(start + _BLOCKS * BLKSIZE, points)), rows, index))
        return found
