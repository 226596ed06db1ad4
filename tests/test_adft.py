import numpy as np
import pytest
from conftest import ao_rotation
from pyscf import df, dft, gto, lib, scf

from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.routes.auxiliary_fock import AuxiliaryProblem


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("cart", [False, True])
def test_contractions_are_the_three_centre_integrals_every_time(cart, hold):
    mol = gto.M(atom="C 0 0 0; O 0.1 0.2 1.2; H 0.9 -0.3 -0.5", basis="6-31g*", cart=cart, spin=1, verbose=0)
    problem = AuxiliaryProblem(mol, hold=hold)
    assert (problem._held is not None) == hold
    exact = df.incore.aux_e2(mol, problem._contraction_auxmol)
    if cart:
        exact = exact @ problem.auxmol.cart2sph_coeff(normalized="sp")
    rng = np.random.default_rng(0)
    # Again and again: a wrong screening bound shows in some calls only.
    for _ in range(4):
        vector, dm = rng.normal(size=problem.auxmol.nao), rng.normal(size=(mol.nao, mol.nao))
        dm = dm + dm.T
        assert problem.potential_matrix(vector) == pytest.approx(exact @ vector, abs=1e-9)
        assert problem.project(dm) == pytest.approx(np.einsum("ijp,ij->p", exact, dm), abs=1e-9)


def test_integrals_are_held_only_where_there_is_memory(formamide):
    small = formamide.copy()
    small.max_memory = lib.current_memory()[0] + 1
    short, plenty = AuxiliaryProblem(small, hold=True), AuxiliaryProblem(formamide, hold=True)
    assert short._held is None and short._held_blocks is None
    potential = SemilocalPotential.of(dft.RKS(formamide, xc="pbe"))
    coefficients = free_atom_coefficients(plenty.auxmol)
    matrices = [problem.effective_potential(coefficients, potential) for problem in (short, plenty, plenty)]
    assert plenty._held is not None and plenty._held_blocks is not None
    for matrix in matrices[1:]:
        assert matrix == pytest.approx(matrices[0], abs=1e-8)


def test_shared_tensor_gives_the_same_matrix(formamide):
    with_df = df.DF(formamide, "def2-universal-jkfit")
    shared, direct = AuxiliaryProblem(formamide, with_df=with_df), AuxiliaryProblem(formamide)
    vector = np.random.default_rng(1).normal(size=direct.auxmol.nao)
    assert shared.potential_matrix(vector) == pytest.approx(direct.potential_matrix(vector), abs=1e-8)
    dm = np.random.default_rng(2).normal(size=(formamide.nao, formamide.nao))
    assert shared.project(dm + dm.T) == pytest.approx(direct.project(dm + dm.T), abs=1e-7)
    assert shared._shared_tensor is with_df


def test_tensor_of_another_auxiliary_basis_is_not_used(formamide):
    problem = AuxiliaryProblem(formamide, with_df=df.DF(formamide, "def2-universal-jfit"))
    assert problem._shared_tensor is None


def test_fit_keeps_the_electron_count(formamide):
    dm = scf.RHF(formamide).run().make_rdm1()
    problem = AuxiliaryProblem(formamide)
    coefficients = problem.fit(np.asarray(dm))
    assert problem.charges @ coefficients == pytest.approx(formamide.nelectron, abs=1e-9)
    moved = problem.restore_electron_count(coefficients, 20.0)
    assert problem.charges @ moved == pytest.approx(20.0, abs=1e-9)
    # Nearest in the Coulomb metric: the change is orthogonal to whatever holds no electrons.
    neutral = np.random.default_rng(2).normal(size=problem.auxmol.nao)
    neutral -= problem.charges * (problem.charges @ neutral) / (problem.charges @ problem.charges)
    assert neutral @ problem.metric @ (moved - coefficients) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("xc", ["lda,vwn", "pbe", "blyp"])
def test_fock_matrix_approaches_pyscf_as_the_grid_grows(water, xc):
    mf = dft.RKS(water, xc=xc).density_fit("def2-universal-jkfit").run()
    dm = mf.make_rdm1()
    exact = np.asarray(mf.get_veff(water, dm))
    orbitals = mf.mo_coeff
    errors = []
    for level in (0, 1, 3):
        problem = AuxiliaryProblem(water, grid_level=level)
        ours = problem.effective_potential(problem.fit(np.asarray(dm)), SemilocalPotential.of(mf))
        errors.append(np.abs(orbitals[:, :5].T @ (ours - exact) @ orbitals[:, 5:]).max())
    assert errors[1] < errors[0] and errors[2] < 3e-3


def test_effective_potential_rotates_with_the_molecule(formamide, rotation):
    dm = np.asarray(scf.RHF(formamide).get_init_guess(formamide, "minao"))
    turned = formamide.copy()
    turned.set_geom_(formamide.atom_coords(unit="Bohr") @ rotation.T, unit="Bohr")
    turn = ao_rotation(formamide, rotation)
    potential = SemilocalPotential.of(dft.RKS(formamide, xc="pbe"))
    first = AuxiliaryProblem(formamide, grid_level=3)
    second = AuxiliaryProblem(turned, grid_level=3)
    expected = turn @ first.effective_potential(first.fit(dm), potential) @ turn.T
    found = second.effective_potential(second.fit(turn @ dm @ turn.T), potential)
    # The angular grid does not turn with the molecule; Coulomb alone is exact.
    assert found == pytest.approx(expected, abs=2e-3)
    coulomb = turn @ first.potential_matrix(first.fit(dm)) @ turn.T
    assert second.potential_matrix(second.fit(turn @ dm @ turn.T)) == pytest.approx(coulomb, abs=1e-8)
