"""The commands answer, and say clearly what was wrong with their input."""

import re
from pathlib import Path

import numpy as np
import pytest
from benchmark_runs import another_model
from command_line import WATER, assert_clear_error, mlguess
from pyscf import dft, gto

import pyscf_mlguess
from pyscf_mlguess.cli import guess as commands
from pyscf_mlguess.molecules.training_data import DATA

ROOT = Path(__file__).parents[1]
COMMANDS = ("demo", "predict", "info", "enable", "disable", "label", "select", "train", "bench", "timing")


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


def test_version():
    assert mlguess("--version").output.strip() == f"mlguess {pyscf_mlguess.__version__}"


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


@pytest.mark.parametrize("atoms, reason", [("H 0 0 0\nH 0 0 0.01", "on top of each other"),
                                           ("C 0 0 0\nC 0 0 1.24", "frontier gap")])
def test_predict_has_nothing_in_the_place_of_a_refused_guess(water, tmp_path, atoms, reason):
    water.write_text(f"2\n\n{atoms}\n")
    output = tmp_path / "guess.npz"
    result = mlguess("predict", water, "--output", output)
    assert_clear_error(result, f"{output} was not written", str(water), "refused", reason)
    assert "falling back" not in result.output and not output.exists()


@pytest.mark.parametrize("named", [False, True])
def test_predict_writes_what_guess_returns(water, tmp_path, named):
    other, output = another_model(tmp_path), tmp_path / "guess.out"
    result = mlguess("predict", water, "--basis", "sto-3g", "--xc", "b3lyp", "--output", output,
                     *(("--model", other) if named else ()))
    assert result.exit_code == 0, result.output
    mf = dft.RKS(gto.M(atom=str(water), basis="sto-3g", verbose=0), xc="b3lyp").density_fit()
    with np.load(output) as archive:
        assert archive["dm"] == pytest.approx(np.asarray(pyscf_mlguess.guess(mf, f"ml:{other}" if named else "ml")),
                                              abs=1e-8)
        assert np.einsum("ij,ji", archive["dm"], mf.get_ovlp()) == pytest.approx(10, abs=1e-8)
        assert list(archive["symbols"]) == ["O", "H", "H"]


def test_predict_prints_energy_and_dipole(water, tmp_path):
    result = mlguess("predict", water, "--basis", "sto-3g", "--output", tmp_path / "guess.npz")
    mf = dft.RKS(gto.M(atom=str(water), basis="sto-3g", verbose=0), xc="pbe").density_fit()
    found = pyscf_mlguess.energy(mf)
    energy, error = re.search(r"energy (-\d+\.\d+) Eh, right to some (\S+)", result.output).groups()
    assert float(energy) == pytest.approx(found.energy, abs=1e-6)
    assert float(error) == pytest.approx(found.energy_error, rel=0.5)
    dipole = re.search(r"dipole \[(.*)\] debye", result.output)[1].split()
    assert list(map(float, dipole)) == pytest.approx(found.dipole, abs=1e-3)


def test_predict_without_an_energy(water, tmp_path, monkeypatch):
    monkeypatch.setattr("pyscf_mlguess.guess_energy.energy", None)
    result = mlguess("predict", water, "--no-energy", "--output", tmp_path / "guess.npz")
    assert result.exit_code == 0 and "debye" not in result.output


def test_train_without_its_reference(tmp_path):
    result = mlguess("train", tmp_path / "none.h5", "--output", tmp_path / "model.safetensors")
    assert_clear_error(result, "none.h5")


def test_train_passes_its_paths_on(tmp_path, monkeypatch):
    training = pytest.importorskip("pyscf_mlguess.models.linear_density.training")
    calls = []
    monkeypatch.setattr(training, "train", lambda *given, **options: calls.append((*given, options)) or given[1])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    labels, output = [tmp_path / "first.h5", tmp_path / "second.h5"], tmp_path / "model.safetensors"
    cache = tmp_path / "pyscf_mlguess" / "metrics"
    result = mlguess("train", *labels, "--output", output, "--jobs", 1, "--size", "small", "--molecules", 50)
    assert result.exit_code == 0, result.output
    assert calls == [(labels, output, cache, {"jobs": 1, "size": "small", "molecules": 50})]
    assert str(cache) in result.output
    assert mlguess("train", "--output", output).exit_code == 0
    assert calls[1] == (sorted(DATA.glob("*.h5")), output, cache, {"jobs": 2, "size": "full", "molecules": None})
    assert_clear_error(mlguess("train", *labels, "--output", tmp_path / "model.pt"), "model.pt", ".safetensors")


@pytest.mark.parametrize("command", ["train", "select"])
def test_an_installed_package_finds_the_labels_of_a_clone(command, tmp_path, monkeypatch):
    """The wheel holds no labels: in a clone those of its folder are taken, elsewhere the error says what to do."""
    (tmp_path / "molecules.smi").write_text("O water\n")
    given = {"train": ("train", "--output", tmp_path / "model.safetensors"),
             "select": ("select", tmp_path / "molecules.smi", "--output", tmp_path / "next.xyz")}[command]
    monkeypatch.setattr("pyscf_mlguess.molecules.training_data.DATA", tmp_path / "site-packages")
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
    minao, refined, ml, two_level = re.findall(r"^(?:minao\S*|\S*ml\S*) +(\d+) +(-\d+\.\d+)", result.output, re.M)
    assert int(two_level[0]) < int(refined[0]) < int(minao[0]) and int(two_level[0]) < int(ml[0]) < int(minao[0])
    for _, energy in (refined, ml, two_level):
        assert float(energy) == pytest.approx(float(minao[1]), abs=1e-6)


def test_ci_runs_the_readmes_test_command():
    (pattern,) = re.findall(r"grep -m 1 -E -- '(.*)' README.md", (ROOT / ".ci" / "run").read_text())
    assert len(re.findall(pattern, (ROOT / "README.md").read_text(), re.M)) == 1
