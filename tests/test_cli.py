"""The commands answer, and say clearly what was wrong with their input."""

import re
from pathlib import Path

import numpy as np
import pytest
from command_line import WATER, assert_clear_error, mlguess

import pyscf_mlguess
from pyscf_mlguess import cli

ROOT = Path(__file__).parents[1]
COMMANDS = ("demo", "predict", "info", "train", "bench", "timing")


@pytest.fixture
def water(tmp_path):
    path = tmp_path / "water.xyz"
    path.write_text(WATER)
    return path


def test_help_lists_every_command():
    result = mlguess("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command):
    assert mlguess(command, "--help").exit_code == 0


def test_timing_of_small_molecules_only(water):
    assert_clear_error(mlguess("timing", "--molecules", water), "20 atoms")


def test_predict_with_bad_input(water, tmp_path):
    output = ("--output", tmp_path / "guess.npz")
    assert_clear_error(mlguess("predict", tmp_path / "none.xyz", *output), "none.xyz")
    assert_clear_error(mlguess("predict", water, "--basis", "nonsense", *output), "nonsense")
    water.write_text(WATER.replace("charge=0", "charge=1"))
    assert_clear_error(mlguess("predict", water, *output), "water.xyz, line 2", "9 electrons")
    water.write_text(WATER + WATER)
    assert_clear_error(mlguess("predict", water, *output), "expected one molecule, found 2")
    assert not (tmp_path / "guess.npz").exists()


def test_predict_does_not_write_a_refused_guess(water, tmp_path):
    water.write_text("2\n\nH 0 0 0\nH 0 0 0.01\n")
    result = mlguess("predict", water, "--output", tmp_path / "guess.npz")
    assert_clear_error(result, "refused", "on top of each other")
    assert not (tmp_path / "guess.npz").exists()


def test_predict_writes_what_guess_returns(water, tmp_path, monkeypatch):
    def identity(mf, model):
        assert model == "ml:mine" and mf.xc == "b3lyp"
        return np.eye(mf.mol.nao)

    monkeypatch.setattr(pyscf_mlguess, "guess", identity)
    result = mlguess("predict", water, "--basis", "sto-3g", "--xc", "b3lyp", "--model", "mine",
                     "--output", tmp_path / "guess.npz")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "guess.npz") as archive:
        assert np.array_equal(archive["dm"], np.eye(7))
        assert list(archive["symbols"]) == ["O", "H", "H"]


def test_train_without_its_reference(tmp_path):
    result = mlguess("train", tmp_path / "none.h5", "--output", tmp_path / "model.safetensors")
    assert_clear_error(result, "none.h5")


def test_train_passes_its_paths_on(tmp_path, monkeypatch):
    training = pytest.importorskip("pyscf_mlguess.training.train")
    calls = []
    monkeypatch.setattr(training, "train", lambda *paths, jobs: calls.append((paths, jobs)) or paths[1])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    reference, output = tmp_path / "reference.h5", tmp_path / "model.safetensors"
    reference.touch()
    result = mlguess("train", reference, "--output", output, "--jobs", 1)
    assert result.exit_code == 0, result.output
    assert calls == [((reference, output, tmp_path / "pyscf_mlguess"), 1)]
    assert str(tmp_path / "pyscf_mlguess") in result.output
    assert_clear_error(mlguess("train", reference, "--output", tmp_path / "model.pt"), "model.pt", ".safetensors")


def test_info_prints_the_card():
    result = mlguess("info")
    assert result.exit_code == 0, result.output
    for key in pyscf_mlguess.load_model().card:
        assert f"{key}: " in result.output


def test_info_of_an_unknown_model():
    assert_clear_error(mlguess("info", "no_such_model"), "no_such_model")


def test_demo_compares_with_minao(water, monkeypatch):
    monkeypatch.setattr(cli, "_DEMO_SET", water)
    result = mlguess("demo")
    assert result.exit_code == 0, result.output
    minao, ml, refined, two_level = re.findall(r"^(?:minao|\S*ml\S*) +(\d+) +(-\d+\.\d+)", result.output, re.M)
    assert int(two_level[0]) < int(refined[0]) < int(ml[0]) <= int(minao[0])
    for _, energy in (ml, refined, two_level):
        assert float(energy) == pytest.approx(float(minao[1]), abs=1e-6)


def test_ci_runs_the_readmes_test_command():
    (pattern,) = re.findall(r"grep -m 1 -E -- '(.*)' README.md", (ROOT / ".ci" / "run").read_text())
    assert len(re.findall(pattern, (ROOT / "README.md").read_text(), re.M)) == 1
