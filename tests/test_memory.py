"""``mf.max_memory``, not that of the molecule, decides what a guess holds; what it gives does not hang on it."""

import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
from conftest import FORMAMIDE, WATER
from pyscf import dft, gto, lib, scf

from pyscf_mlguess import GuessRefused, pipeline, two_level
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.memory import give_back, integrals_stay
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
def test_an_unrefined_guess_does_not_hang_on_memory(xc):
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


def test_without_memory_for_exact_exchange_the_prediction_corrects_itself():
    """There is no cheap problem then: one warning, and the model's responses in its place."""
    mf = scf.RHF(gto.M(atom=FORMAMIDE, basis="def2-svp", verbose=0)).set(max_memory=NOTHING)
    mf._is_mem_enough = lambda: False
    with pytest.warns(GuessRefused, match="falling back to ml unrefined: exact exchange needs") as caught:
        dm = mf.get_init_guess(key="ml")
    assert len(caught) == 1
    assert np.abs(dm - pipeline.initial_density_matrix(mf)).max() < 1e-8
    assert np.abs(dm - pipeline.initial_density_matrix(mf, corrected=False)).max() > 1e-4


@pytest.mark.parametrize("key", ["minao+refine", "ml"])
def test_a_refined_guess_does_not_hang_on_memory(key):
    plenty, nothing = (np.asarray(kohn_sham(in_mf, in_mol, FORMAMIDE).get_init_guess(key=key))
                       for in_mf, in_mol in ((PLENTY, NOTHING), (NOTHING, PLENTY)))
    assert np.abs(plenty - nothing).max() < 1e-3


def test_a_two_level_scf_does_without_memory():
    plain, mf = kohn_sham(NOTHING, PLENTY).run(), two_level(kohn_sham(NOTHING, PLENTY)).set(init_guess="ml").run()
    assert mf.converged and mf.cycles < 0.6 * plain.cycles
    assert mf.e_tot == pytest.approx(plain.e_tot, abs=1e-8)


def resident():
    return lib.current_memory()[0]


_GUESSES = """
import sys
from pyscf import dft, gto, lib
import pyscf_mlguess

path, key = sys.argv[1:]
for _ in range(4):
    print(lib.current_memory()[0])
    mf = dft.RKS(gto.M(atom=path, basis="def2-svp", verbose=0), xc="pbe").set(max_memory=1e5, init_guess=key)
    mf.get_init_guess(key=key)
    del mf
print(lib.current_memory()[0])
"""


@pytest.mark.parametrize("key", ["ml", "minao+refine"])
def test_a_guess_leaves_no_memory_behind(key):
    # In a process of its own, whose memory nothing else has touched.
    paracetamol = str(files("pyscf_mlguess") / "benchmark" / "sets" / "paracetamol.xyz")
    run = subprocess.run([sys.executable, "-c", _GUESSES, paracetamol, key], capture_output=True, text=True, check=True)
    resident = [float(line) for line in run.stdout.split()]
    # The first one leaves modules, the model and the work space of BLAS's threads; a guess takes 400 MB and more.
    assert resident[1] - resident[0] < 200
    assert resident[-1] - resident[2] < 40


def test_freed_memory_goes_back_to_the_system():
    give_back()
    before = resident()
    blocks = [np.ones(10_000) for _ in range(2000)]
    last = np.ones(10_000)  # so that the freed blocks are not at the end of the heap
    held = resident()
    del blocks
    give_back()
    assert held - before > 100 and resident() - before < 60 and last.size


@pytest.mark.parametrize("key", ["ml", "minao+refine"])
def test_integrals_stay_in_memory_where_they_were_to_be(key):
    mf = kohn_sham(PLENTY, PLENTY)
    # Enough for PySCF's integrals and no more: whatever a guess holds would make it change its mind.
    mf.max_memory = (resident() + mf.mol.nao**4 / 1e6 + 1) / 0.95
    assert mf._is_mem_enough()
    with integrals_stay(mf):
        kept = np.ones(10_000_000)
    assert not mf._is_mem_enough() and mf._eri is not None and kept.size
    mf._eri = None
    del kept
    mf.max_memory = (resident() + mf.mol.nao**4 / 1e6 + 1) / 0.95
    mf.get_init_guess(key=key)
    assert mf._eri is not None or mf._is_mem_enough()


def test_integrals_that_were_not_to_be_in_memory_are_not_made():
    for mf in (kohn_sham(NOTHING, NOTHING), kohn_sham(PLENTY, PLENTY).density_fit()):
        with integrals_stay(mf):
            pass
        assert mf._eri is None


@pytest.mark.parametrize("key", ["minao", "ml"])
def test_a_two_level_scf_leaves_room_for_the_integrals(key):
    for _ in range(3):  # libraries, the model, the work space of BLAS's threads
        two_level(kohn_sham(PLENTY, PLENTY, FORMAMIDE, "b3lyp")).set(init_guess=key).run()
    mf = two_level(kohn_sham(PLENTY, PLENTY, FORMAMIDE, "b3lyp")).set(init_guess=key)
    mf.max_memory = (resident() + mf.mol.nao**4 / 1e6 + 15) / 0.95
    assert mf._is_mem_enough()
    mf.run()
    assert mf.converged and mf._eri is not None
