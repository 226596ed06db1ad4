"""``mf.max_memory``, not that of the molecule, decides what a guess holds; what it gives does not hang on it."""

import numpy as np
import pytest
from conftest import FORMAMIDE, WATER
from pyscf import dft, gto, scf

from pyscf_mlguess import pipeline, two_level
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.routes.auxiliary_density import DensityRoute

PLENTY, NOTHING = 100_000, 1


def kohn_sham(in_mf, in_mol, atom=WATER, xc="pbe"):
    mf = dft.RKS(gto.M(atom=atom, basis="def2-svp", verbose=0, max_memory=in_mol), xc=xc)
    mf.max_memory, mf.grids.level = in_mf, 0
    return mf


def held(mf):
    """Whether a route that may hold its integrals does."""
    return DensityRoute(mf, hold=True).fitting._integrals.held


def test_the_route_asks_the_scf_object():
    assert held(kohn_sham(PLENTY, NOTHING))
    assert not held(kohn_sham(NOTHING, PLENTY))


@pytest.mark.parametrize("xc", ["pbe", "b3lyp"])
def test_a_guess_does_not_hang_on_memory(xc):
    plenty, nothing = (np.asarray(pipeline.initial_density_matrix(kohn_sham(in_mf, in_mol, FORMAMIDE, xc)))
                       for in_mf, in_mol in ((PLENTY, NOTHING), (NOTHING, PLENTY)))
    assert np.abs(plenty - nothing).max() < 1e-8


def test_the_cheap_problem_asks_the_scf_object():
    assert CheapProblem(kohn_sham(PLENTY, NOTHING))._coulomb is not None
    problem = CheapProblem(kohn_sham(NOTHING, PLENTY))
    assert problem._coulomb is None and not list(problem._grid._kept)
    dm = scf.hf.init_guess_by_minao(problem.mol)
    reference = CheapProblem(kohn_sham(PLENTY, NOTHING), precise=True)
    state = problem.state_of(dm)
    assert np.abs(problem.fock(state) - reference.fock(state)).max() < 1e-5
    assert not problem._grid._kept


@pytest.mark.parametrize("key", ["minao+refine", "ml+refine"])
def test_a_refined_guess_does_not_hang_on_memory(key):
    plenty, nothing = (np.asarray(kohn_sham(in_mf, in_mol, FORMAMIDE).get_init_guess(key=key))
                       for in_mf, in_mol in ((PLENTY, NOTHING), (NOTHING, PLENTY)))
    assert np.abs(plenty - nothing).max() < 1e-3


def test_a_two_level_scf_does_without_memory():
    plain, mf = kohn_sham(NOTHING, PLENTY).run(), two_level(kohn_sham(NOTHING, PLENTY)).set(init_guess="ml").run()
    assert mf.converged and mf.cycles < 0.6 * plain.cycles
    assert mf.e_tot == pytest.approx(plain.e_tot, abs=1e-8)
