"""Energies predicted from one Fock build."""

import copy

import numpy as np
import pytest
from conftest import FORMAMIDE
from pyscf import dft, gto
from pyscf.dft.rkspu import RKSpU
from test_convergence import CASES, counted

from pyscf_mlguess import two_level
from pyscf_mlguess.cheap.anderson import Anderson

pytestmark = pytest.mark.usefixtures("taking_part")


@pytest.mark.parametrize("name", ["RKS", "hybrid", "RHF", "UKS", "ROKS", "ROHF", "symmetry"])
def test_one_build_and_an_error_below_its_estimate(name):
    exact = CASES[name]().run(conv_tol=1e-12, conv_tol_grad=1e-7)
    mf, built = counted(two_level(CASES[name](), verify=False))
    mf.run()
    assert len(built) == 1 and mf.e_tot != exact.e_tot
    assert abs(mf.e_tot - exact.e_tot) < mf.energy_error + 1e-11 < 2e-8
    assert np.linalg.norm(exact.get_grad(mf.mo_coeff, mf.mo_occ)) < 1e-4
    assert np.abs(mf.dip_moment(verbose=0) - exact.dip_moment(verbose=0)).max() < 1e-3


def test_a_finer_grid_answers_to_the_step_without_a_build(monkeypatch):
    """What the prediction lacked of wB97X-D's energy was the coarse grid's answer."""
    def run(**settings):
        mol = gto.M(atom=FORMAMIDE, basis="def2-svp", verbose=0)
        return two_level(dft.RKS(mol, xc="hyb_gga_xc_wb97x_d").density_fit(), **settings).run(conv_tol=1e-11).e_tot

    exact, predicted = run(), run(verify=False)
    monkeypatch.setattr(Anderson, "foresee_grid", lambda self, since, finer: None)
    assert abs(predicted - exact) < 0.1 * abs(run(verify=False) - exact)


def test_the_choice_travels_and_can_be_taken_back():
    mf = two_level(CASES["RKS"](), verify=False)
    assert two_level(mf, verify=False) is mf and not copy.copy(mf).verify
    mf, built = counted(two_level(mf))
    mf.run()
    assert mf.converged and len(built) == 2
    assert not hasattr(mf.undo_two_level(), "verify")


@pytest.mark.parametrize("make", [
    CASES["smearing"], lambda: CASES["RKS"]().PCM(),
    lambda: RKSpU(CASES["RKS"]().mol, xc="pbe", U_idx=["O 2p"], U_val=[3.5])], ids=["smearing", "solvent", "Hubbard U"])
def test_what_the_cheap_problem_does_not_know_is_verified(make):
    mf, built = counted(two_level(make(), verify=False))
    mf.run()
    assert mf.converged and len(built) > 1
    assert mf.e_tot == pytest.approx(make().run().e_tot, abs=1e-8)
