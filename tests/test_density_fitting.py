"""One density fitting: contractions, fits and Coulomb matrices are the same whatever the integrals come from."""

import numpy as np
import pytest
from conftest import ao_rotation
from pyscf import df, dft, gto, lib, scf
from pyscf.scf import jk

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.density_fitting.fitting import DensityFitting, refit, shareable
from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients
from pyscf_mlguess.density_fitting.metric import Metric
from pyscf_mlguess.density_fitting.tensor import STORAGES, FittedTensor, Storage
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.routes.auxiliary_density import DensityRoute
from pyscf_mlguess.routes.auxiliary_fock import AuxiliaryFock

PLENTY = 1e4  # MB


def symmetric(nao, seed):
    matrix = np.random.default_rng(seed).normal(size=(nao, nao))
    return matrix + matrix.T


@pytest.mark.parametrize("hold_mb", [0.0, PLENTY])
@pytest.mark.parametrize("cart", [False, True])
def test_contractions_are_the_three_centre_integrals_every_time(cart, hold_mb):
    mol = gto.M(atom="C 0 0 0; O 0.1 0.2 1.2; H 0.9 -0.3 -0.5", basis="6-31g*", cart=cart, spin=1, verbose=0)
    fitting = DensityFitting(mol, hold_mb=hold_mb)
    auxmol = fitting.auxmol.copy()
    auxmol.cart = cart
    exact = df.incore.aux_e2(mol, auxmol)
    if cart:
        exact = exact @ fitting.auxmol.cart2sph_coeff(normalized="sp")
    rng = np.random.default_rng(0)
    # Again and again: a wrong screening bound shows in some calls only.
    for seed in range(4):
        vector, dm = rng.normal(size=fitting.auxmol.nao), symmetric(mol.nao, seed)
        assert fitting.contract(vector) == pytest.approx(exact @ vector, abs=1e-9)
        assert fitting.project(dm) == pytest.approx(np.einsum("ijp,ij->p", exact, dm), abs=1e-9)


def test_integrals_are_held_only_where_there_is_memory(formamide, monkeypatch):
    potential = SemilocalPotential.of(dft.RKS(formamide, xc="pbe"))
    coefficients = free_atom_coefficients(auxiliary_mole(formamide))
    evaluations = []
    evaluate = jk.get_jk

    def counted(*args, **kwargs):
        evaluations.append(1)
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(jk, "get_jk", counted)
    matrices = []
    for memory, again in ((0.0, True), (PLENTY, False)):
        route = AuxiliaryFock(DensityFitting(formamide, hold_mb=memory), potential)
        matrices.append(route.matrix(coefficients)[0])
        evaluations.clear()
        assert route.matrix(coefficients)[0] == pytest.approx(matrices[0], abs=1e-8)
        assert bool(evaluations) == again


@pytest.mark.parametrize("cart", [False, True])
def test_a_shared_tensor_gives_the_same_matrices(cart):
    mol = gto.M(atom="C 0 0 0; O 0.1 0.2 1.2; H 0.9 -0.3 -0.5", basis="6-31g*", cart=cart, spin=1, verbose=0)
    mf = scf.UHF(mol).density_fit("def2-universal-jkfit")
    shared, direct = DensityFitting.of(mf, None, exact_exchange=True), DensityFitting(mol)
    # PySCF's tensor of a cartesian basis has cartesian auxiliary functions: another, larger set.
    assert (mf.with_df._cderi is not None) and (shared._tensor is not None) == (not cart)
    vector, dm = np.random.default_rng(1).normal(size=direct.auxmol.nao), symmetric(mol.nao, 2)
    assert shared.contract(vector) == pytest.approx(direct.contract(vector), abs=1e-7)
    assert shared.project(dm) == pytest.approx(direct.project(dm), abs=1e-7)


@pytest.mark.parametrize("auxbasis, for_exchange, bare", [
    ("def2-universal-jkfit", True, False), ("def2-universal-jkfit", False, False),
    ("def2-universal-jfit", True, False), ("def2-universal-jfit", False, True)])
def test_own_tensor_serves_as_well(auxbasis, for_exchange, bare, formamide):
    direct = DensityFitting(formamide, df.make_auxmol(formamide, auxbasis))
    tensor = FittedTensor(formamide, direct.auxmol, for_exchange=for_exchange)
    assert (tensor.rows_metric is not None) == bare
    own = DensityFitting(formamide, direct.auxmol, tensor)
    dm = np.asarray(scf.hf.init_guess_by_minao(formamide))
    assert own.coulomb(dm) == pytest.approx(direct.coulomb(dm), abs=2e-5)  # single precision
    coefficients = direct.fit(dm)
    assert own.contract(coefficients) == pytest.approx(direct.contract(coefficients), abs=2e-5)


@pytest.mark.parametrize("cart", [False, True])
def test_a_density_in_another_auxiliary_basis(cart):
    """What it loses on the way is what that basis cannot hold: little, and nothing in the same basis."""
    mol = gto.M(atom="C 0 0 0; O 0.1 0.2 1.2; H 0.9 -0.3 -0.5", basis="6-31g*", cart=cart, spin=1, verbose=0)
    direct = DensityFitting(mol)
    coefficients = direct.fit(scf.hf.init_guess_by_minao(mol))
    errors = []
    for auxbasis in ("def2-universal-jfit", "def2-universal-jkfit"):
        tensor = FittedTensor(mol, df.make_auxmol(mol, auxbasis))
        there = DensityFitting(mol, tensor.auxmol, tensor)
        refitted = refit(coefficients, direct.auxmol, tensor.auxmol, there.metric)
        assert there.charges @ refitted == pytest.approx(mol.nelectron, abs=0.02)
        errors.append(np.abs(there.contract(refitted) - direct.contract(coefficients)).max())
    assert errors[1] < 2e-5 < errors[0] < 1e-2  # single precision


def test_what_may_be_shared(formamide):
    hybrid, local = (dft.RKS(formamide, xc=xc).density_fit() for xc in ("b3lyp", "pbe"))
    assert shareable(hybrid, True) is hybrid.with_df
    # Without exact exchange PySCF builds no tensor; where there is one, it serves.
    assert shareable(local, False) is None
    assert shareable(local.set(with_df=local.with_df.build()), False) is local.with_df
    assert shareable(dft.RKS(formamide, xc="b3lyp").density_fit(only_dfj=True), True) is None
    assert shareable(dft.RKS(formamide, xc="b3lyp"), True) is None


def test_tensor_of_another_auxiliary_basis_is_not_used_for_predictions(formamide):
    mf = scf.RHF(formamide).density_fit("def2-universal-jfit")
    assert DensityFitting.of(mf, None, exact_exchange=True)._tensor is None


def test_near_singular_metrics(formamide):
    """Functions that are there twice: the fit is the same as without."""
    dm = np.asarray(scf.hf.init_guess_by_minao(formamide))
    once = df.make_auxmol(formamide, "def2-universal-jfit")
    twice = df.make_auxmol(formamide, {symbol: 2 * gto.basis.load("def2-universal-jfit", symbol) for symbol in "HCNO"})
    fits = [DensityFitting(formamide, auxmol) for auxmol in (once, twice)]
    assert fits[1].metric.rank == fits[0].metric.rank == once.nao < twice.nao
    assert fits[1].coulomb(dm) == pytest.approx(fits[0].coulomb(dm), abs=1e-7)
    metric = fits[1].metric
    vector = metric.matrix @ np.random.default_rng(3).normal(size=twice.nao)
    assert metric.matrix @ metric.solve(vector) == pytest.approx(vector, abs=1e-6)
    assert metric.root(metric.root_transposed(metric.solve(vector))) == pytest.approx(vector, abs=1e-6)
    half = metric.solve_root(vector[:, None])[:, 0]
    assert half.shape == (metric.rank,) and metric.root(half) == pytest.approx(vector, abs=1e-6)


def test_root_of_a_regular_metric(water):
    metric = Metric.coulomb(auxiliary_mole(water))
    vector = np.random.default_rng(4).normal(size=len(metric.matrix))
    assert metric.root(metric.root_transposed(vector)) == pytest.approx(metric.matrix @ vector, abs=1e-9)
    assert metric.root(metric.solve_root(vector[:, None])[:, 0]) == pytest.approx(vector, abs=1e-9)
    assert metric.matrix @ metric.solve(vector) == pytest.approx(vector, abs=1e-7)


def test_fit_keeps_the_electron_count(formamide):
    dm = scf.RHF(formamide).run().make_rdm1()
    fitting = DensityFitting(formamide)
    coefficients = fitting.fit(np.asarray(dm))
    assert fitting.charges @ coefficients == pytest.approx(formamide.nelectron, abs=1e-9)
    moved = fitting.restore_electron_count(coefficients, 20.0)
    assert fitting.charges @ moved == pytest.approx(20.0, abs=1e-9)
    # Nearest in the Coulomb metric: the change is orthogonal to whatever holds no electrons.
    neutral = np.random.default_rng(2).normal(size=fitting.auxmol.nao)
    neutral -= fitting.charges * (fitting.charges @ neutral) / (fitting.charges @ fitting.charges)
    assert neutral @ fitting.metric.matrix @ (moved - coefficients) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("xc", ["lda,vwn", "pbe", "blyp"])
def test_fock_matrix_approaches_pyscf_as_the_grid_grows(water, xc):
    mf = dft.RKS(water, xc=xc).density_fit("def2-universal-jkfit").run()
    dm = mf.make_rdm1()
    exact = np.asarray(mf.get_veff(water, dm))
    orbitals = mf.mo_coeff
    errors = []
    for grid in ((12, 26), 0, 1, 3):
        route = DensityRoute(mf, grid=grid)
        ours = route._fock.matrix(route.fitting.fit(np.asarray(dm)))[0]
        errors.append(np.abs(orbitals[:, :5].T @ (ours - exact) @ orbitals[:, 5:]).max())
    assert errors[0] > errors[1] > errors[2] and errors[3] < 3e-3


def test_effective_potential_turns_with_the_molecule(formamide, rotation):
    dm = np.asarray(scf.RHF(formamide).get_init_guess(formamide, "minao"))
    turned = formamide.copy()
    turned.set_geom_(formamide.atom_coords(unit="Bohr") @ rotation.T, unit="Bohr")
    turn = ao_rotation(formamide, rotation)
    potential = SemilocalPotential.of(dft.RKS(formamide, xc="pbe"))
    first, second = (AuxiliaryFock(DensityFitting(mol), potential, 3) for mol in (formamide, turned))
    expected = turn @ first.matrix(first.fitting.fit(dm))[0] @ turn.T
    found = second.matrix(second.fitting.fit(turn @ dm @ turn.T))[0]
    # The angular grid does not turn with the molecule; Coulomb alone is exact.
    assert found == pytest.approx(expected, abs=2e-3)
    coulomb = turn @ first.fitting.coulomb(dm) @ turn.T
    assert second.fitting.coulomb(turn @ dm @ turn.T) == pytest.approx(coulomb, abs=1e-8)


def test_memory_of_the_scf_object_decides(formamide):
    mf = dft.RKS(formamide, xc="pbe")
    mf.max_memory = lib.current_memory()[0] + 1
    assert not DensityRoute(mf, hold=True).fitting._integrals.held
    mf.max_memory += PLENTY
    assert DensityRoute(mf, hold=True).fitting._integrals.held


@pytest.mark.parametrize("storage", STORAGES)
def test_a_tensor_for_j_alone(storage, formamide):
    """(P|mn) as they are, single precision and 16 bits as good as with L^-1 (P|mn), which exchange needs."""
    mol = gto.M(atom=formamide.atom, basis="def2-tzvp", verbose=0)
    auxmol = df.make_auxmol(mol, "def2-universal-jfit")
    dm = np.asarray(scf.hf.init_guess_by_minao(mol))
    exact = DensityFitting(mol, auxmol).coulomb(dm)
    errors = [np.abs(FittedTensor(mol, auxmol, storage=storage, for_exchange=k).jk(dm)[0] - exact).max()
              for k in (True, False)]
    assert errors[1] < max(2 * errors[0], 2e-5)
    with pytest.raises(ValueError, match="for_exchange=True"):
        FittedTensor(mol, auxmol, for_exchange=False).jk(dm, [np.eye(mol.nao)])


def test_small_pairs_in_sixteen_bits(formamide):
    # Triple zeta: small eigenvalues of the overlap matrix multiply what rounding leaves in a Fock matrix.
    mol = gto.M(atom=formamide.atom, basis="def2-tzvp", verbose=0)
    auxmol = auxiliary_mole(mol)
    best, narrow, least = STORAGES
    mf = scf.RHF(mol)
    dm, orbitals = mf.get_init_guess(), np.linalg.qr(mf.get_hcore())[0][:, :12]
    j, (k,) = FittedTensor(mol, auxmol, storage=best).jk(dm, [orbitals])
    narrow_j, (narrow_k,) = FittedTensor(mol, auxmol, storage=narrow).jk(dm, [orbitals])
    assert 0 < np.abs(narrow_j - j).max() < 1e-5
    assert 0 < np.abs(narrow_k - k).max() < 1e-5
    sizes = [storage.size_mb(mol, auxmol) for storage in (best, narrow, least)]
    assert sizes[0] > sizes[1] > sizes[2]
    assert [Storage.within(mol, auxmol, 1.001 * size) for size in sizes] == [best, narrow, least]
    assert Storage.within(mol, auxmol, 0.999 * sizes[2]) is None


def test_a_tensor_on_disk_is_not_shared(formamide):
    mf = dft.RKS(formamide, xc="b3lyp").density_fit()
    assert shareable(mf, True) is mf.with_df
    mf.with_df.max_memory = 0
    assert shareable(mf, True) is None
    mf.with_df.build()
    assert not isinstance(mf.with_df._cderi, np.ndarray)
    assert shareable(mf, True) is None
