"""The right state: saddle points are left, what the user chose is kept, and what DIIS cannot converge converges."""

import io
import warnings

import numpy as np
import pytest
from pyscf import dft, gto, lib, scf
from test_convergence import counted

from pyscf_mlguess import SaddlePoint, refine, two_level

ETHYLENE = "C 0 0 {0}; C 0 0 -{0}; H 0 0.92 1.24; H 0 -0.92 1.24; H 0.92 0 -1.24; H -0.92 0 -1.24".format(0.67)


def molecule(atom, **kwargs):
    return gto.M(atom=atom, basis="def2-svp", verbose=0, **kwargs)


def kohn_sham(atom, cls=dft.UKS, xc="pbe", **kwargs):
    return cls(molecule(atom, **kwargs), xc=xc).density_fit()


# Energies (Eh) that the lower state has at least below that of minao.
@pytest.mark.parametrize("atom, xc, spin, below", [
    ("H 0 0 0; H 0 0 3", "pbe", 0, 0.05), ("H 0 0 0; F 0 0 2.2", "pbe", 0, 0.01),
    ("Li 0 0 0; H 0 0 5", "b3lyp", 0, 0.01),
    ("C 0 0 0; C 0 0 1.24", "b3lyp", 0, 0.01), ("O 0 0 0; O 0 0 1.8", "pbe", 0, 0.0), ("Ti", "pbe", 2, 0.0),
])
def test_no_state_above_that_of_minao(atom, xc, spin, below):
    plain = kohn_sham(atom, xc=xc, spin=spin).run()
    mf = two_level(kohn_sham(atom, xc=xc, spin=spin)).run()
    assert mf.converged and mf.cycles <= 4
    assert mf.e_tot < plain.e_tot + 1e-6 - below


@pytest.mark.parametrize("atom, spin, energy", [("Fe", 4, -1263.225485), ("V", 3, -943.516921)])
def test_atoms_that_diis_hardly_converges(atom, spin, energy):
    """Energies of the lowest solutions found (def2-SVP, PBE); how the d shell lies on the grid makes 1e-5 Eh."""
    mf = two_level(kohn_sham(atom, spin=spin))
    mf.verbose, mf.stdout = 4, io.StringIO()
    mf.run()
    assert mf.converged and mf.e_tot == pytest.approx(energy, abs=2e-5)
    assert "region of" in mf.stdout.getvalue()


@pytest.mark.parametrize("atom, xc", [("C 0 0 0; C 0 0 1.24", "b3lyp"), ("F 0 0 0; F 0 0 2.2", "pbe")])
def test_rounding_does_not_decide(atom, xc):
    """Whatever the number of threads, and whichever way a broken state is turned."""
    energies = []
    for threads in (1, 2, 2):
        with lib.with_omp_threads(threads):
            energies.append(two_level(kohn_sham(atom, xc=xc)).run().e_tot)
    assert np.ptp(energies) < 1e-7


def test_without_aufbau():
    """The carbon dimer, restricted: filled orbitals above empty ones, which no diagonalisation keeps."""
    mf = two_level(kohn_sham("C 0 0 0; C 0 0 1.2425", dft.RKS)).run()
    newton = kohn_sham("C 0 0 0; C 0 0 1.2425", dft.RKS).newton().run()
    assert mf.converged and mf.e_tot < newton.e_tot + 1e-5
    assert np.abs(mf.get_grad(mf.mo_coeff, mf.mo_occ)).max() < 1e-4


@pytest.mark.parametrize("how", ["restricted", "breaksym", "dm0"])
def test_what_the_user_chose_is_kept(how):
    symmetric = kohn_sham("H 0 0 0; H 0 0 3", dft.RKS).run()
    mf = two_level(kohn_sham("H 0 0 0; H 0 0 3", dft.RKS if how == "restricted" else dft.UKS))
    if how == "breaksym":
        mf.init_guess_breaksym = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mf.kernel(np.array([symmetric.make_rdm1() / 2] * 2) if how == "dm0" else None)
    assert mf.converged and mf.e_tot == pytest.approx(symmetric.e_tot, abs=1e-8)
    told = [w for w in caught if issubclass(w.category, SaddlePoint)]
    assert len(told) == (how == "dm0")
    if told:
        assert "mf.stability()" in str(told[0].message) and told[0].filename == __file__


def test_refinement_alone_leaves_saddle_points_and_refine_does_not():
    mf = kohn_sham("H 0 0 0; H 0 0 3")
    alpha, beta = mf.get_init_guess(key="minao+refine")
    assert np.abs(alpha - beta).max() > 0.1
    symmetric = kohn_sham("H 0 0 0; H 0 0 3", dft.RKS).run().make_rdm1() / 2
    alpha, beta = refine(mf, np.array([symmetric] * 2))
    assert np.abs(alpha - beta).max() < 1e-3


@pytest.mark.parametrize("cls, energy", [(dft.UKS, -128.856962), (dft.ROKS, -128.856598)])
@pytest.mark.parametrize("symmetry", ["C2v", False])
def test_nitric_oxide_in_lda(cls, energy, symmetry):
    """Issue 1352 of PySCF: DIIS does not converge it, or higher.  With symmetry the orbitals keep their irreps."""
    mol = gto.M(atom="N 0 0 0; O 0 0 1.15", basis="6-31g", spin=1, symmetry=symmetry, verbose=0)
    mf = two_level(cls(mol, xc="lda,vwn")).run()
    assert mf.converged and mf.cycles <= 4 and mf.e_tot == pytest.approx(energy, abs=1e-6)
    if symmetry:
        assert sum(map(np.sum, mf.get_irrep_nelec().values())) == 15


def test_a_run_that_it_stays_out_of_is_taken_over_when_it_fails():
    """Hartree-Fock of a small molecule has cycles as cheap as ours; five of them are not enough."""
    mf = two_level(scf.RHF(molecule(ETHYLENE)).density_fit())
    mf.max_cycle, mf.verbose, mf.stdout = 5, 3, io.StringIO()
    mf.run()
    assert "stays out of the way" in mf.stdout.getvalue() and "takes part after all" in mf.stdout.getvalue()
    assert mf.converged and mf.e_tot == pytest.approx(-77.80207568, abs=1e-6)


def test_smearing_has_the_last_word(taking_part):
    """The levels of a descent are set apart, which smearing must not take for those of the solution."""
    mol = gto.M(atom="Ni", basis="lanl2dz", ecp="lanl2dz", verbose=0)
    mf = two_level(scf.UHF(mol).smearing(sigma=0.01, fix_spin=True))
    mf.verbose, mf.stdout = 4, io.StringIO()
    mf.run()
    assert mf.converged and "region of" in mf.stdout.getvalue()
    plain = mf.undo_two_level().set(verbose=0).run(mf.make_rdm1())
    assert mf.e_free == pytest.approx(plain.e_free, abs=1e-9) and mf.entropy == pytest.approx(plain.entropy, rel=1e-2)


@pytest.mark.parametrize("cls, xc, energy", [(dft.UKS, "pbe", None), (dft.ROKS, "lda,vwn", -128.858016)])
def test_a_descent_in_a_solvent(cls, xc, energy):
    """Its energies and Fock matrices hold the solvent's, without another build."""
    atom, spin = ("H 0 0 0; F 0 0 2.6", 0) if energy is None else ("N 0 0 0; O 0 0 1.15", 1)
    mf, built = counted(two_level(cls(gto.M(atom=atom, basis="6-31g", spin=spin, verbose=0), xc=xc).PCM()))
    mf.verbose, mf.stdout = 4, io.StringIO()
    mf.run()
    assert mf.converged and "region of" in mf.stdout.getvalue() and len(built) == mf.cycles + 1 <= 10
    assert mf.e_tot == pytest.approx(energy or mf.undo_two_level().run(mf.make_rdm1(), verbose=0).e_tot, abs=1e-6)
