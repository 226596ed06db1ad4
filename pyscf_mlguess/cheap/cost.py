"""Whether the two-level SCF pays: its time against plain PySCF's, from sizes, before anything is built.

Time is counted in seconds of one core; only ratios matter.  n basis functions, p pairs of them that overlap,
x auxiliary functions, o occupied orbitals (of both spins where these differ), g grid points; with exact exchange K in
brackets:

    real build      integrals in memory   p^2/2 products for J and K alike
                    integral-direct       p^2/2 integrals
                    density fitting       4 x p + [4 x n^2 o] operations, or 2 x p integrals where no tensor is kept
                    and g n m for the functional, m the functions that reach a point
    cheap iteration 4 x p + [4 x n^2 o] operations of ours, or the integrals where its tensor does not fit, and the
                    functional on its own grid
    set-up          x p integrals and [x^2 p] operations for a tensor that PySCF would not make
    plain SCF       14 builds;  two-level SCF  2 builds, 10 cheap iterations (Hartree-Fock: 14), set-up

The constants are those of water, formamide and paracetamol, bases from def2-SVP to def2-TZVP, one thread.  What both
ways need once, integrals in memory or PySCF's own tensor, is left out of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyscf.dft import gen_grid
from pyscf.scf import hf

from pyscf_mlguess.cheap.grid_levels import coarse_level
from pyscf_mlguess.cheap.problem import cheap_auxiliary_mole
from pyscf_mlguess.density_fitting.fitting import shareable
from pyscf_mlguess.density_fitting.tensor import STORAGES, Storage
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.memory import free_mb, holds_integrals

# Typical of molecules that give no trouble: minao's builds, and builds and cheap iterations of the two-level SCF.
_PLAIN_BUILDS, _BUILDS, _ITERATIONS = 14, 2, 10
# Without a functional on the grid the refinement goes further, in double precision.
_ITERATIONS_WITHOUT_GRID = 14
# Seconds for an operation of PySCF's and of our products of tensors (single precision first, double at the end), for a
# two-electron integral over four and three functions, for one that is read from memory.
_OPERATION, _CHEAP_OPERATION = 5.2e-11, 2.9e-11
_FOUR_CENTRE, _THREE_CENTRE, _READ = 4.5e-8, 4.8e-8, 4e-9
# Seconds for a pair of functions on a point of PySCF's grid and of the cheap problem's, per function of the second.
_POINT, _COARSE_POINT = 2.5e-10, 4.6e-11
# Seconds for diagonalising in a plain cycle and with mixing in a cheap one, times n^3.
_DIAGONALISATION, _MIXING = 1e-9, 4e-9
# Seconds that do not depend on sizes: of a cheap iteration, of the set-up, of a functional on PySCF's grid.
_FIXED_ITERATION, _FIXED_SETUP, _FIXED_FUNCTIONAL = 7e-3, 0.03, 0.02
# More functions than this hardly reach one point.
_REACH = 400
# PySCF prunes its grids to about this share of the full product of radial and angular points.
_PRUNED = 0.65


@dataclass(frozen=True)
class Costs:
    """Seconds (of one core, for ratios): of one real Fock build, one cheap iteration, and the cheap problem's set-up.

    iterations: cheap iterations that are to be expected.
    """

    build: float
    iteration: float
    setup: float
    iterations: int = _ITERATIONS

    @property
    def plain(self) -> float:
        """A plain SCF from minao."""
        return _PLAIN_BUILDS * self.build

    @property
    def two_level(self) -> float:
        """A two-level SCF from minao."""
        return _BUILDS * self.build + self.iterations * self.iteration + self.setup

    @property
    def ratio(self) -> float:
        """Two-level over plain."""
        return self.two_level / self.plain


def costs(mf: hf.SCF) -> Costs:
    """The estimate for an SCF object; see the module's text.  Builds nothing but tables of sizes."""
    mol, auxmol, exact = mf.mol, cheap_auxiliary_mole(mf, corrected=True), not LevelOfTheory.of(mf).is_semilocal
    nao, naux, pairs = mol.nao, auxmol.nao, sum(map(len, STORAGES[0].pairs(mol)))
    occupied = mol.nelectron / 2 if isinstance(mf, hf.RHF) and mol.spin == 0 else mol.nelectron
    with_df, shared = getattr(mf, "with_df", None), shareable(mf, exact) is not None
    products = 4 * naux * pairs + (4 * naux * nao**2 * occupied if exact else 0)
    three_centre = 2 * naux * pairs * _THREE_CENTRE
    if holds_integrals(mf):
        build = pairs**2 / 2 * _READ
    elif not with_df:
        build = pairs**2 / 2 * _FOUR_CENTRE
    elif shared:
        build = products * _OPERATION
    else:
        # Where PySCF fits J alone, exact exchange is integral-direct.
        build = three_centre + (pairs**2 / 2 * _FOUR_CENTRE if exact else 0)
    fits = shared or Storage.within(mol, auxmol, free_mb(mf)) is not None
    iteration = products * _CHEAP_OPERATION if fits else three_centre
    setup = 0.0 if shared or not fits else naux * pairs * (
        _THREE_CENTRE + (naux * _OPERATION if exact else 0))
    on_grid = getattr(mf, "_numint", None) is not None
    if on_grid:
        spins, reach = 1 if isinstance(mf, hf.RHF) else 2, nao * min(nao, _REACH)
        build += spins * _points(mf, mf.grids.level) * reach * _POINT + _FIXED_FUNCTIONAL
        iteration += spins * _points(mf, coarse_level(mf)) * reach * _COARSE_POINT
    build += nao**3 * _DIAGONALISATION
    iteration += nao**3 * _MIXING + _FIXED_ITERATION
    return Costs(build, iteration, setup + _FIXED_SETUP,
                 _ITERATIONS if on_grid else _ITERATIONS_WITHOUT_GRID)


def _points(mf, level):
    numbers = [int(z) for z in np.asarray(mf.mol.atom_charges()) if z > 0]
    return _PRUNED * sum(gen_grid._default_rad(z, level) * gen_grid._default_ang(z, level) for z in numbers)
