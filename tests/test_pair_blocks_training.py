"""Training pair blocks: what it says when it cannot, and the command."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from command_line import assert_clear_error, mlguess
from small_pair_blocks import few_are_enough, label_file, label_of, labels, matrices, trained

from pyscf_mlguess.models import load_model
from pyscf_mlguess.models.pair_blocks import training
from pyscf_mlguess.molecules.label_files import write_labels
from pyscf_mlguess.predictions import DensityBlocks
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training import matrix_labels
from pyscf_mlguess.training.matrices import DENSITIES, matrices_path


def train(path, folder, target="density matrix", cache=None, **options):
    return training.train([path], folder / "model.safetensors", cache or folder / "matrices", target, jobs=1,
                          progress=False, **options)


def test_unknown_targets_and_sizes_are_named(tmp_path):
    with pytest.raises(ValueError, match="unknown target 'density-matrix'; there are density matrix, fock matrix, ex"):
        train(label_file(), tmp_path, "density-matrix")
    with pytest.raises(ValueError, match="unknown size 'huge'; there are small, medium, full"):
        train(label_file(), tmp_path, size="huge")


def test_labels_without_orbitals_are_told(tmp_path):
    some = tmp_path / "some.h5"
    write_labels(some, [label for label in labels() if label.smiles != "C=O"])
    with few_are_enough(), pytest.raises(ValueError, match="15 labels have orbitals at pbe/def2-svp and hf/def2-svp, "
                                                           "15 of them to train on, 0 to validate"):
        train(some, tmp_path)
    write_labels(some, [replace(label, orbitals={}) for label in labels()])
    with pytest.raises(ValueError, match="0 labels have orbitals .* mlguess label --orbitals"):
        train(some, tmp_path)
    one_level = [replace(label, orbitals={"pbe/def2-svp": label.orbitals["pbe/def2-svp"]}) for label in labels()]
    write_labels(some, one_level)
    with pytest.raises(ValueError, match="0 labels have orbitals"):
        train(some, tmp_path)
    assert not (tmp_path / "matrices").exists()


def test_labels_that_are_too_few_are_told(tmp_path, monkeypatch, caplog):
    path = tmp_path / "few.h5"
    write_labels(path, [label_of(name) for name in ("O-0.0", "C=O-0.0")])
    monkeypatch.setattr(matrix_labels, "split_of", lambda smiles: "validation" if smiles == "C=O" else "train")
    with pytest.raises(ValueError, match="0 geometries to train on and 0 to validate .* at least 30 atoms"):
        train(path, tmp_path)
    assert "1 of 1 training geometries are left out for what is not learned: H (2 atoms), O (1 atoms)" in caplog.text


def test_damaged_matrices_are_named(tmp_path):
    cache = tmp_path / "matrices"
    shutil.copytree(matrices(), cache)
    damaged = matrices_path(cache, label_of("O-0.0"), DENSITIES)
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    with few_are_enough(), pytest.raises(ValueError, match=f"{damaged.name}: damaged matrices"):
        train(label_file(), tmp_path, cache=cache, size="tiny")


def test_a_subset_of_molecules_is_trained_on(tmp_path):
    with few_are_enough():
        card = load_model(train(label_file(), tmp_path, "fock matrix", matrices(), size="tiny",
                                molecules=4)).card
    assert card["training"]["molecules"] == 4


def test_training_twice_gives_the_same_weights(tmp_path):
    with few_are_enough():
        first, second = (train(label_file(), tmp_path / name, "fock matrix", matrices(), size="tiny").read_bytes()
                         for name in ("a", "b"))
    assert first == second


def test_what_was_learned_is_more_than_free_atoms():
    for target in ("density matrix", "fock matrix"):
        losses = json.loads(trained(target).with_suffix(".json").read_text())["training"]["validation_loss"]
        assert set(losses) == {"base", "exact_exchange"} and all(loss < 1 for loss in losses.values())


def test_the_command_trains_pair_blocks(tmp_path):
    output = tmp_path / "pairs.safetensors"
    with few_are_enough():
        result = mlguess("train", label_file(), "--family", "pair-blocks", "--target", "density-matrix", "--size",
                         "tiny", "--jobs", 1, "--cache", matrices(), "--output", output)
    assert result.exit_code == 0, result.output
    assert f"wrote {output}" in result.output
    prediction = load_model(output).predict(Structure(np.array([8, 1]), np.eye(2, 3), 0, np.arange(2)))
    assert isinstance(prediction, DensityBlocks)


def test_the_command_says_what_is_wrong(tmp_path):
    bare, labelled = tmp_path / "bare.h5", label_file()
    output = "--output", tmp_path / "pairs.safetensors"
    assert_clear_error(mlguess("train", labelled, "--family", "pairs", *output), "unknown family 'pairs'",
                       "linear-density, pair-blocks")
    assert_clear_error(mlguess("train", labelled, "--family", "pair-blocks", "--target", "density", *output),
                       "unknown target 'density'", "density matrix, fock matrix, exchange")
    write_labels(bare, [replace(label, orbitals={}) for label in labels()])
    assert_clear_error(mlguess("train", bare, "--family", "pair-blocks", *output), "0 labels have orbitals")
