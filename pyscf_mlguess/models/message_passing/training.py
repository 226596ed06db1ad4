"""Labels -> a trained network, of matrices or of the density."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from pyscf_mlguess.density_fitting.auxiliary_basis import AUXBASIS
from pyscf_mlguess.models import load_model, save_model
from pyscf_mlguess.models.linear_density.compression import principal_components
from pyscf_mlguess.models.linear_density.training import labels_with_densities
from pyscf_mlguess.models.message_passing.design import (
    DENSITY_AXES,
    density_samples,
    matrix_samples,
    rows_of,
)
from pyscf_mlguess.models.message_passing.loop import (
    LoopSettings,
    fit,
    processes_of_torchrun,
    untouched_losses,
)
from pyscf_mlguess.models.message_passing.model import DENSITY, MessagePassing, channels_of
from pyscf_mlguess.models.message_passing.network import NetworkSettings, build, elements_name
from pyscf_mlguess.models.message_passing.surroundings import Surroundings, densities_of
from pyscf_mlguess.molecules.smiles import molecule_key
from pyscf_mlguess.training import matrix_labels
from pyscf_mlguess.training.dataset import load_targets
from pyscf_mlguess.training.matrices import prepare_matrices
from pyscf_mlguess.training.matrix_labels import (
    AXES,
    card_of,
    labels_with_orbitals,
    matrices_for,
    of_learned_elements,
    structure_of,
)
from pyscf_mlguess.training.targets import prepare_metrics

log = logging.getLogger(__name__)

SIZES = {
    "small": NetworkSettings(channels=16, lmax=2, pair_channels=8, states=16),
    "medium": NetworkSettings(channels=24, lmax=2, pair_channels=12, states=20),
    "full": NetworkSettings(),
    "large": NetworkSettings(channels=64, pair_channels=24, states=40, hidden=64),
}
# Components of an element's surroundings that tell novelty, and training atoms for each of them.
_LEADING, _ATOMS_PER_COMPONENT = 8, 5
# Elements that can be learned.
ELEMENTS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53)


def train(labels: Iterable[str | Path], output: str | Path, cache: str | Path, target: str, jobs: int = 2,
          molecules: int | None = None, size: str = "full", linear: str | Path | None = None, epochs: int = 100,
          batch: int = 4, rate: float = 5e-3, seed: int = 0, progress: bool = True) -> Path:
    """Train a network on label files; write weights and card.

    target: what ``MatrixModel`` says, of labels with orbitals, or "density".  cache: folder for matrices or metrics,
    reused and resumed.  molecules: train on so many only; smaller subsets are parts of larger ones.  size: one of
    ``SIZES``.
    linear: name or path of the model whose error is learned, of the same target and for the axes that it has; None: the
    network is alone.  epochs: at most.  batch: molecules a step.  rate: the largest learning rate of batches of
    four.  seed: of the first weights and of the order of molecules.

    Molecules whose SMILES fall into the validation or test split (``split_of``) are not trained on; the former end the
    training.  May be killed and started again.  Under torchrun every process takes its share of the molecules.
    Returns the path of the ``.safetensors``.  Raises ValueError for an unknown target or size, a linear model of
    another target, labels too few, and what ``fit`` does.
    """
    targets = {**AXES, DENSITY: DENSITY_AXES}
    for kind, name, known in (("target", target, targets), ("size", size, SIZES)):
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}; there are {', '.join(known)}")
    settings, loop, output = SIZES[size], LoopSettings(epochs=epochs, batch=batch, rate=rate, seed=seed), Path(output)
    if linear is not None and Path(linear).suffix:
        linear = str(Path(linear).expanduser().resolve())
    corrected = _linear_model(linear, target)
    axes = [axis for axis in targets[target] if corrected is None or axis in corrected.weights]
    if target == DENSITY:
        settings = replace(settings, reach=0.0)  # there are no pairs
    with processes_of_torchrun() as rank:
        progress = progress and rank == 0
        choose = labels_with_densities if target == DENSITY else labels_with_orbitals
        training, validation, elements = of_learned_elements(*choose(labels, molecules), ELEMENTS)
        _first_alone(lambda: _prepare(target, (training, validation), cache, jobs, progress))
        if target == DENSITY:
            axes = [axis for axis in axes if any(DENSITY_AXES[axis] in label.coefficients for label in training)]
            samples, check = (density_samples(load_targets(cache, part, progress), elements, settings, axes, corrected,
                                              progress) for part in (training, validation))
        else:
            samples, check = (matrix_samples(part, elements, settings, target, axes, cache, corrected, progress)
                              for part in (training, validation))
        card = card_of("message-passing", output, target, elements, training, validation) | {
            "axes": axes, "settings": asdict(settings), "linear": None, "linear_sha256": None}
        if target == DENSITY:
            card |= {"basis": AUXBASIS, "levels": {axis: DENSITY_AXES[axis] for axis in axes}}
        if corrected is not None:
            card |= {"linear": linear, "linear_sha256": corrected.card["sha256"],
                     "elements": corrected.card["elements"]}
        network = build(settings, elements, channels_of(card), axes, loop.seed)
        _scale(network, samples, centred=corrected is None and target == DENSITY)
        network.to("cuda" if torch.cuda.is_available() else "cpu")
        before = untouched_losses(check)
        log.info("loss before: training %s, validation %s", _told(untouched_losses(samples)), _told(before))
        losses, epochs = fit(network, samples, check, loop, output, _run(loop, card, training), progress)
        log.info("validation loss %s after %d epochs", _told(losses), epochs)
        card["training"] |= {
            "size": size,
            "weights": sum(parameter.numel() for parameter in network.parameters()),
            "epochs": epochs,
            "batch": batch,
            "rate": rate,
            "seed": loop.seed,
            "validation_loss": _rounded(losses),
            "validation_loss_before": _rounded(before),
        }
        model = MessagePassing(card, network.cpu(), _surroundings(training, elements), corrected)
        if rank == 0:
            save_model(model, output, [molecule_key(label.smiles) for label in training + validation])
        return output


def _prepare(target, parts, cache, jobs, progress):
    """Fills the folder ``cache`` with metrics or matrices."""
    for part in parts:
        if target == DENSITY:
            prepare_metrics(part, cache, jobs, progress)
        else:
            prepare_matrices(part, cache, matrices_for(target), jobs, progress)


def _first_alone(work):
    """Of several processes, the first does it, the others find it done."""
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        work()
    if distributed.is_initialized():
        distributed.barrier()


def _linear_model(name, target):
    """The model whose error is learned, checked for its target."""
    if name is None:
        return None
    model = load_model(name)
    family = "linear-density" if target == DENSITY else "pair-blocks"
    if model.card["family"] != family or family == "pair-blocks" and model.card["target"] != target:
        raise ValueError(f"{name} is of the family {model.card['family']} and the target {model.card['target']!r}; a "
                         f"network of the target {target!r} corrects one of {family}, or is alone: leave --linear out")
    return model


def _scale(network, samples, centred):
    """Scales of the readouts from what is to be learned; rare pairs are not."""
    for k, axis in enumerate(network.axes):
        rows = rows_of(samples, axis, network.sizes)
        for one, size in network.sizes.items():
            own = rows.get(one, np.zeros((0, size), np.float32))
            if len(own) < matrix_labels.FEWEST:
                own = own[:0]
            network.readouts[elements_name(one)].scale(k, torch.from_numpy(own), centred)


def _surroundings(labels, elements):
    structures = list(map(structure_of, labels))
    numbers = np.concatenate([structure.numbers for structure in structures])
    densities = np.concatenate(list(map(densities_of, structures)))
    found = {}
    for element in elements:
        own = densities[numbers == element]
        # Of fewer atoms, all would be equally far from their mean.
        leading = principal_components(own, max(1, min(_LEADING, len(own) // _ATOMS_PER_COMPONENT)))
        found[element] = Surroundings.of(own, leading)
    return found


def _run(loop, card, labels):
    """What a checkpoint must have been written by to be resumed."""
    content = repr([asdict(loop), card, *((label.name, label.smiles) for label in labels)])
    return hashlib.sha256(content.encode()).hexdigest()


def _rounded(losses):
    return {axis: round(loss, 6) for axis, loss in losses.items()}


def _told(losses):
    return ", ".join(f"{axis} {loss:.5f}" for axis, loss in losses.items())
