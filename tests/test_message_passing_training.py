"""Training networks: that it learns, goes on after a kill, and what it says when it cannot."""

import csv
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from command_line import assert_clear_error, mlguess
from small_pair_blocks import label_file, label_of, matrices
from small_pair_blocks import trained as pair_blocks

torch = pytest.importorskip("torch")
pytest.importorskip("e3nn")

from small_message_passing import EPOCHS, SETTINGS, small, trained  # noqa: E402

from pyscf_mlguess.block_irreps import BlockBasis  # noqa: E402
from pyscf_mlguess.blocks import Sites  # noqa: E402
from pyscf_mlguess.models import load_model  # noqa: E402
from pyscf_mlguess.models.message_passing import design, loop, training  # noqa: E402
from pyscf_mlguess.models.message_passing.model import channels_of  # noqa: E402
from pyscf_mlguess.models.message_passing.network import build  # noqa: E402
from pyscf_mlguess.models.pair_blocks.design import Layout  # noqa: E402
from pyscf_mlguess.molecules.training_data import DATA  # noqa: E402
from pyscf_mlguess.training import matrix_labels  # noqa: E402


def train(output, target="fock matrix", linear=None, epochs=2, **options):
    with small():
        return training.train([label_file()], output, matrices(), target, **{
            "jobs": 1, "size": "tiny", "linear": linear, "epochs": epochs, "progress": False} | options)


def losses(path):
    card = load_model(path).card["training"]
    return card["validation_loss_before"], card["validation_loss"]


def test_a_network_alone_learns():
    before, after = losses(trained("fock matrix", False))
    assert before == {"base": 1.0, "exact_exchange": 1.0} and all(loss < 1 for loss in after.values())
    log = list(csv.DictReader(trained("fock matrix", False).with_suffix(".csv").open()))
    seen = [float(row["training"]) for row in log]
    assert len(log) == EPOCHS and seen == sorted(seen, reverse=True) and seen[-1] < 0.9 * seen[0]
    assert not list(trained("fock matrix", False).parent.glob("*.checkpoint*"))


@pytest.mark.parametrize("target", ["fock matrix", "density"])
def test_a_linear_model_is_not_made_worse(target):
    before, after = losses(trained(target))
    log = list(csv.DictReader(trained(target).with_suffix(".csv").open()))
    assert float(log[-1]["training"]) < float(log[0]["training"])
    assert before.keys() == after.keys()
    assert np.prod(list(after.values())) <= np.prod(list(before.values())) < 1


def test_the_same_seed_gives_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # a GPU adds in any order
    first, second, other = (train(tmp_path / f"{name}.safetensors", seed=seed, epochs=1).read_bytes()
                            for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first == second != other


def test_a_killed_training_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    whole = train(tmp_path / "whole.safetensors", epochs=3).read_bytes()
    path, write = tmp_path / "killed.safetensors", loop.write_progress

    def killed(*arguments):
        write(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "write_progress", killed)
        train(path, epochs=3)
    assert not path.exists()
    with pytest.raises(ValueError, match="killed.checkpoint.safetensors was written by .* with other .*delete"):
        train(path, epochs=3, seed=1)
    assert train(path, epochs=3).read_bytes() == whole
    epochs = [row["epoch"] for row in csv.DictReader(path.with_suffix(".csv").open())]
    assert epochs == ["0", "1", "2"] and not path.with_suffix(".checkpoint.safetensors").exists()


def test_it_ends_when_nothing_gets_better(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_validated", lambda *arguments: {"base": 0.0})  # the same always
    monkeypatch.setattr(training, "LoopSettings", lambda **options: loop.LoopSettings(patience=2, **options))
    path = train(tmp_path / "early.safetensors", epochs=9)
    assert load_model(path).card["training"]["epochs"] == 3  # epochs 0 to 2


def test_two_processes_find_the_same_as_one(tmp_path):
    """By the command of the family's README, and so without anything patched: labels of the repository."""
    labels = DATA / "small_molecules.h5"
    if not labels.is_file():
        pytest.skip("needs the labels of a clone")
    arguments = ("train", labels, "--family", "message-passing", "--target", "density", "--molecules", 48, "--size",
                 "small", "--epochs", 2, "--jobs", 1, "--cache", tmp_path / "metrics", "--output")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "--no-python")
    root = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run([*map(str, torchrun), Path(sysconfig.get_path("scripts"), "mlguess"),
                          *map(str, arguments), tmp_path / "two.safetensors"], capture_output=True, text=True,
                         env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    result = mlguess(*arguments, tmp_path / "one.safetensors")
    assert result.exit_code == 0, result.output
    one, two = (list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in ("one", "two"))
    assert len(one) == len(two) == 2 and float(one[1]["training"]) < float(one[0]["training"])
    for row, other in zip(one, two):
        for column in row.keys() - {"seconds"}:
            assert float(other[column]) == pytest.approx(float(row[column]), rel=1e-3), column


AXES = ["base", "exact_exchange"]


def samples_of(target, *names):
    """Labels, samples and the layout of their vectors."""
    labels = [label_of(name) for name in names]
    elements = sorted({int(z) for label in labels for z in label.numbers})
    sites = [Sites.of(matrix_labels.structure_of(label), SETTINGS.reach) for label in labels]
    return (labels, design.matrix_samples(labels, elements, SETTINGS, target, AXES, matrices(), None, progress=False),
            Layout(BlockBasis.of(elements, "def2-svp"), sites))


@pytest.mark.parametrize("target", ["density matrix", "fock matrix"])
def test_losses_are_those_of_least_squares(target):
    labels, samples, layout = samples_of(target, "NC=O-0.06", "O-0.0")
    random = np.random.default_rng(0)
    for k, axis in enumerate(AXES):
        wanted, metrics = matrix_labels.targets_and_metrics(labels, layout, matrices(), SETTINGS.reach,
                                                            *matrix_labels.AXES[target][axis],
                                                            target == "density matrix")
        for sample, metric, start, stop in zip(samples, metrics, layout.offsets, layout.offsets[1:]):
            metric.scaled(wanted[start:stop])
            vectors = random.normal(size=sample.targets.shape).astype(np.float32)
            error = vectors[k] - wanted[start:stop]
            loss = sample.losses(torch.from_numpy(vectors))[k]
            assert loss == pytest.approx(float(error @ (metric @ error)), rel=1e-4)
            assert sample.losses(torch.zeros_like(sample.targets))[k] == pytest.approx(1.0, rel=1e-4)


def test_molecules_side_by_side_do_not_see_each_other():
    labels, samples, _ = samples_of("density matrix", "NC=O-0.06", "O-0.0", "NC=O-0.12", "C#N-0.06")
    elements = sorted({int(z) for label in labels for z in label.numbers})
    card = {"block_elements": elements, "basis": "def2-svp", "target": "density matrix"}
    network = build(SETTINGS, elements, channels_of(card), AXES)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 4)
    together = loop.losses_of(network, samples)
    for axis in AXES:
        alone = torch.cat([loop.losses_of(network, [sample])[axis] for sample in samples])
        assert torch.allclose(together[axis], alone, rtol=1e-4) and len(set(alone.tolist())) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_learns_the_same(tmp_path, monkeypatch):
    gpu = train(tmp_path / "gpu.safetensors", epochs=3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    processor = train(tmp_path / "cpu.safetensors", epochs=3)
    one, two = (list(csv.DictReader(path.with_suffix(".csv").open())) for path in (gpu, processor))
    for row, other in zip(one, two, strict=True):
        for column in row.keys() - {"seconds"}:
            assert float(other[column]) == pytest.approx(float(row[column]), rel=1e-2), column


def test_what_cannot_be_learned_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="unknown target 'energy'; there are density matrix, .*, density"):
        train(path, "energy")
    with pytest.raises(ValueError, match="unknown size 'huge'; there are small, medium, full"):
        train(path, size="huge")
    with pytest.raises(ValueError, match="linear-ace-3 is of the family linear-density .*corrects one of pair-blocks"):
        train(path, linear="linear-ace-3")
    with pytest.raises(ValueError, match="target 'density matrix'; a network of the target 'fock matrix' corrects"):
        train(path, linear=pair_blocks("density matrix"))


def test_the_command_trains_a_network(tmp_path):
    output = tmp_path / "network.safetensors"
    arguments = ("train", label_file(), "--family", "message-passing", "--target", "fock-matrix", "--cache", matrices(),
                 "--jobs", 1, "--size", "tiny", "--output", output)
    with small():
        result = mlguess(*arguments, "--linear", pair_blocks("fock matrix"), "--epochs", 1, "--seed", 3)
    assert result.exit_code == 0, result.output
    card = load_model(output).card
    assert (card["training"]["epochs"], card["training"]["seed"]) == (1, 3)
    assert Path(card["linear"]) == pair_blocks("fock matrix")
    assert_clear_error(mlguess(*arguments, "--linear", "linear-ace-3"), "unknown size 'tiny'")


def test_the_rate_grows_with_the_batch_warms_up_and_ends_at_nothing():
    for batch, largest in ((1, 0.5), (4, 1.0), (9, 1.5), (16, 2.0), (64, 2.0)):
        settings = loop.LoopSettings(batch=batch, rate=3e-3, warm_up=0.1)
        rates = [loop._rate(settings, done) for done in np.linspace(0, 1, 201)]
        assert max(rates) == pytest.approx(largest * 3e-3) and np.argmax(rates) == 20
        assert rates[0] < 1e-4 and rates[-1] < 1e-9
