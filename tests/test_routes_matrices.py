"""Density and Fock matrices as predictions: round trips of converged ones, other bases, and reports."""

import numpy as np
import pytest
from conftest import FORMAMIDE, WATER
from oracles import (
    KINDS,
    blocks_of,
    check_determinant,
    converged,
    density_blocks,
    fock_blocks,
    molecule,
    oracle,
    overlap_root,
    solution,
)
from pyscf import dft, gto, scf

from pyscf_mlguess import routes
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.predictions import DensityBlocks, FockBlocks
from pyscf_mlguess.routes.auxiliary_density import SMALLEST_GAP
from pyscf_mlguess.routes.density_matrix import MOST_ELECTRONS_MISSING, MOST_ELECTRONS_MOVED
from pyscf_mlguess.routes.fock_matrix import in_basis

HYDRONIUM = "O 0 0 0; H 0 0.93 0.27; H 0.81 -0.46 0.27; H -0.81 -0.46 0.27"
METHYL = "C 0 0 0; H 0 1.08 0; H .935 -.54 0.1; H -.935 -.54 0"
IODOMETHANE = "I 0 0 0; C 0 0 2.15; H 1.03 0 2.5; H -0.51 0.89 2.5; H -0.51 -0.89 2.5"
ETHYLENE = "C 0 0 0; C 0 0 1.45; H .92 .05 -.55; H -.92 -.04 -.55; H .02 .92 2; H .1 -.92 2"


EXACT = {
    "RHF": lambda: scf.RHF(molecule(FORMAMIDE)),
    "RKS": lambda: dft.RKS(molecule(), xc="pbe").density_fit(),
    "ROHF": lambda: scf.ROHF(molecule(METHYL, spin=1)),
    "ROHF triplet": lambda: scf.ROHF(molecule(ETHYLENE, spin=2)),
    "UHF of a closed shell": lambda: scf.UHF(molecule()).set(init_guess_breaksym=0),
    "symmetry": lambda: scf.RHF(molecule(symmetry=True)),
    "core potential": lambda: scf.RHF(molecule(IODOMETHANE, ecp={"I": "def2-svp"})),
    "spin-free X2C": lambda: scf.RHF(molecule()).sfx2c1e(),
    "hybrid": lambda: dft.RKS(molecule(), xc="b3lyp"),
    "range-separated hybrid": lambda: dft.RKS(molecule(), xc="camb3lyp"),
    "cation": lambda: scf.RHF(molecule(HYDRONIUM, charge=1)),
    "anion": lambda: dft.RKS(molecule("O 0 0 0; H 0 0 0.97", charge=-1), xc="pbe0"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", EXACT)
def test_a_converged_matrix_comes_back_and_the_scf_stays_there(kind, case):
    mf, again = converged(EXACT[case]()), EXACT[case]()
    dm, report = routes.density_matrix(again, oracle(kind, mf))
    assert np.asarray(dm) == pytest.approx(np.asarray(mf.make_rdm1()), abs=1e-8)
    assert report.objection() is None and not report.notes
    check_determinant(again, dm)
    again.kernel(dm0=dm)
    assert again.cycles <= 2 and again.e_tot == pytest.approx(mf.e_tot, abs=1e-9)


OTHER = {
    "split valence": (WATER, "6-31g*", {}),
    "cartesian": (FORMAMIDE, "6-31g*", {"cart": True}),
    "minimal": (FORMAMIDE, "sto-3g", {}),
    "diffuse": (WATER, "aug-cc-pvdz", {}),
    "general contraction": (WATER, "cc-pvtz", {}),
    "symmetry": (WATER, "6-31g*", {"symmetry": True}),
    "core potential": (IODOMETHANE, "def2-tzvp", {"ecp": {"I": "def2-tzvp"}}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", OTHER)
def test_in_another_basis_the_energy_is_nearer_than_minao_s(kind, case):
    atoms, basis, options = OTHER[case]
    known = solution(atoms, potentials=(("I", "def2-svp"),) if "ecp" in options else ())
    mf = scf.RHF(molecule(atoms, basis, **options)).density_fit()
    dm, report = routes.density_matrix(mf, oracle(kind, known))
    check_determinant(mf, dm)
    assert report.objection() is None
    minao = mf.energy_tot(mf.get_init_guess(key="minao"))
    mf.kernel(dm0=dm)
    # minao is no determinant: its energy may lie below that of the solution.
    above = mf.energy_tot(dm) - mf.e_tot
    assert -1e-9 < above < 0.1 * abs(minao - mf.e_tot)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [scf.UHF, scf.ROHF, dft.UKS, dft.ROKS])
def test_radicals_in_the_same_and_in_another_basis(kind, make):
    known = solution(METHYL, scf.ROHF, 1)
    for basis in ("def2-svp", "6-31g*", "sto-3g"):
        mf = make(molecule(METHYL, basis, spin=1))
        dm, report = routes.density_matrix(mf, oracle(kind, known))
        check_determinant(mf, dm)
        assert report.objection() is None
        assert mf.energy_tot(dm) < mf.energy_tot(mf.get_init_guess(key="minao"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_unrestricted_radical_lacks_its_spin_density_alone(kind):
    known = solution(METHYL, scf.UHF, 1)
    mf = scf.UHF(known.mol)
    dm, report = routes.density_matrix(mf, oracle(kind, known))
    check_determinant(mf, dm)
    assert report.objection() is None
    mf.kernel(dm0=dm)
    assert mf.e_tot == pytest.approx(known.e_tot, abs=1e-8)
    assert mf.energy_tot(dm) - known.e_tot < 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("atoms, options", [(WATER, {"cart": True}), (WATER + "; Ghost-O 0 0 3", {}),
                                            ("Ghost-H 0 0 -2;" + WATER, {})])
def test_a_basis_that_holds_the_reference_loses_nothing(kind, atoms, options):
    known = solution()
    mf = scf.RHF(molecule(atoms, **options))
    prediction = oracle(kind, known)
    dm, _ = routes.density_matrix(mf, prediction)
    check_determinant(mf, dm)
    if kind is DensityBlocks:
        assert mf.energy_tot(dm) == pytest.approx(known.e_tot, abs=1e-9)
    else:
        # Its own functions see all of the difference; the others lower the energy by the density's Fock matrix.
        cross = gto.intor_cross("int1e_ovlp", mf.mol, known.mol)
        embedded, root = np.linalg.solve(mf.get_ovlp(), cross), overlap_root(known.mol)
        among = embedded.T @ in_basis(mf.mol, prediction) @ embedded
        assert among == pytest.approx(root @ prediction.assemble(known.mol) @ root, abs=1e-9)
        assert mf.energy_tot(dm) < known.e_tot


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_irreps_are_honoured(kind):
    known = solution()
    for irreps in ({"A1": 6, "B1": 2, "B2": 2}, {"A1": 8, "B1": 0, "B2": 2}):
        for basis in ("def2-svp", "6-31g*"):
            mf = scf.RHF(molecule(basis=basis, symmetry=True))
            mf.irrep_nelec = irreps
            dm, _ = routes.density_matrix(mf, oracle(kind, known))
            counts = mf.get_irrep_nelec(mf.mol, dm.mo_coeff, dm.mo_occ)
            assert {name: counts[name] for name in irreps} == irreps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("basis", ["def2-svp", "6-31g*"])
@pytest.mark.parametrize("breaksym", [0, 1, "mix"])
def test_breaking_spin_symmetry_is_honoured(kind, basis, breaksym):
    mf = scf.UHF(molecule(ETHYLENE, basis)).density_fit().set(init_guess_breaksym=breaksym)
    dm, report = routes.density_matrix(mf, oracle(kind, solution(ETHYLENE)))
    assert np.allclose(dm[0], dm[1]) == (not breaksym)
    assert bool(report.notes) == bool(breaksym)
    if breaksym == "mix":
        # The true frontier orbitals lead to the broken-symmetry solution.
        mf.kernel(dm0=dm)
        assert mf.spin_square()[0] == pytest.approx(1.0, abs=0.05)


def test_smearing_fills_the_orbitals_of_a_fock_matrix_as_the_scf_object_does():
    mf = solution().copy().smearing(sigma=0.15)
    expected = mf.get_occ(mf.mo_energy, mf.mo_coeff)
    dm, _ = routes.density_matrix(mf, oracle(FockBlocks, solution()))
    assert dm.mo_occ == pytest.approx(expected, abs=1e-6) and np.ptp(expected[:8]) > 0.05


# A difference of Fock matrices is added to that of a density on the coarse grid of the start.
@pytest.mark.parametrize("kind, tolerance", [(DensityBlocks, 1e-10), (FockBlocks, 2e-2)])
def test_a_cheap_problem_lends_its_core_hamiltonian(kind, tolerance, monkeypatch):
    known = solution()
    cheap = CheapProblem(scf.RHF(molecule()))
    expected = np.asarray(routes.density_matrix(scf.RHF(molecule()), oracle(kind, known))[0])
    monkeypatch.setattr(cheap.mf, "get_hcore", None)
    dm, _ = routes.density_matrix(cheap.mf, oracle(kind, known), None, cheap)
    assert np.asarray(dm) == pytest.approx(expected, abs=tolerance)


def test_a_density_matrix_that_is_not_idempotent_gives_the_nearest_determinant(formamide):
    dm = scf.hf.init_guess_by_minao(formamide)
    mf = scf.RHF(formamide)
    found, report = routes.density_matrix(mf, density_blocks(formamide, dm))
    check_determinant(mf, found)
    root = overlap_root(formamide)
    distance = np.linalg.norm(root @ (found - dm) @ root)
    rng = np.random.default_rng(0)
    for _ in range(5):
        generator = rng.normal(scale=1e-2, size=(formamide.nao, formamide.nao))
        rotated = np.linalg.qr(np.eye(formamide.nao) + generator - generator.T)[0]
        assert np.linalg.norm(rotated @ root @ found @ root @ rotated.T - root @ dm @ root) > distance
    assert report.electrons_moved.shape == (6,) and report.objection()


# -- reports --

def changed_occupations(mol, dm, change):
    """Blocks of a closed-shell density matrix whose natural occupations, the largest first, ``change`` has edited."""
    root = overlap_root(mol)
    occupations, natural = np.linalg.eigh(root @ dm @ root)
    occupations, natural = occupations[::-1].copy(), natural[:, ::-1]
    change(occupations)
    return blocks_of(DensityBlocks, mol, (natural * occupations) @ natural.T)


def test_the_report_on_a_density_matrix_says_what_is_wrong(water):
    dm = solution().make_rdm1()

    def report(change):
        return routes.density_matrix(scf.RHF(water), changed_occupations(water, dm, change))[1]

    def scale(factor):
        return lambda occupations: occupations.__imul__(factor)

    def shift(amount):
        def change(occupations):
            occupations[4] -= amount
            occupations[5] += amount
        return change

    fewer, more, noisy, close = (report(change) for change in (scale(0.95), scale(1.05), shift(0.8), shift(0.95)))
    assert fewer.electrons_missing == pytest.approx(0.5) and more.electrons_missing == pytest.approx(-0.5)
    assert "0.50 electrons too few (0.167 an atom" in fewer.objection() and "too many" in more.objection()
    assert noisy.electrons_moved.sum() == pytest.approx(1.6) and noisy.occupation_gap == pytest.approx(0.2)
    assert close.occupation_gap == pytest.approx(0.05) and "electrons missing 0.0000" in str(close)
    assert report(shift(0.1)).objection() is None

    noisy.electrons_moved[:] = 0.1
    assert "differ by 0.20 of the electrons between them" in noisy.objection()
    noisy.electrons_moved[1] = MOST_ELECTRONS_MOVED + 0.1
    assert "1.10 electrons from whole ones on one atom" in noisy.objection()
    noisy.electrons_missing = np.nan
    assert "electrons too" in noisy.objection() and MOST_ELECTRONS_MISSING < 0.5 / 3


def test_the_report_on_a_fock_matrix_says_what_is_wrong():
    mf = solution()
    energies = mf.mo_energy.copy()
    energies[5] = energies[4] + SMALLEST_GAP / 2
    dual = mf.get_ovlp() @ mf.mo_coeff
    narrow = fock_blocks(mf, (dual * energies) @ dual.T)
    _, report = routes.density_matrix(scf.RHF(molecule()), narrow)
    assert report.frontier_gap == pytest.approx(SMALLEST_GAP / 2, abs=1e-9)
    assert report.objection() == "the frontier gap is 0.020 Eh (limit 0.04)" and "0.0200 Eh" in str(report)
    triplet = scf.ROHF(molecule(spin=2))
    assert routes.density_matrix(triplet, narrow)[1].objection() is None
