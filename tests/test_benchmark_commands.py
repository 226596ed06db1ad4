"""mlguess bench runs, resumes, reports and compares; what is wrong with its input is said, and the rest runs."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from benchmark_rows import row
from command_line import WATER, assert_clear_error, mlguess

from pyscf_mlguess.benchmark import suites
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.sets import set_name
from pyscf_mlguess.benchmark.suites import Part
from pyscf_mlguess.journal import append_row

HF = ("--xc", "hf", "--basis", "sto-3g", "--no-density-fit")


@pytest.fixture
def water(tmp_path):
    path = tmp_path / "water.xyz"
    path.write_text(WATER)
    return path


def test_bench_prints_and_writes_its_tables(water, tmp_path):
    arguments = ("bench", "--molecules", water, "--guess", "minao", "--guess", "atom", *HF,
                 "--output", tmp_path / "bench.jsonl", "--report", tmp_path / "bench.md", "--html", tmp_path / "b.html")
    result = mlguess(*arguments)
    assert result.exit_code == 0, result.output
    assert f"## 1. {set_name(water)}: HF/sto-3g" in result.output and "conv_tol=1e-09" in result.output
    assert (tmp_path / "bench.md").read_text().strip() in result.output
    page = (tmp_path / "b.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "<svg" in page
    rows = (tmp_path / "bench.jsonl").read_text()
    assert [json.loads(line)["guess"] for line in rows.splitlines()] == ["minao", "atom"]
    assert mlguess(*arguments).exit_code == 0
    assert (tmp_path / "bench.jsonl").read_text() == rows
    again = mlguess("bench", "report", tmp_path / "bench.jsonl")
    assert again.exit_code == 0 and again.output.strip() == (tmp_path / "bench.md").read_text().strip()


def test_bench_of_smiles(tmp_path):
    (tmp_path / "own.smi").write_text("O water\n")
    result = mlguess("bench", "--molecules", tmp_path / "own.smi", "--guess", "minao", *HF,
                     "--output", tmp_path / "bench.jsonl")
    assert result.exit_code == 0 and f"## 1. {set_name(tmp_path / 'own.smi')}: HF/sto-3g" in result.output


def test_bad_frames_are_named_and_the_rest_runs(water, tmp_path):
    water.write_text(WATER.replace("H 0 0.757", "H 0 0,757") + WATER)
    result = mlguess("bench", "--molecules", water, "--guess", "minao", *HF, "--output", tmp_path / "bench.jsonl")
    assert result.exit_code == 1
    assert "skipped: " in result.output and "water.xyz, line 4" in result.output and "0,757" in result.output
    assert "water_2" in (tmp_path / "bench.jsonl").read_text() and "## 1. water-" in result.output


def test_bench_with_bad_input(water, tmp_path):
    output = ("--output", tmp_path / "bench.jsonl")
    assert_clear_error(mlguess("bench", "--molecules", tmp_path / "none.xyz", *output), "none.xyz")
    assert_clear_error(mlguess("bench", "--molecules", water, "--guess", "minnao", *output), "minnao", "huckel")
    assert_clear_error(mlguess("bench", "--molecules", water, "--guess", "atom", "--xc", "pbee", *output), "pbee")
    assert_clear_error(mlguess("bench", "--suite", "slow", *output), "unknown suite 'slow'")
    assert_clear_error(mlguess("bench", "--suite", "quick", "--molecules", water, *output), "exclude each other")
    assert_clear_error(mlguess("bench", "--suite", "quick", "--xc", "pbe", *output), "--xc need --molecules")
    assert_clear_error(mlguess("bench", "--threads", 2, "--no-density-fit", *output), "--density-fit, --threads need")
    assert_clear_error(mlguess("bench", "--model", "none", *output), "no model is called 'none'")
    for option in ("--report", "--html"):
        assert_clear_error(mlguess("bench", "--molecules", water, option, tmp_path / "none" / "page", *output),
                           str(tmp_path / "none"))
    assert not (tmp_path / "bench.jsonl").exists()
    water.write_text(WATER.replace("H 0 0.757", "H 0 0,757"))
    assert_clear_error(mlguess("bench", "--molecules", water, "--guess", "atom", *output), "water.xyz, line 4", "0,757")


def test_results_go_to_the_cache_folder_by_default(water, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = mlguess("bench", "--molecules", water, "--guess", "minao", *HF)
    kept = tmp_path / "pyscf_mlguess" / "bench" / f"{set_name(water)}.jsonl"
    assert kept.is_file() and f"results are kept in {kept} (0 runs there)" in result.output


def test_files_of_the_same_name_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = [tmp_path / folder / "set.xyz" for folder in ("a", "b")]
    for path, bond in zip(files, ("0.70", "0.74")):
        path.parent.mkdir()
        path.write_text(f"2\n\nH 0 0 0\nH 0 0 {bond}\n")
    for path in files:
        result = mlguess("bench", "--molecules", path, "--guess", "minao", *HF)
        assert result.exit_code == 0 and "(0 runs there)" in result.output and "1 molecule." in result.output
    # In one file of results, too.
    both = mlguess("bench", *(part for path in files for part in ("--molecules", path)), "--guess", "minao", *HF,
                   "--output", tmp_path / "both.jsonl")
    assert len({json.loads(line)["set"] for line in (tmp_path / "both.jsonl").read_text().splitlines()}) == 2
    assert "## 2. set-" in both.output


def test_runs_of_a_file_are_found_again_when_it_has_grown(water, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("--guess", "minao", *HF, "--output", tmp_path / "bench.jsonl")
    assert mlguess("bench", "--molecules", water, *arguments).exit_code == 0
    rows = (tmp_path / "bench.jsonl").read_text()
    water.write_text(WATER + WATER.replace("0.757", "0.76"))
    assert mlguess("bench", "--molecules", "water.xyz", *arguments).exit_code == 0
    again = (tmp_path / "bench.jsonl").read_text()
    assert again.startswith(rows) and again.count("\n") == 2


def test_shipped_sets_keep_their_names():
    assert set_name("qm9_size") == "qm9_size"


def test_a_suite_runs_its_parts(tmp_path, monkeypatch):
    protocol = Protocol(basis="sto-3g", grid_level=0)
    part = Part("ions", protocol, ("minao", "ml"), limit=2, atoms=3)
    monkeypatch.setitem(suites.SUITES, "quick", (part, Part("ions", protocol, ("minao",), limit=1, atoms=3)))
    result = mlguess("bench", "--output", tmp_path / "bench.jsonl")
    assert result.exit_code == 0, result.output
    assert "ions: PBE/sto-3g" in result.output and "was trained on 0 of 1 molecules (0 unknown)" in result.output
    assert len((tmp_path / "bench.jsonl").read_text().splitlines()) == 2


def test_compare_of_two_files(tmp_path):
    for name, cycles in (("a", 10), ("b", 8)):
        append_row(tmp_path / f"{name}.jsonl", row("water", "ml", cycles, weights=8 * name))
    result = mlguess("bench", "compare", tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert result.exit_code == 0 and "0.833" in result.output and "aaaaaaaa" in result.output
    assert_clear_error(mlguess("bench", "compare", tmp_path / "a.jsonl", tmp_path / "c.jsonl"), "c.jsonl")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("jobs", [1, 2])
def test_resumes_after_sigkill(water, tmp_path, jobs):
    """The process dies in the middle; the second one makes the runs that are missing, and only these."""
    water.write_text("".join(WATER.replace("0.757", f"0.{757 + i}") for i in range(40)))
    output = tmp_path / "bench.jsonl"
    arguments = ("bench", "--molecules", water, "--guess", "minao", *HF, "--output", output)
    command = [sys.executable, "-c", "from pyscf_mlguess.cli import app; app()", *map(str, arguments),
               "--jobs", str(jobs)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=os.environ | {"OMP_NUM_THREADS": "1"})
    while process.poll() is None and not (output.exists() and output.stat().st_size > 10):
        time.sleep(0.01)
    process.kill()
    process.wait()
    time.sleep(jobs - 1)  # for the runs in flight of workers that have lost their parent
    kept = output.read_text()
    kept = kept[: kept.rfind("\n") + 1]
    assert 1 <= kept.count("\n") < 40
    assert mlguess(*arguments).exit_code == 0
    rows = output.read_text()
    assert rows.startswith(kept)
    assert sorted(json.loads(line)["molecule"] for line in rows.splitlines()) == sorted(
        f"water_{i}" for i in range(1, 41))
