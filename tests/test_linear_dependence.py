"""Functions that stand there twice, or nearly so, change nothing: auxiliary ones and those of the orbitals."""

import numpy as np
import pytest
from conftest import WATER
from pyscf import df, dft, gto, scf

from pyscf_mlguess import two_level
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.density_fitting.fitting import DensityFitting, refit
from pyscf_mlguess.density_fitting.metric import Metric
from pyscf_mlguess.density_fitting.tensor import FittedTensor

NAME = "def2-universal-jkfit"


@pytest.fixture
def water():
    return gto.M(atom=WATER, basis="def2-svp", verbose=0)


def plain(mol):
    return df.make_auxmol(mol, NAME)


def doubled(mol):
    """Every function twice."""
    return df.make_auxmol(mol, twice())


def twice():
    return {element: gto.basis.load(NAME, element) * 2 for element in "OH"}


def nearly_doubled(mol):
    """Two sets of the functions, 1e-6 bohr apart."""
    again = mol.set_geom_(mol.atom_coords() + [0, 0, 1e-6], unit="Bohr", inplace=False)
    return plain(mol) + plain(again)


def one_twice(mol):
    """One function twice, where rounding lets Cholesky's factorisation pass."""
    basis = {element: gto.basis.load(NAME, element) for element in "OH"}
    return df.make_auxmol(mol, basis | {"O": basis["O"] + [basis["O"][9]]})


DEPENDENT = {"doubled": doubled, "nearly doubled": nearly_doubled, "one twice": one_twice}


def singular_matrix():
    """(8, 8) of rank 5, with eigenvalues between 1e-4 and 1e4."""
    vectors = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0][:, :5]
    return (vectors * np.logspace(-4, 4, 5)) @ vectors.T


def test_a_singular_matrix_is_solved_by_its_pseudoinverse():
    metric = Metric(singular_matrix())
    assert metric.rank == 5
    inverse = np.linalg.pinv(metric.matrix, rcond=1e-12, hermitian=True)
    columns = np.random.default_rng(4).normal(size=(8, 3))
    for vector in (columns, columns[:, 0]):
        assert metric.solve(vector) == pytest.approx(inverse @ vector, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("matrix, rank", [(singular_matrix(), 5), (singular_matrix() + np.eye(8), 8)],
                         ids=["singular", "regular"])
def test_roots_of_the_metric_fit_together(matrix, rank):
    metric = Metric(matrix)
    inside = matrix @ np.random.default_rng(5).normal(size=(8, 2))
    half = metric.solve_root(inside)
    assert metric.rank == rank and half.shape == (rank, 2)
    # L L^-1 = 1 where the functions are, L L^T = J, and solving is going through the root twice.
    assert metric.root(half) == pytest.approx(inside, rel=1e-8, abs=1e-8)
    identity = np.eye(8)
    assert metric.root(metric.root_transposed(identity)) == pytest.approx(matrix, rel=1e-8, abs=1e-8)
    assert half.T @ half == pytest.approx(inside.T @ metric.solve(inside), rel=1e-8)


def test_functions_that_stand_there_twice_count_once(water):
    assert Metric.coulomb(doubled(water)).rank == plain(water).nao
    assert Metric.coulomb(nearly_doubled(water)).rank <= 2 * plain(water).nao


@pytest.mark.parametrize("auxmol", DEPENDENT.values(), ids=DEPENDENT)
def test_fitted_densities_are_the_same(auxmol, water):
    dm = scf.hf.init_guess_by_minao(water)
    single, fitting = DensityFitting(water, plain(water)), DensityFitting(water, auxmol(water))
    reference = single.coulomb(dm)
    # A millionth of a bohr apart, functions and their difference, a derivative, are a better basis than one of them.
    tolerance = 1e-8 if auxmol is not nearly_doubled else 1e-3
    assert fitting.coulomb(dm) == pytest.approx(reference, abs=tolerance)
    density = fitting.fit(dm)
    electrons = np.einsum("ij,ji", dm, water.intor_symmetric("int1e_ovlp"))
    assert fitting.charges @ density == pytest.approx(electrons, abs=1e-8)
    assert fitting.contract(density) == pytest.approx(single.contract(single.fit(dm)), abs=tolerance)
    # There and back into functions without the dependence.
    there = refit(single.fit(dm), single.auxmol, fitting.auxmol, fitting.metric)
    assert fitting.contract(there) == pytest.approx(single.contract(single.fit(dm)), abs=1e-6)


@pytest.mark.parametrize("auxmol", DEPENDENT.values(), ids=DEPENDENT)
def test_the_tensor_is_the_same(auxmol, water):
    dm = np.asarray(scf.hf.init_guess_by_minao(water))
    orbitals = [np.linalg.cholesky(dm + 1e-6 * np.eye(water.nao))]
    expected = FittedTensor(water, plain(water)).jk(dm, orbitals)
    found = FittedTensor(water, auxmol(water))
    tolerance = 1e-5 if auxmol is not nearly_doubled else 1e-2
    for matrix, reference in zip(found.jk(dm, orbitals), expected):
        assert matrix == pytest.approx(reference, abs=tolerance)
    coulomb = found.contract(found.metric.solve(found.project(dm)))
    assert coulomb == pytest.approx(expected[0], abs=tolerance)
    # For J alone a tensor without L^-1 would do, but small eigenvalues of the metric would multiply its rounding.
    alone = FittedTensor(water, auxmol(water), for_exchange=False)
    assert alone.rows_metric is None
    assert alone.jk(dm)[0] == pytest.approx(expected[0], abs=tolerance)


@pytest.mark.parametrize("xc", ["pbe", "b3lyp"])
def test_a_density_fitted_scf_with_such_a_basis(xc, water):
    """PySCF's own tensor of a hybrid leaves the dependence out, in its own way; for PBE the tensor is ours."""
    def make(auxbasis):
        mf = dft.RKS(water, xc=xc).density_fit(auxbasis=auxbasis)
        mf.grids.level = 0
        return mf

    dm = scf.hf.init_guess_by_minao(water)
    single, problem = CheapProblem(make(NAME), precise=True), CheapProblem(make(twice()), precise=True)
    state = problem.state_of(dm)
    assert problem.fock(state) == pytest.approx(single.fock(state), abs=1e-5)
    energy = make(NAME).run().e_tot
    mf = make(twice()).set(init_guess="ml").run()
    assert mf.converged and mf.e_tot == pytest.approx(energy, abs=1e-7)


@pytest.fixture
def dependent():
    """Water with a diffuse s function of oxygen twice, to a tenth of a per cent: PySCF leaves one combination out."""
    basis = {"O": gto.basis.load("6-31++g**", "O") + [[0, [0.0846, 1.0]]], "H": "6-31++g**"}
    return gto.M(atom=WATER, basis=basis, verbose=0)


@pytest.mark.parametrize("method", ["RKS", "UKS", "ROKS", "RHF"])
def test_the_gradient_is_that_of_the_scf(method, dependent):
    mf = getattr(scf if method == "RHF" else dft, method)(dependent)
    if method != "RHF":
        mf.xc, mf.grids.level = "b3lyp", 0
    mf.max_cycle, mf.verbose = 2, 0
    mf.kernel()
    problem = CheapProblem(mf)
    assert mf.mo_coeff.shape[-1] == dependent.nao - 1 == problem.scf.basis.shape[1]
    dm = np.asarray(mf.make_rdm1())
    fock = mf.get_hcore() + np.asarray(mf.get_veff(dm=dm))
    effective = mf.get_fock(dm=dm)
    expected = np.linalg.norm(mf.get_grad(mf.mo_coeff, mf.mo_occ, effective))
    assert expected > 1e-3
    assert problem.gradient(fock, problem.state_of(dm)) == pytest.approx(expected, rel=1e-5)
    assert problem.state(np.asarray(effective), fock).orbitals[0].shape == (dependent.nao, dependent.nelec[0])


@pytest.mark.parametrize("xc", ["pbe", "b3lyp"])
@pytest.mark.parametrize("cls", [dft.RKS, dft.UKS])
def test_a_two_level_scf_with_such_an_orbital_basis(cls, xc, dependent):
    def make():
        mf = cls(dependent, xc=xc).density_fit()
        mf.grids.level = 1
        return mf

    plain, mf = make().run(), two_level(make()).run()
    assert mf.converged and mf.cycles <= 3
    assert mf.e_tot == pytest.approx(plain.e_tot, abs=1e-8)
    assert mf.mo_coeff.shape == plain.mo_coeff.shape
