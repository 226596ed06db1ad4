"""The step of the cheap problem behind a predicted guess."""

import numpy as np
import pytest
from conftest import FORMAMIDE
from oracles import check_determinant, molecule, solution, spins
from pyscf import dft, scf

from pyscf_mlguess import pipeline
from pyscf_mlguess.benchmark.sets import load_set
from pyscf_mlguess.cheap.dielectric import Dielectric
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.cheap.step import MOST_ELECTRONS_MOVED, electrons_moved, stepped

METHYL = "C 0 0 0; H 0 1.08 0; H .935 -.54 0.1; H -.935 -.54 0"


def pbe(mol):
    return dft.KS(mol, xc="pbe")


CASES = {"closed shell": (scf.RHF, FORMAMIDE, 0), "unrestricted": (scf.UHF, METHYL, 1),
         "restricted open shell": (scf.ROHF, METHYL, 1), "semilocal": (pbe, FORMAMIDE, 0),
         "semilocal unrestricted": (pbe, METHYL, 1)}


@pytest.mark.parametrize("case", CASES)
def test_a_step_lowers_the_energy_of_a_wrong_density_matrix(case):
    kind, atoms, spin = CASES[case]
    known = solution(atoms, kind, spin)
    mf, right = kind(known.mol), np.asarray(known.make_rdm1())
    mixed = right + 0.1 * (np.asarray(mf.get_init_guess(known.mol, "minao")) - right)
    wrong = np.asarray(determinant(mf, mixed))
    made = stepped(CheapProblem(mf, grid_level=1), wrong)
    check_determinant(mf, made)
    before, after = (mf.energy_tot(dm) - known.e_tot for dm in (wrong, made))
    assert 0 < after < 0.3 * before


def determinant(mf, dm):
    """The nearest density matrix of whole occupations."""
    problem = CheapProblem(mf)
    filled = [problem.natural_orbitals(spin)[0][:, -n:] for spin, n in zip(spins(dm), mf.mol.nelec)]
    found = [orbitals @ orbitals.T for orbitals in filled]
    return 2 * found[0] if dm.ndim == 2 else np.array(found)


@pytest.mark.parametrize("xc, moves", [("pbe", False), ("b3lyp", False), ("bhandhlyp", True)])
def test_without_screening_half_of_exchange_must_be_exact(xc, moves, monkeypatch):
    monkeypatch.setattr(Dielectric, "pays", lambda problem: False)
    mf = dft.RKS(molecule(), xc=xc)
    dm = mf.get_init_guess(mf.mol, "minao")
    assert (np.abs(np.asarray(stepped(CheapProblem(mf), dm)) - dm).max() > 1e-4) == moves


def test_without_memory_for_a_cheap_problem_the_density_corrects_itself_alone(monkeypatch):
    mf = scf.RHF(molecule())
    steps = []
    monkeypatch.setattr(pipeline, "stepped", lambda problem, dm: steps.append(1) or dm)
    with_step, mf.max_memory = np.asarray(pipeline.initial_density_matrix(mf)), 1
    alone = pipeline.initial_density_matrix(mf)
    assert len(steps) == 1 and np.abs(with_step - np.asarray(alone)).max() < 0.02
    check_determinant(mf, alone)


def test_a_step_that_leaps_is_left_out(monkeypatch):
    """From this stretched bond it would move five electrons."""
    stretched = next(m for m in load_set("distorted")[0] if m.name == "chloromethyl_methyl_sulfide_CCl1.5")
    mf = pbe(stretched.mol("def2-svp")).density_fit().set(verbose=0)
    found = np.asarray(pipeline.initial_density_matrix(mf))
    monkeypatch.setattr(pipeline, "MOST_ELECTRONS_MOVED", np.inf)
    leap = np.asarray(pipeline.initial_density_matrix(mf))
    assert electrons_moved(CheapProblem(mf), found, leap) > 100 * MOST_ELECTRONS_MOVED
    assert mf.energy_tot(found) < mf.energy_tot(leap) - 5


def test_electrons_are_counted_alike_with_one_density_matrix_and_two():
    mf = scf.RHF(molecule())
    first, second = (np.asarray(mf.get_init_guess(mf.mol, key)) for key in ("minao", "1e"))
    restricted = electrons_moved(CheapProblem(mf), determinant(mf, first), determinant(mf, second))
    other = mf.to_uhf()
    first, second = (np.array([determinant(mf, dm) / 2] * 2) for dm in (first, second))
    assert restricted == pytest.approx(electrons_moved(CheapProblem(other), first, second), rel=1e-8)
    assert 0 < restricted < mf.mol.nelectron
