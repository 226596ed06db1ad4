"""The cheap Fock matrix against PySCF's own, and the history that two levels share."""

import numpy as np
import pytest
from conftest import FORMAMIDE, ao_rotation
from pyscf import df, dft, gto, lib, scf

from pyscf_mlguess.cheap.anderson import Anderson, Correction
from pyscf_mlguess.cheap.coarse_grid import CoarseGrid, _matrix
from pyscf_mlguess.cheap.grid_levels import correcting_levels
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.cheap.refinement import refined
from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.density_fitting.tensor import FittedTensor, Interaction

NITROGEN_DIOXIDE = "N 0 0 0; O 0 1.0989 0.4653; O 0 -1.0989 0.4653"


def random_orbitals(mol, count):
    overlap = mol.intor_symmetric("int1e_ovlp")
    coefficients = np.random.default_rng(1).normal(size=(mol.nao, count))
    return coefficients @ np.linalg.inv(np.linalg.cholesky(coefficients.T @ overlap @ coefficients)).T


def test_fitted_j_and_k_approach_the_exact_ones(water):
    occupied = random_orbitals(water, 5)
    dm = occupied @ occupied.T
    exact = scf.hf.get_jk(water, dm)
    errors = []
    for auxbasis in ("def2-universal-jfit", "def2-universal-jkfit", df.aug_etb(water, beta=1.5)):
        fitted = FittedTensor(water, df.make_auxmol(water, auxbasis))
        j, k = fitted.jk(dm, [occupied])
        errors.append(max(np.abs(j - exact[0]).max(), np.abs(k[0] - exact[1]).max()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3 < 0.1 * errors[0]


@pytest.mark.parametrize("cart", [False, True])
def test_fitted_j_and_k_are_those_of_pyscf(cart):
    mol = gto.M(atom=FORMAMIDE, basis="def2-svp", cart=cart, verbose=0)
    with_df = df.DF(mol, auxbasis="def2-universal-jkfit").build()
    orbitals = [random_orbitals(mol, 12), random_orbitals(mol, 11)]
    dms = np.array([c @ c.T for c in orbitals])
    reference_j, reference_k = with_df.get_jk(dms)
    auxmol = auxiliary_mole(mol)
    auxmol.cart = cart
    for fitted, tolerance in ((FittedTensor(mol, auxmol), 2e-5), (FittedTensor.shared(with_df), 1e-9)):
        j, k = fitted.jk(dms.sum(axis=0), orbitals)
        assert np.abs(j - reference_j.sum(axis=0)).max() < tolerance
        assert np.abs(k - reference_k).max() < tolerance
        single = fitted.jk(dms.sum(axis=0) + 1e-3, orbitals, dtype=np.float32)
        assert np.abs(single[1] - reference_k).max() < 2e-5


@pytest.mark.parametrize("auxbasis, for_exchange", [("def2-universal-jkfit", True), ("def2-universal-jfit", False)])
def test_j_of_a_nearby_density_loses_nothing_in_single_precision(auxbasis, for_exchange, formamide):
    occupied = random_orbitals(formamide, 12)
    dm = 2 * occupied @ occupied.T
    nearby = dm + 1e-4 * np.eye(formamide.nao)
    fitted = FittedTensor(formamide, df.make_auxmol(formamide, auxbasis), for_exchange=for_exchange)
    fitted.jk(dm)
    single = fitted.jk(nearby, dtype=np.float32)[0]
    assert np.abs(single - fitted.jk(nearby)[0]).max() < 1e-8


@pytest.mark.parametrize("xc", ["camb3lyp", "hse06", "wb97x"])
def test_one_tensor_serves_range_separated_exchange(xc, formamide):
    omega, long_range, short_range = dft.numint.NumInt().rsh_and_hybrid_coeff(xc)
    occupied = random_orbitals(formamide, 12)
    dm = occupied @ occupied.T
    with_df = df.DF(formamide, auxbasis="def2-universal-jkfit")
    reference = short_range * with_df.get_jk(dm, with_j=False)[1]
    reference += (long_range - short_range) * with_df.get_jk(dm, with_j=False, omega=omega)[1]
    interaction = Interaction(short_range, long_range, omega)
    fitted = FittedTensor(formamide, auxiliary_mole(formamide), interaction).jk(dm, [occupied], with_j=False)[1][0]
    # Two fits instead of one of the combined interaction: equal up to the error of fitting.
    assert np.abs(fitted - reference).max() < 1e-4 < 1e-2 * np.abs(reference).max()


@pytest.mark.parametrize("xc, xctype", [("svwn", "LDA"), ("pbe", "GGA"), ("r2scan", "MGGA")])
@pytest.mark.parametrize("spins", [1, 2])
def test_xc_matrix_is_that_of_pyscf(xc, xctype, spins, formamide):
    dm = np.asarray(scf.RHF(formamide).get_init_guess(key="minao"))
    grids = dft.Grids(formamide)
    grids.level = 0
    grids.build()
    numint = dft.numint.NumInt()
    if spins == 2:
        dm = np.array([0.6 * dm, 0.4 * dm])
    energy, reference = (numint.nr_rks if spins == 1 else numint.nr_uks)(formamide, grids, xc, dm)[1:]
    for memory in (1e3, 0.0):
        grid = CoarseGrid(formamide, xctype, 0, memory)
        for _ in range(2):  # the second time from what was kept
            found = grid.potential(numint, [(1.0, xc)], dm)
            assert np.abs(found[1] - reference).max() < 1e-6 and found[0] == pytest.approx(energy, abs=1e-5)
        assert bool(grid._kept) == (memory > 0)


@pytest.mark.parametrize("xc, xctype", [("svwn", "LDA"), ("pbe", "GGA"), ("r2scan", "MGGA")])
@pytest.mark.parametrize("spins", [1, 2])
def test_density_through_few_orbitals_is_that_of_the_density_matrix(xc, xctype, spins, formamide):
    orbitals = [random_orbitals(formamide, 6), random_orbitals(formamide, 5)][:spins]
    dm = np.array([c @ c.T for c in orbitals])
    grid, numint = CoarseGrid(formamide, xctype, 0, 1e3), dft.numint.NumInt()
    energy, matrix = grid.potential(numint, [(1.0, xc)], dm if spins == 2 else dm[0])
    assert any(2 * 6 <= len(index) for index, _, _ in grid._kept)
    through = grid.potential(numint, [(1.0, xc)], dm if spins == 2 else dm[0], orbitals=orbitals)
    assert through[0] == pytest.approx(energy, rel=1e-9)
    assert np.abs(through[1] - matrix).max() < 1e-9 * np.abs(matrix).max()


def test_kinetic_part_of_either_sign():
    rng = np.random.default_rng(1)
    functions, weighted = rng.normal(size=(4, 50, 6)), rng.normal(size=(5, 50))
    scaled = functions[0] * (0.5 * weighted[0])[:, None] + np.einsum("kpi,kp->pi", functions[1:], weighted[1:4])
    expected = functions[0].T @ scaled + np.einsum("kpi,p,kpj->ij", functions[1:], 0.25 * weighted[4], functions[1:])
    assert np.abs(_matrix(functions, weighted) - expected).max() < 1e-12


def test_grid_correction_leads_to_the_other_grid(formamide):
    problem, finer = (CheapProblem(dft.RKS(formamide, xc="b3lyp"), grid_level=level, precise=True) for level in (0, 2))
    before, after = (problem.state_of(dft.RKS(formamide).get_init_guess(key=key)) for key in ("minao", "atom"))
    found = problem.grid_correction(after, 2)
    assert np.abs(problem.fock(after) + found - finer.fock(after)).max() < 1e-10 < np.abs(found).max()
    change = problem.grid_correction(after, 2, since=before)
    assert np.abs(change - (found - problem.grid_correction(before, 2))).max() < 1e-10


def test_a_correction_that_is_foreseen_holds_until_one_is_known(formamide):
    problem = CheapProblem(scf.RHF(formamide))
    states = [problem.state_of(scf.RHF(formamide).get_init_guess(key=key)) for key in ("minao", "atom", "1e")]
    rng = np.random.default_rng(0)
    first, change, known = (rng.normal(size=problem.ovlp.shape) for _ in range(3))
    correction = Correction(problem)
    correction.add(states[0], first)
    correction.foresee(states[1], change)
    assert np.abs(correction(states[1]) - (first + change)).max() < 1e-10
    assert np.abs(correction(states[0]) - first).max() < 1e-10
    correction.add(states[2], known)
    assert np.abs(correction(states[2]) - known).max() < 1e-10
    assert np.abs(correction(states[1]) - (first + change)).max() > 0.1


@pytest.mark.parametrize("xc, spin, own, goes_on, alone", [
    ("pbe", 0, 3, [1], [1, 2]), ("pbe", 0, 1, [1], [1, 1]), ("pbe", 0, 0, [1], [1, 1]),
    ("b3lyp", 0, 3, [1], [2]), ("b3lyp", 0, 1, [1], [1]), ("pbe", 2, 3, [2], [2])])
def test_grids_that_correct_are_no_finer_than_the_scf_s_own(xc, spin, own, goes_on, alone):
    """But finer than the cheap one, whatever the SCF's."""
    mf = dft.UKS(gto.M(atom="O 0 0 0; H 0 0 1; H 0 1 0", spin=spin, verbose=0), xc=xc) if spin else dft.RKS(
        gto.M(atom="O 0 0 0; H 0 0 1; H 0 1 0", verbose=0), xc=xc)
    mf.grids.level = own
    assert correcting_levels(mf, 0, closely=False) == goes_on
    assert correcting_levels(mf, 0, closely=True) == alone


def test_fock_matrix_approaches_pyscf_s_with_the_grid(formamide):
    mf = dft.RKS(formamide, xc="b3lyp").density_fit()
    mf.grids.level = 5
    dm = mf.get_init_guess(key="minao")
    exact = mf.get_fock(dm=dm)
    errors = []
    for level in (0, 1, 3):
        problem = CheapProblem(mf, grid_level=level, precise=True)
        errors.append(np.abs(problem.fock(problem.state_of(dm)) - exact).max())
    assert errors[0] > errors[1] > errors[2]
    # What is left: functions on the grid are dropped where they are small.
    assert errors[2] < 1e-5


@pytest.mark.parametrize("make", [
    lambda water, radical: scf.RHF(water), lambda water, radical: dft.RKS(water, xc="pbe").x2c(),
    lambda water, radical: scf.UHF(radical), lambda water, radical: dft.UKS(radical, xc="pbe0"),
    lambda water, radical: scf.ROHF(radical), lambda water, radical: dft.ROKS(radical, xc="wb97x"),
], ids=["RHF", "X2C", "UHF", "UKS", "ROHF", "ROKS"])
def test_fock_matrix_of_every_class(make, water):
    mf = make(water, gto.M(atom=NITROGEN_DIOXIDE, spin=1, basis="def2-svp", verbose=0))
    dm = np.asarray(mf.get_init_guess(key="minao"))
    exact = mf.get_hcore() + np.asarray(mf.get_veff(mf.mol, dm))
    problem = CheapProblem(mf, grid_level=3, precise=True)
    assert np.abs(problem.fock(problem.state_of(dm)) - exact).max() < 1e-3


def test_fock_matrix_turns_with_the_molecule(formamide, rotation):
    turned = formamide.set_geom_(formamide.atom_coords() @ rotation.T, unit="Bohr", inplace=False)
    matrix = ao_rotation(formamide, rotation)
    focks = []
    for mol in (formamide, turned):
        mf = scf.RHF(mol)
        problem = CheapProblem(mf, precise=True)
        focks.append(problem.fock(problem.state_of(mf.get_init_guess(key="minao"))))
    assert np.abs(matrix @ focks[0] @ matrix.T - focks[1]).max() < 1e-6


@pytest.mark.parametrize("cls", [dft.RKS, dft.UKS, dft.ROKS])
def test_gradient_is_pyscf_s(cls):
    mf = cls(gto.M(atom=NITROGEN_DIOXIDE, spin=1 - (cls is dft.RKS), charge=-int(cls is dft.RKS), basis="def2-svp",
                   verbose=0), xc="pbe").run(max_cycle=2)
    dm = mf.make_rdm1()
    expected = np.linalg.norm(mf.get_grad(mf.mo_coeff, mf.mo_occ, mf.get_fock(dm=dm)))
    problem = CheapProblem(mf)
    spins = mf.get_hcore() + np.asarray(mf.get_veff(mf.mol, dm))
    # With and without the tags by which orbitals stand for the density matrix.
    assert hasattr(dm, "mo_coeff")
    for matrix in (dm, np.asarray(dm)):
        assert problem.gradient(spins, problem.state_of(matrix)) == pytest.approx(expected, rel=1e-6)


def test_the_gradient_knows_negative_occupations(formamide):
    """Which orbitals leave out: it is that of the density matrix."""
    mf = scf.RHF(formamide)
    problem, fock = CheapProblem(mf), np.asarray(mf.get_fock(dm=mf.get_init_guess(key="minao")))
    basis = problem.scf.basis
    vector = basis @ np.random.default_rng(1).normal(size=basis.shape[1])
    dm = np.asarray(problem.state(fock).dm) - 0.1 * np.outer(vector, vector)
    product = basis.T @ (fock @ dm @ mf.get_ovlp() - mf.get_ovlp() @ dm @ fock) @ basis
    # Without the part that is added it would vanish.
    assert problem.gradient(fock, problem.state_of(dm)) == pytest.approx(np.linalg.norm(product) / np.sqrt(2), rel=1e-6)
    assert np.linalg.norm(product) > 1


def test_commuting_matrix_gives_the_density_matrix_back(formamide):
    mf = scf.RHF(formamide).run(max_cycle=1)
    problem = CheapProblem(mf, precise=True)
    state = problem.state_of(mf.make_rdm1())
    fock = problem.fock(state)
    again = problem.state(problem.commuting(fock, state))
    assert np.abs(again.dm - state.dm).max() < 1e-8
    assert problem.commuting(fock, problem.state_of(mf.get_init_guess(key="minao"))) is None


def test_history_serves_for_every_correction(formamide):
    """The same points, read with another correction, are those of a problem that had it from the start."""
    mf = scf.RHF(formamide)
    problem = CheapProblem(mf, precise=True)
    field = 1e-2 * formamide.intor_symmetric("int1e_r")[0]
    anderson = Anderson(problem)
    start = anderson.start(problem.state_of(mf.get_init_guess(key="minao")))
    anderson.solve(1e-4, 20)
    anderson.correction.add(start.state, field)
    anderson.solve(1e-5, 20)
    corrected = anderson.best()
    mf.get_hcore = lambda *args: scf.hf.get_hcore(formamide) + field
    mf = mf.density_fit(auxbasis="def2-universal-jkfit").run(conv_tol=1e-11)
    assert np.abs(corrected.state.dm - mf.make_rdm1()).max() < 1e-4


def test_memory_decides_what_is_held(formamide):
    used = lib.current_memory()[0]
    mf = dft.RKS(formamide, xc="b3lyp")
    mf.max_memory = used
    problem = CheapProblem(mf)
    assert problem.lacks_exchange and "exact exchange replaced" in problem.notes[0]
    dm = mf.get_init_guess(key="minao")
    grids = dft.Grids(formamide)
    grids.level = 0
    semilocal = sum(share * mf._numint.nr_rks(formamide, grids.build(), xc, dm)[2]
                    for share, xc in ((1.0, "b3lyp"), (0.2, "pbe,")))
    fock = problem.fock(problem.state_of(dm))
    assert np.abs(fock - (problem.hcore + mf.get_j(dm=dm) + semilocal)).max() < 2e-3  # the error of fitting J
    mf = scf.RHF(formamide)
    mf.max_memory = used
    with pytest.raises(ValueError, match="exact exchange needs .* MB"):
        CheapProblem(mf)


def test_more_points_than_directions_are_no_leap():
    """Water in a minimal basis has ten rotations and as many points to mix, most of them collinear: the five of the
    first 120 seeds that stopped at gradients of 1e-2."""
    positions = np.array([[0, 0, 0], [0, -0.757, 0.587], [0, 0.757, 0.587]])
    for seed in (12, 16, 19, 35, 103):
        noise = 0.06 * np.random.default_rng(seed).normal(size=(3, 3))
        mol = gto.M(atom=list(zip("OHH", positions + noise)), basis="sto-3g", verbose=0)
        mf = dft.RKS(mol, xc="pbe").density_fit()
        mf.grids.level = 1
        anderson = Anderson(CheapProblem(mf))
        refined(anderson, mf.get_init_guess(key="minao"))
        assert anderson.gradient(anderson.best()) < 1e-3
