"""A suite loses and repeats no run, and what fails in it is counted and listed."""

import json
import re
import types
from dataclasses import replace

import numpy as np
import pytest
from benchmark_runs import H2, HF_STO3G, OH, WATER, run, run_all

from pyscf_mlguess import energy
from pyscf_mlguess.benchmark import guesses, runner, single_run
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.report import markdown
from pyscf_mlguess.benchmark.results import read_rows
from pyscf_mlguess.benchmark.summary import fock_builds, summarise
from pyscf_mlguess.journal import append_row
from pyscf_mlguess.molecules.molecule import Molecule

PATH = [Molecule(f"H2_{x}", H2.symbols, ((0.0, 0.0, 0.0), (0.0, 0.0, x)), path="stretch") for x in (0.74, 0.75, 0.76)]


def test_unconverged_counts_as_max_cycle_and_is_listed():
    protocol = Protocol(xc="hf", basis="sto-3g", density_fit=False, max_cycle=2)
    row, dm = run(WATER, "minao", protocol)
    assert dm is None and not row["converged"] and row["energy"] is None and row["cycles"] == 2
    assert len(row["curve"]) == 2 and row["wall"]["scf"] > 0
    assert row["scf_builds"] == 3 and fock_builds(row) == 4  # as of a run that converges in its second cycle
    assert summarise([row])[0].failures == 1
    assert "- water, minao: not converged in 2 cycles" in markdown([row])


def test_a_guess_that_raises_counts_as_max_cycle_and_is_listed(monkeypatch):
    def fail(mf, guess, start):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(single_run, "initial_density", fail)
    row, _ = run(WATER, "atom")
    assert fock_builds(row) == 52 and row["error"] == "RuntimeError: no such luck"
    assert "- water, atom: failed, RuntimeError: no such luck" in markdown([row | {"guess": "minao"}, row])


def test_resumes_after_a_kill_without_losing_or_repeating_a_run(tmp_path):
    output = tmp_path / "bench.jsonl"
    run_all([H2, WATER], ["minao", "atom"], output)
    before = output.read_text().splitlines()
    assert len(before) == 4
    output.write_text("\n".join(before)[:-30])  # as a kill within a write leaves it
    run_all([H2, WATER], ["minao", "atom", "huckel"], output)
    after = output.read_text().splitlines()
    assert after[:3] == before[:3]
    runs = sorted((row["molecule"], row["guess"]) for row in map(json.loads, after))
    assert runs == [(m, g) for m in ("H2", "water") for g in ("atom", "huckel", "minao")]


def test_a_finished_suite_runs_nothing(tmp_path, monkeypatch):
    output = tmp_path / "bench.jsonl"
    run_all([H2], ["minao"], output)
    monkeypatch.setattr(runner, "run_guess", lambda *_: pytest.fail("ran again"))
    run_all([H2], ["minao"], output)


def test_another_geometry_or_protocol_is_another_run(tmp_path):
    output = tmp_path / "bench.jsonl"
    moved = Molecule("H2", H2.symbols, ((0.0, 0.0, 0.0), (0.0, 0.0, 0.8)))
    for molecule, protocol in [(H2, HF_STO3G), (moved, HF_STO3G), (H2, Protocol(xc="hf", basis="sto-3g"))]:
        run_all([molecule], ["minao"], output, protocol)
    assert len(read_rows(output)) == 3


def test_retrained_weights_are_run_again(tmp_path, monkeypatch):
    output = tmp_path / "bench.jsonl"
    for digest, density in (("a", None), ("b", None), ("b", None), ("b", "c"), ("b", "d"), ("b", "d")):
        models = [one and types.SimpleNamespace(card={"sha256": one * 64}, density=None) for one in (digest, density)]
        models[0].density = models[1]
        monkeypatch.setattr(guesses, "load_model", lambda name, model=models[0]: model)
        run_all([H2], ["minao", "ml"], output)
    assert [s.guess for s in summarise(read_rows(output))] == [
        "minao", "ml [aaaaaaaa]", "ml [bbbbbbbb]", "ml [bbbbbbbb+cccccccc]", "ml [bbbbbbbb+dddddddd]"]


def test_changed_code_is_run_again_and_the_newest_run_counts(tmp_path, monkeypatch):
    output = tmp_path / "bench.jsonl"
    for digest in ("before", "after", "after"):
        monkeypatch.setattr(guesses, "digest_of_code", lambda digest=digest: digest)
        run_all([H2], ["minao", "ml"], output)
    rows = read_rows(output)
    assert [row["code"] for row in rows] == ["", "before", "after"]
    rows[1]["cycles"] = 99
    assert summarise(rows)[1].cycles == rows[2]["cycles"]


def test_jobs_give_the_same_rows(tmp_path):
    rows = []
    for jobs in (1, 2):
        output = tmp_path / f"{jobs}.jsonl"
        run_all([H2, WATER], ["minao"], output, jobs=jobs)
        rows.append(sorted((r["molecule"], r["cycles"], round(r["energy"], 8)) for r in read_rows(output)))
    assert rows[0] == rows[1]


def test_a_molecule_that_fails_does_not_end_the_suite(tmp_path):
    output = tmp_path / "bench.jsonl"
    collided = Molecule("collided", ("H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    run_all([collided, H2], ["minao"], output)
    failed, ran = read_rows(output)
    assert not failed["converged"] and failed["cycles"] == 50
    assert ran["converged"]


def test_nothing_runs_after_an_unknown_guess(tmp_path):
    with pytest.raises(ValueError, match="unknown guess"):
        run_all([H2], ["minao", "minao2"], tmp_path / "bench.jsonl")
    assert not (tmp_path / "bench.jsonl").exists()


@pytest.mark.parametrize("protocol, named", [
    (Protocol(xc="nonsense", basis="sto-3g"), "NONSENSE"), (Protocol(basis="nonsense"), "nonsense")])
def test_an_unknown_level_is_refused_before_anything_runs(tmp_path, protocol, named):
    with pytest.raises(ValueError, match=named):
        run_all([H2], ["minao"], tmp_path / "bench.jsonl", protocol)


def test_a_file_of_something_else_is_not_appended_to(tmp_path):
    output = tmp_path / "bench.jsonl"
    append_row(output, {"molecule": "H2"})
    with pytest.raises(ValueError, match="bench.jsonl, line 1"):
        read_rows(output)


def test_frames_of_a_path_start_from_the_one_before(tmp_path):
    output = tmp_path / "bench.jsonl"
    run_all(PATH, ["minao", "previous"], output)
    rows = read_rows(output)
    assert [r["molecule"] for r in rows if r["guess"] == "previous"] == ["H2_0.75", "H2_0.76"]
    errors = {r["molecule"]: r["initial_energy"] - r["energy"] for r in rows if r["guess"] == "previous"}
    assert all(r["error"] is None for r in rows) and max(map(abs, errors.values())) < 0.02
    energies = {r["molecule"]: r["energy"] for r in rows if r["guess"] == "minao"}
    assert energies["H2_0.75"] == pytest.approx(
        next(r["energy"] for r in rows if r["guess"] == "previous" and r["molecule"] == "H2_0.75"), abs=1e-8)


def test_a_path_resumes_in_its_middle(tmp_path):
    output, whole = tmp_path / "bench.jsonl", tmp_path / "whole.jsonl"
    run_all(PATH, ["minao", "previous"], whole)
    lines = whole.read_text().splitlines(keepends=True)
    output.write_text("".join(lines[:2]))
    run_all(PATH, ["minao", "previous"], output)

    def results(path):
        return [(r["molecule"], r["guess"], r["cycles"], round(r["initial_energy"], 7)) for r in read_rows(path)]

    assert results(output) == results(whole)


def test_a_scanner_walks_a_path_and_its_first_step_is_left_out(tmp_path):
    output = tmp_path / "bench.jsonl"
    protocol = Protocol(basis="sto-3g", grid_level=0, scanner=True)
    run_all(PATH, ["minao", "two-level:minao"], output, protocol)
    rows = read_rows(output)
    assert [(r["molecule"], r["guess"]) for r in rows] == [
        (frame.name, guess) for guess in ("minao", "two-level:minao") for frame in PATH[1:]]
    assert all(r["error"] is None and r["converged"] and r["integrals"] == "density-fitted" for r in rows)
    for row in rows:
        alone, _ = run(next(m for m in PATH if m.name == row["molecule"]), "minao", replace(protocol, scanner=False))
        assert row["energy"] == pytest.approx(alone["energy"], abs=1e-8)
        assert row["initial_energy"] - row["energy"] < 0.1 * (alone["initial_energy"] - alone["energy"])
        assert fock_builds(row) > 1
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join(lines[:3]))
    run_all(PATH, ["minao", "two-level:minao"], output, protocol)
    again = read_rows(output)[-1]
    assert (again["molecule"], again["guess"]) == ("H2_0.76", "two-level:minao")
    assert fock_builds(again) == fock_builds(rows[-1])


def test_a_scanner_starts_from_what_pyscf_can_be_asked_for(tmp_path):
    with pytest.raises(ValueError, match="'exact-fit': a scanner starts from minao"):
        run_all(PATH, ["minao", "exact-fit"], tmp_path / "bench.jsonl", Protocol(scanner=True))
    with pytest.raises(ValueError, match="a scanner needs frames of a path"):
        run_all([H2], ["minao"], tmp_path / "bench.jsonl", Protocol(scanner=True))


def test_what_the_energy_lacks_at_the_stop():
    protocol = Protocol(xc="hf", basis="sto-3g", density_fit=False, conv_tol=1e-5, converge_on=True)
    row, _ = run(WATER, "minao", protocol)
    exact, _ = run(WATER, "minao", replace(protocol, conv_tol=1e-12, converge_on=False))
    assert row["energy_lacking"] == pytest.approx(row["energy"] - exact["energy"], abs=1e-11)
    assert row["energy_lacking"] > 1e-11 and row["energy_estimate"] is None and exact["energy_lacking"] is None
    two, _ = run(WATER, "two-level:minao", Protocol(basis="sto-3g", grid_level=0, converge_on=True))
    assert 0 <= two["energy_estimate"] < 1e-9 and abs(two["energy_lacking"]) < 1e-9
    assert two["scf_builds"] < 5  # what shows the error is not the run's own


@pytest.mark.parametrize("molecule, guess", [(WATER, "ml"), (OH, "minao+refine")])
def test_energies_of_guesses_without_their_scf(molecule, guess):
    protocol = Protocol(xc="pbe", basis="def2-svp", grid_level=1)
    ran, _ = run(molecule, guess, protocol)
    row, dm = run(molecule, guess, replace(protocol, without_scf=True))
    minao, _ = run(molecule, "minao", replace(protocol, without_scf=True))
    assert minao["converged"] and minao["dipole"] and dm is None
    assert (row["converged"], row["energy"], row["dipole"], row["error"], row["cycles"]) == (None, None, None, None, 0)
    assert row["guess_builds"] + row["scf_builds"] == 1
    found = energy(protocol.mean_field(molecule.mol("def2-svp")), guess)
    for name, value in (("initial_energy", found.energy), ("initial_energy_error", found.energy_error),
                        ("initial_dipole", found.dipole), ("initial_dipole_error", found.dipole_error)):
        assert row[name] == pytest.approx(value, rel=1e-3, abs=1e-5)
        # An SCF of open shells starts from what a Fock matrix has corrected.
        assert guess != "ml" or ran[name] == pytest.approx(value, rel=1e-3, abs=1e-5)
    assert ran["initial_energy"] < found.energy + 1e-8
    assert (ran["guess_builds"], ran["initial_energy_error"] < 0.1 * found.energy_error) == (
        (0, False) if guess == "ml" else (1, True))
    assert ran["dipole"] == pytest.approx(minao["dipole"], abs=1e-3)


def test_results_of_earlier_versions_are_read(tmp_path):
    output = tmp_path / "bench.jsonl"
    run_all([H2], ["minao"], output)
    (now,) = read_rows(output)
    old = json.loads(output.read_text())
    for name in ("resident_mb", "energy_estimate", "energy_lacking", "stable", "warnings", "dipole", "initial_dipole",
                 "initial_energy_error", "initial_dipole_error"):
        del old[name]
    for name in ("max_memory", "smearing", "symmetry", "restricted_open", "unrestricted", "generalised", "x2c",
                 "scanner", "converge_on", "stability", "without_scf"):
        del old["protocol"][name]
    del old["wall"]["build"], old["cpu"]["build"]
    output.write_text(json.dumps(old) + "\n")
    (before,) = read_rows(output)
    assert fock_builds(before) == fock_builds(now) and before["protocol"] == now["protocol"]
    text = markdown([before])
    assert not re.search(r"\bnan\b|Memory|without an SCF", text)
    run_all([H2], ["minao"], output)
    assert len(read_rows(output)) == 1


@pytest.mark.parametrize("settings, expected", [
    ({"restricted_open": True}, "ROKS"), ({"smearing": 0.01}, "Smearing"), ({"symmetry": True}, "SymAdapted"),
    ({"generalised": True}, "GKS"), ({"generalised": True, "x2c": True}, "X2C"), ({"x2c": True}, "sfX2C1e")])
def test_protocols_make_the_objects_they_say(settings, expected):
    mol = OH.mol("sto-3g")
    mf = Protocol(basis="sto-3g", max_memory=1234, **settings).mean_field(mol)
    assert expected in type(mf).__name__ and mf.max_memory == mf.with_df.max_memory == 1234
    assert mf.with_df._cderi is not None
    assert Protocol(basis="sto-3g", max_memory=1).mean_field(mol).with_df._cderi is None


@pytest.mark.parametrize("x2c", [False, True])
def test_spinors_are_measured_but_for_the_estimate_of_their_energy(tmp_path, x2c):
    protocol = Protocol(xc="hf", basis="sto-3g", generalised=True, x2c=x2c)
    run_all([OH], ["minao", "ml"], tmp_path / "bench.jsonl", protocol)
    for row in read_rows(tmp_path / "bench.jsonl"):
        assert row["converged"] and row["error"] is None and row["initial_energy_error"] is None
        assert row["initial_gradient"] > 0 and len(row["dipole"]) == 3


def test_previous_needs_a_path(tmp_path):
    with pytest.raises(ValueError, match="needs frames of a path, and small has none"):
        run_all([H2], ["minao", "previous"], tmp_path / "bench.jsonl")


def test_oracles_run_when_minao_is_there_already(tmp_path):
    output = tmp_path / "bench.jsonl"
    run_all([WATER], ["minao"], output)
    run_all([WATER], ["minao", "converged"], output)
    minao, oracle = read_rows(output)
    assert oracle["cycles"] == 1 < minao["cycles"] and np.isclose(oracle["energy"], minao["energy"], atol=1e-9)
