"""The response that preconditions the cheap problem."""

import numpy as np
import pytest
from conftest import FORMAMIDE
from pyscf import dft, gto, scf

from pyscf_mlguess import two_level
from pyscf_mlguess.cheap import dielectric as module
from pyscf_mlguess.cheap.anderson import Anderson
from pyscf_mlguess.cheap.dielectric import Dielectric
from pyscf_mlguess.cheap.problem import CheapProblem

NITROGEN_DIOXIDE = "N 0 0 0; O 0 1.0989 0.4653; O 0 -1.0989 0.4653"
HARTREE = "0*lda"


def near_the_solution(mf, tolerance=3e-2):
    problem = CheapProblem(mf, precise=True)
    anderson = Anderson(problem)
    anderson.start(problem.state_of(mf.get_init_guess(key="minao")))
    assert anderson.solve(tolerance, 40) < tolerance
    return anderson


def gradients(anderson, *steps):
    """Gradient at the best point, and after every step from its Fock matrix, none of them mixed."""
    best, problem = anderson.best(), anderson.problem
    spins = anderson.corrected(best)
    residual = problem.effective(spins, best.state) - best.entering
    found = [anderson.gradient(best)]
    for step in steps:
        found.append(anderson.gradient(anderson.add(best.entering + step(residual), spins)))
    return found


@pytest.mark.parametrize("atom, spin, cls", [(FORMAMIDE, 0, dft.RKS), (NITROGEN_DIOXIDE, 1, dft.UKS)])
def test_without_exchange_and_correlation_the_step_is_newton_s(atom, spin, cls, monkeypatch):
    mol = gto.M(atom=atom, basis="def2-svp", spin=spin, verbose=0)
    monkeypatch.setattr(module, "_DEEP", np.inf)
    monkeypatch.setattr(module, "_HIGH", np.inf)
    monkeypatch.setattr(module, "_LEAST_GAP", 0.0)
    anderson = near_the_solution(cls(mol, xc=HARTREE))
    best = anderson.best()
    screening = Dielectric(anderson.problem, best.entering, best.cheap)
    before, screened, whole = gradients(anderson, screening.step, lambda residual: residual)
    # Second order: the gradient falls with its square.
    assert screened < 0.02 * before
    assert whole > before


@pytest.mark.parametrize("atom, spin, make", [
    (FORMAMIDE, 0, lambda mol: dft.RKS(mol, xc="pbe")),
    (FORMAMIDE, 0, lambda mol: dft.RKS(mol, xc="b3lyp").density_fit()),
    (NITROGEN_DIOXIDE, 1, lambda mol: dft.UKS(mol, xc="pbe")),
    (NITROGEN_DIOXIDE, 1, lambda mol: dft.ROKS(mol, xc="pbe")),
    (FORMAMIDE, 0, lambda mol: scf.addons.smearing_(dft.RKS(mol, xc="pbe"), sigma=0.02)),
])
def test_it_saves_a_third_of_the_iterations(atom, spin, make, monkeypatch):
    mol = gto.M(atom=atom, basis="def2-svp", spin=spin, verbose=0)

    def iterations():
        return near_the_solution(make(mol), 1e-5).problem.iterations

    with_it = iterations()
    monkeypatch.setattr(Dielectric, "pays", lambda problem: False)
    assert with_it <= 2 / 3 * iterations()


def test_the_metric_is_the_second_order_energy(formamide, monkeypatch):
    monkeypatch.setattr(module, "_DEEP", np.inf)
    monkeypatch.setattr(module, "_HIGH", np.inf)
    mf = dft.RKS(formamide, xc="pbe").run()
    problem = CheapProblem(mf)
    screening = Dielectric(problem, mf.get_fock(), mf.get_fock())
    change = np.random.default_rng(0).normal(size=(formamide.nao, formamide.nao))
    change += change.T
    occupied, empty = mf.mo_coeff[:, mf.mo_occ > 0], mf.mo_coeff[:, mf.mo_occ == 0]
    gaps = mf.mo_energy[mf.mo_occ == 0] - mf.mo_energy[mf.mo_occ > 0][:, None]
    assert np.sum(screening.metric(change) ** 2) == pytest.approx(
        np.sum(4 * (occupied.T @ change @ empty) ** 2 / gaps), rel=1e-6)


def test_it_is_set_up_only_where_it_pays(formamide, monkeypatch):
    assert near_the_solution(dft.RKS(formamide, xc="pbe")).dielectric is not None
    monkeypatch.setattr(module, "_SAVED_ITERATIONS", 0)
    assert near_the_solution(dft.RKS(formamide, xc="pbe")).dielectric is None
    mf = dft.RKS(formamide, xc="pbe")
    mf.max_memory = 0
    assert not Dielectric.pays(CheapProblem(mf))


def test_no_empty_orbitals():
    mf = two_level(dft.RKS(gto.M(atom="He", basis="sto-3g", verbose=0), xc="pbe"))
    assert mf.kernel() == pytest.approx(dft.RKS(mf.mol, xc="pbe").kernel(), abs=1e-9)
    assert mf.converged
