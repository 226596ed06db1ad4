"""Where runs end: PySCF's stability analysis, energies beside minao's and newton's, and what the runs said of it."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from benchmark_rows import FITTED, failed, row
from benchmark_runs import H2, HF_STO3G, OH, WATER, run
from conftest import broken_symmetry
from pyscf import scf

from pyscf_mlguess.benchmark import single_run
from pyscf_mlguess.benchmark.html import html
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.report import markdown
from pyscf_mlguess.benchmark.sections import level, sections
from pyscf_mlguess.benchmark.solvers import NEWTON
from pyscf_mlguess.benchmark.stability import is_stable
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.refusal import GuessRefused

STRETCHED = Molecule("H2_stretched", ("H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 2.5)))
HYDROGEN = Molecule("H", ("H",), ((0.0, 0.0, 0.0),), multiplicity=2)
LITHIUM = Molecule("Li", ("Li",), ((0.0, 0.0, 0.0),), multiplicity=2)
UNRESTRICTED = replace(HF_STO3G, unrestricted=True, stability=True)
STATES = FITTED | {"stability": True, "unrestricted": True}


def unrestricted(xc, dm):
    mf = replace(UNRESTRICTED, xc=xc, grid_level=1, basis="6-31g").mean_field(STRETCHED.mol("6-31g"))
    return mf.run(dm)


@pytest.mark.parametrize("xc", ["hf", "pbe"])
def test_the_saddle_of_stretched_hydrogen_is_seen(xc):
    mol = STRETCHED.mol("6-31g")
    symmetric = scf.hf.init_guess_by_minao(mol) / 2
    saddle, broken = unrestricted(xc, np.array([symmetric] * 2)), unrestricted(xc, broken_symmetry(mol))
    assert saddle.converged and broken.converged and saddle.e_tot > broken.e_tot + 0.01
    before = np.array(saddle.mo_coeff)
    assert is_stable(saddle) is False and is_stable(broken) is True
    assert np.array_equal(saddle.mo_coeff, before)
    # PySCF's analysis alone starts from a vector of the saddle's own symmetry.
    assert saddle.stability(return_status=True)[2]


@pytest.mark.parametrize("molecule", [H2, HYDROGEN, LITHIUM])
@pytest.mark.parametrize("basis", ["sto-3g", "6-31g"])
@pytest.mark.parametrize("settings", [{}, {"unrestricted": True}, {"restricted_open": True}, {"symmetry": True}])
def test_ground_states_are_stable_however_few_their_rotations(molecule, basis, settings):
    protocol = replace(HF_STO3G, basis=basis, stability=True, **settings)
    assert run(molecule, "minao", protocol)[0]["stable"] is True


@pytest.mark.parametrize("guess", ["minao", NEWTON, "two-level:minao"])
def test_stability_is_a_field_of_the_row_and_costs_no_builds(guess):
    protocol = Protocol(basis="sto-3g", grid_level=1)
    without, with_stability = (run(OH, guess, replace(protocol, stability=stability))[0] for stability in (False, True))
    assert without["stable"] is None and with_stability["stable"] in (True, False)
    assert without["scf_builds"] == with_stability["scf_builds"]


def test_what_did_not_converge_is_not_analysed():
    row, _ = run(WATER, "minao", replace(HF_STO3G, stability=True, max_cycle=2))
    assert row["stable"] is None and not row["converged"]


def test_a_failing_analysis_is_told_and_leaves_no_answer(monkeypatch):
    mf = scf.RHF(H2.mol("6-31g")).run()

    def fail(self, **kwargs):
        raise NotImplementedError("no second derivative")

    monkeypatch.setattr(type(mf), "stability", fail)
    with pytest.warns(RuntimeWarning, match="no stability analysis: NotImplementedError: no second derivative"):
        assert is_stable(mf) is None


def test_unrestricted_closed_shells():
    mf = UNRESTRICTED.mean_field(H2.mol("sto-3g"))
    assert isinstance(mf, scf.uhf.UHF)
    kohn_sham = replace(UNRESTRICTED, xc="pbe", density_fit=True)
    assert isinstance(kohn_sham.mean_field(H2.mol("def2-svp")), scf.uhf.UHF)
    assert isinstance(kohn_sham.coarse(H2.mol("def2-svp"), 0), scf.uhf.UHF)
    row, dm = run(H2, "minao", UNRESTRICTED)
    assert dm.shape == (2, 2, 2) and row["energy"] == pytest.approx(run(H2, "minao")[0]["energy"], abs=1e-8)
    assert "unrestricted=True, stability=True" in str(UNRESTRICTED)
    assert "stability" not in str(HF_STO3G) and "unrestricted" not in str(HF_STO3G)


@pytest.mark.parametrize("settings, message", [
    ({"restricted_open": True, "unrestricted": True}, "exclude each other"),
    ({"smearing": 0.01, "stability": True}, "whole occupations")])
def test_settings_that_exclude_each_other(settings, message):
    with pytest.raises(ValueError, match=message):
        replace(HF_STO3G, **settings).check()


def test_warnings_of_the_package_are_kept_with_their_kind(monkeypatch):
    def warn(mf, guess, start):
        for text, category in (("it ended on a saddle", GuessRefused), ("somebody else's", UserWarning)):
            warnings.warn(text, category)
        return mf.get_init_guess()

    monkeypatch.setattr(single_run, "initial_density", warn)
    row, _ = run(H2, "atom")
    assert row["warnings"] == ["GuessRefused: it ended on a saddle"] and row["refused"] == "it ended on a saddle"


def hand_made(**protocol):
    def made(*args, **other):
        return row(*args, **{"protocol": STATES | protocol, "stable": True, "warnings": []} | other)

    return [
        made("a", "minao", 10), made("b", "minao", 10, energy=-2.0), made("c", "minao", 50, energy=None, stable=None),
        made("a", NEWTON, 3, scf_builds=30), made("b", NEWTON, 3, energy=-2.1, scf_builds=40),
        made("c", NEWTON, 50, energy=None, scf_builds=300, stable=None),
        made("a", "two-level:minao", 1, energy=-1.0 + 2e-6, stable=False,
             warnings=["Saddle: the state is a saddle point"]),
        made("b", "two-level:minao", 1, energy=-2.0, stable=False),
        made("c", "two-level:minao", 1, energy=-3.0),
        failed("a", "atom", protocol=STATES | protocol), made("b", "atom", 8, energy=-2.1 - 2e-5),
    ]


def test_states_by_hand():
    rows = [row for row in hand_made() if row["guess"] != "atom"]
    minao, newton, two = sections(rows)[0].states
    assert (minao.converged, minao.runs, minao.common, minao.common_builds, minao.builds) == (2, 3, 2, 24, 76)
    assert (newton.common_builds, newton.builds) == (70, 370)  # a failed run counts all that it made
    assert (two.converged, two.common_builds, two.builds) == (3, 6, 9)
    assert (minao.higher, minao.lower, newton.higher, newton.lower, two.higher, two.lower) == (0, 0, 0, 1, 1, 0)
    assert (two.beside_newton, two.above_newton, two.below_newton) == (2, 1, 0)
    assert (two.analysed, two.saddles, two.warned) == (3, 2, 1) and (minao.analysed, minao.saddles) == (2, 0)


def test_states_with_gaps():
    *_, atom = sections(hand_made())[0].states
    assert (atom.runs, atom.converged, atom.common, atom.common_builds, atom.builds) == (2, 1, 1, 10, 62)
    assert (atom.lower, atom.beside_newton, atom.below_newton) == (1, 1, 1)
    assert sections([row("a", "minao", 10, protocol=STATES)])[0].states[0].beside_newton == 0
    assert sections([row("a", "atom", 10, protocol=STATES)])[0].states == []


def test_the_table_is_there_where_stability_was_asked_for():
    text = markdown(hand_made())
    assert "### States and convergence" in text and "builds (1 common)" in text
    assert "- a, two-level:minao: saddle, unstable by PySCF's analysis" in text
    assert "States and convergence" in html(hand_made())
    assert "States and convergence" not in markdown(hand_made(stability=False))
    assert level(STATES) == "PBE/def2-svp, density fitting, unrestricted"
