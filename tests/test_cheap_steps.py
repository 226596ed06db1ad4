"""The iterations of the cheap problem behind a predicted guess."""

import io

import numpy as np
import pytest
from conftest import FORMAMIDE
from oracles import check_determinant, molecule, solution, spins
from pyscf import dft, scf

from pyscf_mlguess import pipeline
from pyscf_mlguess.benchmark.sets import load_set
from pyscf_mlguess.cheap.dielectric import Dielectric
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.cheap.steps import stepped
from pyscf_mlguess.refusal import NotServed
from pyscf_mlguess.stages import listening

METHYL = "C 0 0 0; H 0 1.08 0; H .935 -.54 0.1; H -.935 -.54 0"


def pbe(mol):
    return dft.KS(mol, xc="pbe")


CASES = {"closed shell": (scf.RHF, FORMAMIDE, 0), "unrestricted": (scf.UHF, METHYL, 1),
         "restricted open shell": (scf.ROHF, METHYL, 1), "semilocal": (pbe, FORMAMIDE, 0),
         "semilocal unrestricted": (pbe, METHYL, 1)}


@pytest.mark.parametrize("case", CASES)
def test_iterations_lower_the_energy_of_a_wrong_density_matrix(case):
    kind, atoms, spin = CASES[case]
    known = solution(atoms, kind, spin)
    mf, right = kind(known.mol), np.asarray(known.make_rdm1())
    mixed = right + 0.1 * (np.asarray(mf.get_init_guess(known.mol, "minao")) - right)
    wrong = np.asarray(determinant(mf, mixed))
    made = stepped(CheapProblem(mf, grid_level=1), wrong)
    check_determinant(mf, made)
    before, after = (mf.energy_tot(dm) - known.e_tot for dm in (wrong, made))
    assert -1e-8 < after < 1e-3 * before


def determinant(mf, dm):
    """The nearest density matrix of whole occupations."""
    problem = CheapProblem(mf)
    filled = [problem.natural_orbitals(spin)[0][:, -n:] for spin, n in zip(spins(dm), mf.mol.nelec)]
    found = [orbitals @ orbitals.T for orbitals in filled]
    return 2 * found[0] if dm.ndim == 2 else np.array(found)


@pytest.mark.parametrize("kind", [pbe, scf.RHF])
def test_without_screening_there_are_more_and_smaller_steps(kind, monkeypatch):
    known = solution(FORMAMIDE, kind)
    mf = kind(known.mol)
    dm = mf.get_init_guess(known.mol, "minao")
    with listening() as screened:
        stepped(CheapProblem(mf, grid_level=1), dm)
    monkeypatch.setattr(Dielectric, "seconds", lambda problem: np.inf)
    with listening() as unscreened:
        made = stepped(CheapProblem(mf, grid_level=1), dm)
    check_determinant(mf, made)
    assert screened.counts["cheap_iterations"] < unscreened.counts["cheap_iterations"] <= 10
    assert mf.energy_tot(made) - known.e_tot < 1e-4


def test_without_memory_for_a_cheap_problem_the_density_corrects_itself_alone(monkeypatch):
    mf = scf.RHF(molecule())
    steps = []
    monkeypatch.setattr(pipeline, "stepped", lambda problem, dm: steps.append(1) or dm)
    with_step, mf.max_memory = np.asarray(pipeline.initial_density_matrix(mf)), 1
    alone = pipeline.initial_density_matrix(mf)
    assert len(steps) == 1 and np.abs(with_step - np.asarray(alone)).max() < 0.02
    check_determinant(mf, alone)


def test_a_guess_from_which_iterations_lead_away_is_refused():
    """The first one from this stretched bond would move five electrons."""
    stretched = next(m for m in load_set("distorted")[0] if m.name == "chloromethyl_methyl_sulfide_CCl1.5")
    mf = pbe(stretched.mol("def2-svp")).density_fit().set(verbose=0)
    alone = np.asarray(pipeline.initial_density_matrix(mf, corrected=False))
    with pytest.raises(NotServed, match="lead away from it, the gradient from .* to "):
        pipeline.initial_density_matrix(mf)
    mf.verbose, mf.stdout = 4, io.StringIO()
    assert np.abs(pipeline.initial_density_matrix(mf, checked=False) - alone).max() < 0.1
    assert "without iterations of the cheap problem: the cheap problem's iterations lead away" in mf.stdout.getvalue()
