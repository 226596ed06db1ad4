"""The commands answer, and say clearly what was wrong with their input."""

import re
from pathlib import Path

import numpy as np
import pytest
from command_line import WATER, assert_clear_error, mlguess

import pyscf_mlguess
from pyscf_mlguess.cli import guess as commands
from pyscf_mlguess.labels import DATA

ROOT = Path(__file__).parents[1]
COMMANDS = ("demo", "predict", "info", "label", "select", "train", "bench", "timing")


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
    training = pytest.importorskip("pyscf_mlguess.models.linear_density.training")
    calls = []
    monkeypatch.setattr(training, "train", lambda *given: calls.append(given) or given[1])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    labels, output = [tmp_path / "first.h5", tmp_path / "second.h5"], tmp_path / "model.safetensors"
    cache = tmp_path / "pyscf_mlguess" / "metrics"
    result = mlguess("train", *labels, "--output", output, "--jobs", 1, "--size", "small", "--molecules", 50)
    assert result.exit_code == 0, result.output
    assert calls == [(labels, output, cache, 1, "small", 50)] and str(cache) in result.output
    assert mlguess("train", "--output", output).exit_code == 0
    assert calls[1] == (sorted(DATA.glob("*.h5")), output, cache, 2, "full", None)
    assert_clear_error(mlguess("train", *labels, "--output", tmp_path / "model.pt"), "model.pt", ".safetensors")


@pytest.mark.parametrize("command", ["train", "select"])
def test_an_installed_package_finds_the_labels_of_a_clone(command, tmp_path, monkeypatch):
    """The wheel holds no labels: in a clone those of its folder are taken, elsewhere the error says what to do."""
    (tmp_path / "molecules.smi").write_text("O water\n")
    given = {"train": ("train", "--output", tmp_path / "model.safetensors"),
             "select": ("select", tmp_path / "molecules.smi", "--output", tmp_path / "next.xyz")}[command]
    monkeypatch.setattr("pyscf_mlguess.labels.DATA", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    assert_clear_error(mlguess(*given), "site-packages", "start the command in a clone of the repository")
    clone = tmp_path / "pyscf_mlguess" / "labels" / "data"
    clone.mkdir(parents=True)
    (clone / "one.h5").write_text("no labels")
    # That file is opened, then.
    assert_clear_error(mlguess(*given), f"{clone / 'one.h5'}: not an HDF5 file")


def test_select_writes_the_molecules_to_label_next(tmp_path, monkeypatch):
    from pyscf_mlguess.molecules.xyz import read_xyz

    selection = pytest.importorskip("pyscf_mlguess.training.selection")
    monkeypatch.setattr(selection, "choose", lambda candidates, labels, count: candidates[-count:])
    candidates, output = tmp_path / "candidates.smi", tmp_path / "next.xyz"
    candidates.write_text("O water\nnonsense bad\nC methane\nN ammonia\n")
    known = DATA / "small_molecules.h5"
    result = mlguess("select", candidates, "--labels", known, "--count", 2, "--output", output)
    assert result.exit_code == 1 and "wrote 2 molecules" in result.output
    assert f"skipped: {candidates}, line 2: RDKit cannot read the SMILES 'nonsense'" in result.output
    assert [molecule.name for molecule in read_xyz(output)] == ["methane", "ammonia"]


def test_info_prints_the_card():
    result = mlguess("info")
    assert result.exit_code == 0, result.output
    for key in pyscf_mlguess.load_model().card:
        assert f"{key}: " in result.output


def test_info_of_an_unknown_model():
    assert_clear_error(mlguess("info", "no_such_model"), "no_such_model")


def test_demo_compares_with_minao(water, monkeypatch):
    monkeypatch.setattr(commands, "_DEMO_SET", water)
    result = mlguess("demo")
    assert result.exit_code == 0, result.output
    minao, ml, refined, two_level = re.findall(r"^(?:minao|\S*ml\S*) +(\d+) +(-\d+\.\d+)", result.output, re.M)
    assert int(two_level[0]) < int(refined[0]) <= int(ml[0]) < int(minao[0])
    for _, energy in (ml, refined, two_level):
        assert float(energy) == pytest.approx(float(minao[1]), abs=1e-6)


def test_ci_runs_the_readmes_test_command():
    (pattern,) = re.findall(r"grep -m 1 -E -- '(.*)' README.md", (ROOT / ".ci" / "run").read_text())
    assert len(re.findall(pattern, (ROOT / "README.md").read_text(), re.M)) == 1
