"""PySCF's own solvers beside the guesses: set up as they say, every build of theirs counted."""

from dataclasses import replace

import pytest
from benchmark_runs import H2, HF_STO3G, OH, WATER, run
from pyscf import df
from pyscf.scf import hf

from pyscf_mlguess.benchmark.guesses import check_guess, code_of, source_of
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.solvers import NEWTON, SOLVERS
from pyscf_mlguess.benchmark.summary import fock_builds, summarise

FITTED = Protocol(basis="sto-3g", grid_level=1)


@pytest.fixture
def contractions(monkeypatch):
    """Counts where J, and K with it, really are made: of the fitting tensor and of integrals in memory."""
    made = []

    def counted(function):
        return lambda *args, **kwargs: made.append(function.__name__) or function(*args, **kwargs)

    monkeypatch.setattr(df.DF, "get_jk", counted(df.DF.get_jk))
    monkeypatch.setattr(hf, "dot_eri_dm", counted(hf.dot_eri_dm))
    return made


@pytest.mark.parametrize("guess", ["minao", *SOLVERS])
@pytest.mark.parametrize("xc", ["hf", "pbe", "pbe0"])
@pytest.mark.parametrize("molecule, density_fit, settings", [
    (WATER, True, {}), (WATER, False, {}), (WATER, True, {"unrestricted": True}), (OH, True, {}), (OH, False, {}),
    (OH, True, {"restricted_open": True})])
def test_every_j_is_a_build(contractions, guess, xc, molecule, density_fit, settings):
    row, _ = run(molecule, guess, replace(FITTED, xc=xc, density_fit=density_fit, **settings))
    assert row["converged"] and row["error"] is None and row["guess_builds"] == 0
    assert row["integrals"] == ("density-fitted" if density_fit else "in-core")
    assert row["scf_builds"] == len(contractions)


def test_newton_counts_its_micro_iterations_and_has_cycles():
    minao, newton = (run(WATER, guess, FITTED)[0] for guess in ("minao", NEWTON))
    assert 1 < newton["cycles"] == len(newton["curve"]) < minao["cycles"]
    # The guess's own, one of its orbitals, and in each macro-iteration one and at least two micro-iterations.
    assert newton["scf_builds"] >= 2 + 3 * newton["cycles"]
    assert newton["curve"][-1][0] == pytest.approx(newton["energy"], abs=1e-8)
    assert newton["wall"]["build"] > 0


def test_a_range_separated_micro_iteration_is_one_build():
    one, two = (run(WATER, NEWTON, replace(FITTED, xc=xc))[0] for xc in ("pbe0", "camb3lyp"))
    assert two["error"] is None and abs(two["scf_builds"] - one["scf_builds"]) < 4


@pytest.mark.parametrize("guess", SOLVERS)
def test_solvers_start_from_minao_and_end_where_it_does(guess):
    row, dm = run(OH, guess, HF_STO3G)
    minao, expected = run(OH, "minao", HF_STO3G)
    assert row["energy"] == pytest.approx(minao["energy"], abs=1e-7) and dm.shape == expected.shape
    assert row["initial_energy"] == (None if guess == NEWTON else minao["initial_energy"])
    assert row["weights"] == row["code"] == "" and row["curve"] != minao["curve"]
    assert summarise([minao, row])[1].ratio_of_sums.value == fock_builds(row) / fock_builds(minao)


@pytest.mark.parametrize("guess, attribute, value", [
    ("solver:level-shift", "level_shift", 0.2), ("solver:damping", "diis_damp", 0.5)])
def test_solvers_are_set_as_they_say(guess, attribute, value):
    plain = FITTED.mean_field(H2.mol("sto-3g"))
    assert getattr(plain, attribute) == 0 and getattr(SOLVERS[guess](plain), attribute) == value


def test_a_failed_newton_counts_the_builds_that_it_made():
    row, _ = run(OH, NEWTON, replace(FITTED, max_cycle=1, conv_tol=1e-14))
    assert not row["converged"] and row["cycles"] == 1
    assert fock_builds(row) == row["scf_builds"] > 3


def test_names_of_solvers():
    for guess in SOLVERS:
        check_guess(guess, FITTED)
        assert source_of(guess) == guess and code_of(guess) == ""
    for guess in ("two-level:solver:newton", "one-build:solver:newton", "solver:newton+refine"):
        with pytest.raises(ValueError, match="a solver of PySCF starts from minao; name 'solver:newton' alone"):
            check_guess(guess, FITTED)
    with pytest.raises(ValueError, match="unknown guess 'solver:trah'; known are .*solver:newton"):
        check_guess("solver:trah", FITTED)
    with pytest.raises(ValueError, match="a scanner starts from"):
        check_guess(NEWTON, replace(FITTED, scanner=True))
