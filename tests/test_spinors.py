"""Generalised, two-component and Dirac objects start from the guess of real orbitals of both spins."""

import io

import numpy as np
import pytest
from conftest import WATER
from pyscf import dft, gto, scf
from pyscf.pbc import gto as pbc_gto
from pyscf.pbc import scf as pbc_scf

from pyscf_mlguess import GuessRefused, guess, spinors
from pyscf_mlguess.hook import checked_guess

METHYL = "C 0 0 0; H 1.08 0 0; H -.54 .935 0; H -.54 -.935 0"


def generalised_kohn_sham(mol):
    mf = dft.GKS(mol, xc="pbe")
    mf.grids.level = 1
    return mf


CLASSES = {
    "GHF": scf.GHF,
    "GHF symmetry": lambda mol: scf.GHF(mol.set(symmetry=True).build()),
    "GHF X2C": lambda mol: scf.GHF(mol).x2c(),
    "GHF newton": lambda mol: scf.GHF(mol).newton(),
    "GKS": generalised_kohn_sham,
    "spinor X2C": scf.X2C,
    "DHF": scf.DHF,
    "DKS": lambda mol: dft.DKS(mol, xc="lda"),
}


def molecule(atom=WATER, **options):
    return gto.M(atom=atom, verbose=0, **{"basis": "6-31g", **options})


@pytest.mark.parametrize("case", CLASSES)
@pytest.mark.parametrize("atom, spin", [(WATER, 0), (METHYL, 1)], ids=["water", "methyl"])
def test_the_guess_is_that_of_real_orbitals(case, atom, spin):
    mf = CLASSES[case](molecule(atom, spin=spin))
    dm, ovlp = mf.get_init_guess(key="ml"), mf.get_ovlp()
    assert dm.shape == ovlp.shape and np.abs(dm - dm.conj().T).max() < 1e-12
    assert np.trace(dm @ ovlp) == pytest.approx(mf.mol.nelectron, abs=1e-9)
    # Idempotent: electrons in whole spinors, which PySCF's own guesses are not.
    assert np.abs(dm @ ovlp @ dm - dm).max() < 1e-9
    assert np.allclose(guess(mf), dm, rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", ["GHF", "GHF X2C", "GKS", "spinor X2C", "DHF"])
def test_fewer_cycles_to_the_same_energy(case):
    plain, ours, refined = (CLASSES[case](molecule()).set(init_guess=key) for key in ("minao", "ml", "minao+refine"))
    for mf in (plain, ours, refined):
        mf.kernel()
        assert mf.converged and mf.e_tot == pytest.approx(plain.e_tot, abs=1e-7)
    assert ours.cycles < plain.cycles and refined.cycles < plain.cycles


@pytest.mark.parametrize("case", ["GHF X2C", "spinor X2C", "DHF"])
def test_the_density_is_the_same_in_every_basis(case):
    """Its large component: <z> of all electrons, as real orbitals have it."""
    mf = CLASSES[case](molecule())
    real = spinors.real(mf)
    dm = np.asarray(checked_guess(real, "ml"))
    dipole = np.trace(mf.mol.intor("int1e_r")[2] @ dm.sum(axis=0))
    found = spinors.matrix(mf, dm)
    if case == "GHF X2C":
        position = np.kron(np.eye(2), mf.mol.intor("int1e_r")[2])
    else:
        position = mf.mol.intor("int1e_r_spinor")[2]
        found = found[: len(position), : len(position)]
    assert np.trace(position @ found) == pytest.approx(dipole, abs=1e-9)


def test_spins_point_where_pyscf_has_them():
    """Along x, where spin-orbit coupling makes a difference: in oxygen along z they would stay, and 6e-6 Eh higher."""
    plain = scf.GHF(molecule("O 0 0 0; O 0 0 1.21", spin=2)).x2c().run()
    refined = scf.GHF(molecule("O 0 0 0; O 0 0 1.21", spin=2)).x2c().set(init_guess="minao+refine").run()
    assert refined.converged and refined.e_tot < plain.e_tot + 1e-7
    dm = scf.GHF(molecule(METHYL, spin=1)).x2c().get_init_guess(key="ml")
    nao, ovlp = len(dm) // 2, molecule(METHYL, spin=1).intor("int1e_ovlp")
    along_x = np.trace((dm[:nao, nao:] + dm[nao:, :nao]) @ ovlp)
    assert along_x == pytest.approx(1, abs=1e-9) and abs(np.trace((dm[:nao, :nao] - dm[nao:, nao:]) @ ovlp)) < 1e-9


def test_the_matrix_of_s_functions_alone_is_complex_as_all_others():
    """PySCF gives J and K of Dirac's classes its type."""
    mf = scf.DHF(molecule("He"))
    dm = mf.get_init_guess(key="minao+refine")
    assert np.iscomplexobj(dm) and np.trace(dm @ mf.get_ovlp()) == pytest.approx(2, abs=1e-9)


def test_a_refined_guess_finds_the_broken_symmetry():
    stretched = molecule("N 0 0 0; N 0 0 1.7")
    plain, refined = (scf.GHF(stretched).set(init_guess=key).run() for key in ("minao", "minao+refine"))
    assert refined.converged and refined.e_tot < plain.e_tot - 0.1
    assert refined.e_tot == pytest.approx(scf.UHF(stretched).set(init_guess="minao+refine").run().e_tot, abs=1e-7)


def test_settings_go_along():
    mf = generalised_kohn_sham(molecule()).set(max_memory=1234, conv_tol=1e-7, omega=0.3)
    mf.xc, mf.verbose, mf.stdout = "camb3lyp", 4, io.StringIO()
    real = spinors.real(mf)
    assert (real.xc, real.grids.level, real.max_memory, real.conv_tol) == ("camb3lyp", 1, 1234, 1e-7)
    assert real.omega == 0.3 and mf._numint.omega == 0.3 and real.init_guess_breaksym == 1
    mf.get_init_guess(key="ml")
    assert "Initial guess from the model" in mf.stdout.getvalue()


@pytest.mark.parametrize("make, key, reason", [
    (lambda: scf.GHF(molecule()).set(get_hcore=lambda *_: np.eye(26)), "ml", "get_hcore of its own"),
    (lambda: scf.DHF(molecule(cart=True, basis="def2-svp")), "ml", "spinors of cartesian functions"),
    (lambda: scf.GHF(molecule()), "chkfile+refine", "checkpoint file"),
    (lambda: scf.GHF(molecule(charge=2)), "ml", "the total charge is 2"),
    (lambda: pbc_scf.GHF(pbc_gto.M(atom="H 0 0 0; H 0 0 0.8", a=np.eye(3) * 4, basis="gth-szv", pseudo="gth-pade",
                                   verbose=0)), "ml", "periodic cells"),
], ids=["own hcore", "cartesian", "chkfile", "dication", "periodic"])
def test_what_is_not_served_is_said(make, key, reason):
    with pytest.raises(ValueError, match=reason):
        checked_guess(make(), key)


def test_a_refusal_is_one_warning_and_minao():
    mf = scf.GHF(molecule()).set(get_hcore=lambda *_: np.eye(26))
    with pytest.warns(GuessRefused, match="falling back to minao: GHF with a get_hcore of its own") as caught:
        dm = mf.get_init_guess(key="ml")
    assert len(caught) == 1 and np.allclose(dm, mf.get_init_guess(key="minao"))
