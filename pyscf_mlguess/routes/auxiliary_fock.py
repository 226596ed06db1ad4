"""The density route's problem: an auxiliary density in, a Fock matrix out (auxiliary density functional theory).

Coulomb and semilocal exchange-correlation both go through the auxiliary
functions, F = h + sum_P (ij|P) (c_P + z_P) with z = J^-1 <P|v_xc[c]>, so that no
orbital is ever evaluated on a grid: Koester, Reveles, del Campo, J. Chem. Phys.
121, 3417 (2004).  Every method can be called again and again.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.linalg
from pyscf import df, dft, gto, lib
from pyscf.gto.eval_gto import BLKSIZE, make_screen_index
from pyscf.scf import _vhf, jk

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.functional import SemilocalPotential

GRID_LEVEL, COARSEST = 1, 0
# Grid points below this density (e/bohr^3) are dropped: where a fitted density is tiny or
# negative but its gradient is not, gradient-corrected potentials blow up.
DENSITY_FLOOR = 1e-6
_DIRECT_THRESHOLD = 1e-11
# Auxiliary functions below this are left out of a block of grid points; its length, in PySCF's own blocks.
_NEGLIGIBLE = 1e-9
_BLOCKS = 8


class AuxiliaryProblem:
    """Coulomb metric, three-centre contractions and coarse grid of one molecule.

    mol: the user's molecule (any orbital basis, spherical or cartesian).
    auxmol: the same atoms with the auxiliary basis, spherical.
    with_df: PySCF density-fitting object whose three-centre tensor is used (and built) where its
        auxiliary basis is the same.
    hold: keep three-centre integrals and auxiliary functions on the grid from one Fock matrix to the next, where each
        takes no more than half of the memory that ``mol.max_memory`` leaves.
    negative_electrons: electrons in regions of negative density, of the last density that met the grid.
    """

    negative_electrons = 0.0

    def __init__(self, mol: gto.Mole, auxmol: gto.Mole | None = None, grid_level: int = GRID_LEVEL, with_df=None,
                 hold: bool = False):
        self.mol = mol
        self.auxmol = auxmol if auxmol is not None else auxiliary_mole(mol)
        self.grid_level = grid_level
        self._with_df = with_df
        self._hold = hold

    @cached_property
    def _metric_factor(self):
        return scipy.linalg.cho_factor(self.metric, lower=True)

    @cached_property
    def metric(self) -> np.ndarray:
        """Coulomb metric J_PQ = (P|Q), shape (naux, naux), Eh."""
        return self.auxmol.intor("int2c2e", hermi=1)

    def solve_metric(self, vector: np.ndarray) -> np.ndarray:
        """J^-1 applied to (naux,) or (naux, k)."""
        return scipy.linalg.cho_solve(self._metric_factor, vector)

    @cached_property
    def charges(self) -> np.ndarray:
        """Electrons in each auxiliary function, the integral of P over space, shape (naux,)."""
        return function_integrals(self.auxmol)

    def _may_hold(self, numbers):
        return self._hold and 8e-6 * numbers < (self.mol.max_memory - lib.current_memory()[0]) / 2

    # -- three-centre contractions, integral-direct unless the integrals are held --

    @cached_property
    def _held(self) -> np.ndarray | None:
        """(ij|P) of the packed lower triangle, (nao (nao + 1) / 2, naux)."""
        pairs = self.mol.nao * (self.mol.nao + 1) // 2
        if not self._may_hold(pairs * self._contraction_auxmol.nao):
            return None
        return df.incore.aux_e2(self.mol, self._contraction_auxmol, aosym="s2ij")

    @cached_property
    def _direct(self):
        """Screening data for (ij|P) as PySCF's own integral-direct density fitting sets it up."""
        mol, auxmol = self.mol, self._contraction_auxmol
        # The integral-direct driver wants a spherical or a cartesian basis throughout.
        opt = _vhf._VHFOpt(mol, "int3c2e", "CVHFnr3c2e_schwarz_cond", dmcondname="CVHFnr_dm_cond",
                           direct_scf_tol=_DIRECT_THRESHOLD)
        opt.init_cvhf_direct(mol, "int2e", "CVHFnr_int2e_q_cond")
        diagonal = np.sqrt(np.abs(auxmol.intor("int2c2e", hermi=1).diagonal()))
        loc = auxmol.ao_loc
        shell_bound = [diagonal[a:b].max() for a, b in zip(loc[:-1], loc[1:])]
        opt.q_cond = np.hstack((opt.q_cond.ravel(), shell_bound))
        both = mol + auxmol
        both._bas = np.vstack((both._bas, np.array([0, 0, 1, 1, 0, 0, 0, 0], dtype=np.int32)))
        return opt, both

    @cached_property
    def _contraction_auxmol(self) -> gto.Mole:
        if not self.mol.cart:
            return self.auxmol
        cartesian = self.auxmol.copy(deep=False)
        cartesian.cart = True
        return cartesian

    @cached_property
    def _to_cartesian(self) -> np.ndarray | None:
        return self.auxmol.cart2sph_coeff(normalized="sp") if self.mol.cart else None

    def potential_matrix(self, vector: np.ndarray) -> np.ndarray:
        """sum_P (ij|P) x_P in the user's AO basis, shape (nao, nao), for x of shape (naux,)."""
        if self._shared_tensor is not None:
            return self._potential_from_tensor(vector)
        if self._to_cartesian is not None:
            vector = self._to_cartesian @ vector
        if self._held is not None:
            return lib.unpack_tril(self._held @ vector)
        opt, both = self._direct
        nbas, nboth = self.mol.nbas, self.mol.nbas + self._contraction_auxmol.nbas
        loc = self._contraction_auxmol.ao_loc
        # This prescreening wants the largest coefficient of each auxiliary shell.
        bound = np.array([np.abs(vector[a:b]).max() for a, b in zip(loc[:-1], loc[1:])])
        with lib.temporary_env(opt, prescreen="CVHFnr3c2e_vj_pass2_prescreen", _dmcondname=None):
            opt.dm_cond = bound
            matrix = jk.get_jk(both, vector[np.newaxis], "ijkl,lk->ij", "int3c2e", aosym="s2ij", hermi=1,
                               shls_slice=(0, nbas, 0, nbas, nbas, nboth, nboth, nboth + 1), vhfopt=opt)
        return lib.hermi_triu(matrix, inplace=False)

    @cached_property
    def _shared_tensor(self):
        """The density-fitting object if its tensor is (L^-1 (P|ij)) of this auxiliary basis, J = L L^T."""
        if self._with_df is None:
            return None
        if self._with_df._cderi is None:
            self._with_df.build()
        naux = self.auxmol.nao
        same = (self._with_df.get_naoaux() == naux and self._with_df.auxmol.nao == naux
                and np.allclose(self._with_df.auxmol.intor("int2c2e"), self.metric, rtol=0, atol=1e-9))
        return self._with_df if same else None

    def _potential_from_tensor(self, vector: np.ndarray) -> np.ndarray:
        half = np.tril(self._metric_factor[0]).T @ vector
        packed, start = 0.0, 0
        for block in self._shared_tensor.loop():
            packed = packed + half[start : start + len(block)] @ block
            start += len(block)
        return lib.unpack_tril(packed)

    def project(self, dm: np.ndarray) -> np.ndarray:
        """(P|D) = sum_ij (ij|P) D_ij, shape (naux,), for a symmetric D of shape (nao, nao)."""
        dm = np.asarray(dm, order="C")
        # Both triangles count, the diagonal once.
        packed = lib.pack_tril(2 * dm - np.diag(np.diag(dm)))
        if self._shared_tensor is not None:
            half = np.concatenate([block @ packed for block in self._shared_tensor.loop()])
            return np.tril(self._metric_factor[0]) @ half
        if self._held is not None:
            vector = packed @ self._held
            return vector if self._to_cartesian is None else self._to_cartesian.T @ vector
        opt, both = self._direct
        nbas, nboth = self.mol.nbas, self.mol.nbas + self._contraction_auxmol.nbas
        with lib.temporary_env(opt, prescreen="CVHFnr3c2e_vj_pass1_prescreen"):
            vector = jk.get_jk(both, dm, "ijkl,ji->kl", "int3c2e", aosym="s2ij", hermi=0,
                               shls_slice=(0, nbas, 0, nbas, nbas, nboth, nboth, nboth + 1), vhfopt=opt)[:, 0]
        return vector if self._to_cartesian is None else self._to_cartesian.T @ vector

    # -- densities --

    def fit(self, dm: np.ndarray) -> np.ndarray:
        """Coulomb-fitted coefficients of a density matrix with its electron count restored, (naux,)."""
        nelec = np.einsum("ij,ji->", dm, self.mol.intor_symmetric("int1e_ovlp"))
        return self.restore_electron_count(self.solve_metric(self.project(dm)), nelec)

    def restore_electron_count(self, coefficients: np.ndarray, nelec: float) -> np.ndarray:
        """The nearest density, in the Coulomb metric, that holds ``nelec`` electrons."""
        direction = self.solve_metric(self.charges)
        missing = nelec - self.charges @ coefficients
        return coefficients + direction * (missing / (self.charges @ direction))

    # -- exchange and correlation on the coarse grid --

    @cached_property
    def grids(self) -> dft.Grids:
        grids = dft.Grids(self.auxmol)
        grids.level = self.grid_level
        grids.verbose = 0
        return grids.build(with_non0tab=False)

    def potential_on_auxiliary(self, coefficients: np.ndarray, potential: SemilocalPotential) -> np.ndarray:
        """z = J^-1 <P|v_xc[rho]>: the xc potential as an auxiliary density, shape (naux,)."""
        projected = np.zeros(self.auxmol.nao)
        negative = 0.0
        for index, functions, weights in self.grid_blocks():
            density = coefficients[index] @ functions
            negative -= weights @ np.minimum(density[0], 0.0)
            keep = density[0] > DENSITY_FLOOR
            if not keep.any():
                continue
            weighted = np.zeros_like(density)
            weighted[:, keep] = potential.first_derivative(density[:, keep]) * weights[keep]
            projected[index] += sum(f @ w for f, w in zip(functions, weighted))
        self.negative_electrons = float(negative)
        return self.solve_metric(projected)

    def grid_blocks(self):
        """Block by block of the grid: the auxiliary functions (k,) that are not negligible there, these and their
        gradients, (4, k, points), and the points' weights."""
        return self._held_blocks if self._held_blocks is not None else self._blocks()

    @cached_property
    def _held_blocks(self):
        numbers = sum(4 * len(index) * (block.stop - block.start) for block, _, index in self._screened_blocks)
        return list(self._blocks()) if self._may_hold(numbers) else None

    @cached_property
    def _screened_blocks(self):
        """Each block's grid points, rows of the screening table, and the auxiliary functions that are left."""
        points = len(self.grids.weights)
        sizes = np.diff(self.auxmol.ao_loc)
        present = make_screen_index(self.auxmol, self.grids.coords, cutoff=_NEGLIGIBLE)
        found = []
        for start in range(0, points, _BLOCKS * BLKSIZE):
            rows = present[start // BLKSIZE : start // BLKSIZE + _BLOCKS]
            index = np.flatnonzero(np.repeat(rows.any(axis=0), sizes))
            found.append((slice(start, min(start + _BLOCKS * BLKSIZE, points)), rows, index))
        return found

    def _blocks(self):
        for block, rows, index in self._screened_blocks:
            functions = self.auxmol.eval_gto("GTOval_sph_deriv1", self.grids.coords[block], non0tab=rows,
                                             cutoff=_NEGLIGIBLE)
            yield index, functions.transpose(0, 2, 1)[:, index], self.grids.weights[block]

    def effective_potential(self, coefficients: np.ndarray, potential: SemilocalPotential) -> np.ndarray:
        """J and the semilocal xc matrix of an auxiliary density together, shape (nao, nao), Eh."""
        return self.potential_matrix(coefficients + self.potential_on_auxiliary(coefficients, potential))


def function_integrals(mol: gto.Mole) -> np.ndarray:
    """Integral over space of every spherical function of ``mol``, shape (nao,)."""
    constant = gto.fakemol_for_charges(np.zeros((1, 3)))
    # A normalised s function of vanishing exponent, rescaled to the constant 1.
    constant._env[constant._bas[0, gto.PTR_EXP]] = 0.0
    constant._env[constant._bas[0, gto.PTR_COEFF]] = np.sqrt(4 * np.pi)
    return gto.intor_cross("int1e_ovlp", mol, constant)[:, 0]
