"""Fitted densities of one molecule: between density matrices, auxiliary coefficients and Coulomb matrices."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pyscf import gto, lib
from pyscf.df import df
from pyscf.scf import hf

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.density_fitting.integrals import ThreeCentreIntegrals
from pyscf_mlguess.density_fitting.metric import Metric, function_integrals
from pyscf_mlguess.density_fitting.tensor import FittedTensor

# Largest difference (Eh) between two Coulomb metrics of the same functions.
_SAME_METRIC = 1e-9


def shareable(mf: hf.SCF, exact_exchange: bool) -> df.DF | None:
    """PySCF's density-fitting object of ``mf`` whose tensor gives J and K alike, if that SCF builds it anyway.

    Semi-numerical exchange (SGX) and Coulomb fitting alone have no such tensor, and without exact exchange PySCF
    contracts the integrals anew in every cycle.  A tensor that PySCF keeps on disk is too slow to be read in every
    cheap iteration.
    """
    with_df = getattr(mf, "with_df", None)
    if not isinstance(with_df, df.DF) or getattr(mf, "only_dfj", False):
        return None
    if with_df._cderi is None:
        return with_df if exact_exchange and _fits_memory(with_df) else None
    return with_df if isinstance(with_df._cderi, np.ndarray) else None


def _fits_memory(with_df):
    """Whether PySCF will keep the tensor in memory: the rule of ``DF.build``."""
    nao, naux = with_df.mol.nao, df.addons.make_auxmol(with_df.mol, with_df.auxbasis).nao
    free = with_df.max_memory - lib.current_memory()[0]
    return nao * (nao + 1) / 2 * naux * 8e-6 < 0.9 * free and not isinstance(with_df._cderi_to_save, str)


class DensityFitting:
    """Auxiliary functions, their Coulomb metric and three-centre integrals.

    mol: the orbital basis (spherical or cartesian).
    auxmol: the functions of the coefficients; default: those of predicted densities (``auxiliary_mole``).
    tensor: a tensor with these auxiliary functions that there is: its integrals serve.  Without, integrals are held or
        computed anew (``hold_mb``).
    """

    def __init__(self, mol: gto.Mole, auxmol: gto.Mole | None = None, tensor: FittedTensor | None = None,
                 hold_mb: float = 0.0):
        self.mol = mol
        self.auxmol = auxiliary_mole(mol) if auxmol is None else auxmol
        self._tensor, self._hold_mb = tensor, hold_mb

    @classmethod
    def of(cls, mf: hf.SCF, auxmol: gto.Mole | None, exact_exchange: bool, hold_mb: float = 0.0) -> "DensityFitting":
        """Through the tensor of ``mf`` where that SCF has one with the same auxiliary functions."""
        self = cls(mf.mol, auxmol, hold_mb=hold_mb)
        with_df = shareable(mf, exact_exchange)
        if with_df is not None:
            if with_df._cderi is None:
                with_df.build()
            if _same_functions(with_df.auxmol, self):
                tensor = FittedTensor.shared(with_df)
                self._tensor = tensor if tensor.has_root else None
        return self

    @cached_property
    def metric(self) -> Metric:
        """The Coulomb metric of ``auxmol``."""
        if self._tensor is not None and self._tensor.auxmol is self.auxmol:
            return self._tensor.metric
        return Metric.coulomb(self.auxmol)

    @cached_property
    def charges(self) -> np.ndarray:
        """Electrons in each auxiliary function, the integral of P over space, shape (naux,)."""
        return function_integrals(self.auxmol)

    @cached_property
    def _integrals(self) -> FittedTensor | ThreeCentreIntegrals:
        if self._tensor is not None:
            return self._tensor
        # PySCF's drivers want a spherical or a cartesian basis throughout.
        auxmol = self.auxmol
        if auxmol.cart != self.mol.cart:
            auxmol = auxmol.copy(deep=False)
            auxmol.cart = self.mol.cart
        return ThreeCentreIntegrals(self.mol, auxmol, self._hold_mb)

    @cached_property
    def _to_cartesian(self) -> np.ndarray | None:
        """Coefficients in the functions of the integrals, (their number, naux); None where these are the same."""
        return None if self._integrals.auxmol.cart == self.auxmol.cart else self.auxmol.cart2sph_coeff(normalized="sp")

    def project(self, dm: np.ndarray) -> np.ndarray:
        """(P|D) = sum_ij (ij|P) D_ij, shape (naux,), for a symmetric D of shape (nao, nao)."""
        vector = self._integrals.project(np.asarray(dm))
        return vector if self._to_cartesian is None else self._to_cartesian.T @ vector

    def contract(self, vector: np.ndarray) -> np.ndarray:
        """sum_P (ij|P) x_P in the user's AO basis, shape (nao, nao), for x of shape (naux,)."""
        return self._integrals.contract(vector if self._to_cartesian is None else self._to_cartesian @ vector)

    def coulomb(self, dm: np.ndarray) -> np.ndarray:
        """The fitted Coulomb matrix of ``dm``, shape (nao, nao), Eh."""
        return self.contract(self.metric.solve(self.project(dm)))

    def fit(self, dm: np.ndarray) -> np.ndarray:
        """Coulomb-fitted coefficients of a density matrix with its electron count restored, (naux,)."""
        nelec = np.einsum("ij,ji->", dm, self.mol.intor_symmetric("int1e_ovlp"))
        return self.restore_electron_count(self.metric.solve(self.project(dm)), nelec)

    def restore_electron_count(self, coefficients: np.ndarray, nelec: float) -> np.ndarray:
        """The nearest density, in the Coulomb metric, that holds ``nelec`` electrons."""
        direction = self.metric.solve(self.charges)
        missing = nelec - self.charges @ coefficients
        return coefficients + direction * (missing / (self.charges @ direction))


def refit(coefficients: np.ndarray, source: gto.Mole, target: gto.Mole, metric: Metric) -> np.ndarray:
    """The Coulomb fit, in the functions of ``target`` whose metric is given, of a density in those of ``source``."""
    if source.cart == target.cart:
        return metric.solve(gto.intor_cross("int2c2e", target, source) @ coefficients)
    # Integral drivers want both spherical or both cartesian: the spherical functions as sums of cartesian ones.
    spherical = target if source.cart else source
    cartesian, to_cartesian = spherical.copy(deep=False), spherical.cart2sph_coeff(normalized="sp")
    cartesian.cart = True
    if source.cart:
        return metric.solve(to_cartesian.T @ (gto.intor_cross("int2c2e", cartesian, source) @ coefficients))
    return metric.solve(gto.intor_cross("int2c2e", target, cartesian) @ (to_cartesian @ coefficients))


def _same_functions(auxmol, fitting):
    return auxmol.nao == fitting.auxmol.nao and np.allclose(
        auxmol.intor("int2c2e"), fitting.metric.matrix, rtol=0, atol=_SAME_METRIC)
