"""Samples -> weights: minibatches of whole molecules, AdamW, a mean of the weights, early stopping, checkpoints.

Plain torch: an epoch is a page, and what a framework would add (its checkpoints are pickles) is not wanted here.
Started by torchrun, every process takes its share of each batch; the gradients are summed.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from pyscf_mlguess.models.message_passing.checkpoint import Progress, read_progress, write_progress
from pyscf_mlguess.models.message_passing.design import Sample
from pyscf_mlguess.models.message_passing.graph import Graph
from pyscf_mlguess.models.message_passing.network import Network

# Losses that single precision cannot tell from zero count as this.
_SMALLEST = 1e-7
# How long processes wait for each other: one alone makes the matrices or metrics of all molecules.
_WAIT = timedelta(days=7)


@dataclass(frozen=True)
class LoopSettings:
    """How weights are found.

    epochs: at most.  batch: molecules a step.  rate: the largest learning rate of batches of four, reached after the
    share ``warm_up`` of all steps; from there it falls as a cosine to zero; it grows with the root of the batch, up to
    twice as large.
    decay: of weights (AdamW).  clip: largest norm of a gradient.
    mean: share of the former mean in the running mean of the weights, which is what is validated and kept.
    patience: epochs without a better validation loss before it ends.
    floor: losses far below this count little: their logarithm would rule.
    seed: of the first weights and of the order of molecules.
    """

    epochs: int = 100
    batch: int = 4
    rate: float = 5e-3
    warm_up: float = 0.05
    decay: float = 1e-3
    clip: float = 10.0
    mean: float = 0.99
    patience: int = 25
    floor: float = 1e-3
    seed: int = 0


def losses_of(network: Network, samples: list[Sample]) -> dict[str, torch.Tensor]:
    """{axis: (nmol,) losses of the samples that have it}."""
    graph = Graph.joined([sample.graph for sample in samples]).to(next(network.parameters()))
    found: dict[str, list[torch.Tensor]] = {}
    for sample, vectors in zip(samples, graph.vectors(network(graph))):
        had = [k for k, axis in enumerate(network.axes) if axis in sample.axes]
        losses = sample.losses(vectors if len(had) == len(vectors) else vectors[had])
        for axis, loss in zip(sample.axes, losses.unbind()):
            found.setdefault(axis, []).append(loss)
    return {axis: torch.stack(losses) for axis, losses in found.items()}


def fit(network: Network, training: list[Sample], validation: list[Sample], settings: LoopSettings, output: Path,
        run: str, progress: bool = True) -> tuple[dict[str, float], int]:
    """Train ``network`` in place; it ends with the weights of the lowest validation loss.

    output: of the model; beside it stand the checkpoint (removed at the end) and the log, a .csv.
    run: a name of settings and labels; a checkpoint of another one is refused.
    Returns the validation losses {axis: geometric mean} and the number of epochs.  Raises ValueError for a checkpoint
    of another run.
    """
    rank, processes = _processes()
    output.parent.mkdir(parents=True, exist_ok=True)
    path, log = output.with_suffix(".checkpoint.safetensors"), output.with_suffix(".csv")
    parameters = dict(network.named_parameters())
    device = next(iter(parameters.values())).device
    training, validation = ([sample.to(device) for sample in part] for part in (training, validation[rank::processes]))
    optimiser = torch.optim.AdamW(parameters.values(), lr=settings.rate, weight_decay=settings.decay)
    if path.exists():
        state = read_progress(path, run, optimiser, parameters)
    else:
        # What the network is added to may already be the best there is.
        state = Progress.first(parameters, _validated(network, validation, settings.batch))
    per_epoch = math.ceil(len(training) / settings.batch)
    epochs = tqdm(range(state.epoch, settings.epochs), initial=state.epoch, total=settings.epochs, desc="epochs",
                  disable=not progress or rank > 0)
    for epoch in epochs:
        if epoch - state.best_epoch > settings.patience:
            break
        start, order, seen = time.perf_counter(), np.random.default_rng([settings.seed, epoch]), []
        for number, batch in enumerate(np.array_split(order.permutation(len(training)), per_epoch)):
            rate = _rate(settings, (epoch * per_epoch + number) / (settings.epochs * per_epoch))
            seen.append(_step(network, [training[k] for k in batch[rank::processes]], len(batch), optimiser, settings,
                              rate))
            share = min(settings.mean, (1 + epoch * per_epoch + number) / (10 + epoch * per_epoch + number))
            get_ema_multi_avg_fn(share)(list(state.mean.values()), list(parameters.values()), number)
        with _weights(parameters, state.mean):
            logs = _validated(network, validation, settings.batch)
        state.epoch = epoch + 1
        if sum(logs.values()) < sum(state.losses.values()):
            state.best_epoch, state.losses = epoch, logs
            state.best = {name: values.clone() for name, values in state.mean.items()}
        losses = {axis: math.exp(value) for axis, value in logs.items()}
        epochs.set_postfix({axis: f"{loss:.5f}" for axis, loss in losses.items()})
        if rank == 0:
            _write_row(log, {"epoch": epoch, "seconds": round(time.perf_counter() - start, 2), "rate": rate,
                             "training": float(np.mean(seen))} | losses)
            write_progress(path, run, state, optimiser, parameters)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state.best[name])
    if rank == 0:
        path.unlink(missing_ok=True)
    return {axis: math.exp(value) for axis, value in state.losses.items()}, state.epoch


def untouched_losses(samples: list[Sample]) -> dict[str, float]:
    """Geometric means of the losses of what the network is added to."""
    return {axis: math.exp(value) for axis, value in _mean_logs(_untouched(samples)).items()}


def _step(network, samples, batch, optimiser, settings, rate):
    """One step with these samples of a batch of so many; the batch's objective, the mean logarithm of its losses."""
    parameters = list(network.parameters())
    optimiser.zero_grad(set_to_none=True)
    objective = parameters[0].new_zeros(())
    if samples:
        # In single precision a loss of next to nothing may be negative: tight functions weigh much.
        objective = torch.stack([torch.log(losses.clamp(min=0.0) + settings.floor).sum() / (batch * len(network.axes))
                                 for losses in losses_of(network, samples).values()]).sum()
        objective.backward()
    # What these molecules do not have is zero, and not left out: its mean and its decay go on.
    untouched = [parameter for parameter in parameters if parameter.grad is None]
    zeros = parameters[0].new_zeros(sum(parameter.numel() for parameter in untouched))
    for parameter, part in zip(untouched, zeros.split([parameter.numel() for parameter in untouched])):
        parameter.grad = part.view_as(parameter)
    if distributed.is_initialized():
        flat = torch.cat([*(parameter.grad.reshape(-1) for parameter in parameters), objective.detach()[None]])
        distributed.all_reduce(flat)
        *parts, objective = flat.split([*(parameter.numel() for parameter in parameters), 1])
        for parameter, part in zip(parameters, parts):
            parameter.grad.copy_(part.view_as(parameter))
    torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    return objective.item()


def _rate(settings, done):
    """Of the share ``done`` of all steps."""
    largest = settings.rate * min(math.sqrt(settings.batch / 4), 2.0)
    if done < settings.warm_up:
        return largest * (done + 1e-3) / settings.warm_up
    return largest * 0.5 * (1 + math.cos(math.pi * (done - settings.warm_up) / (1 - settings.warm_up)))


def _validated(network, samples, batch):
    """{axis: mean logarithm of the losses} of the samples of all processes."""
    found = {axis: [] for axis in network.axes}
    with torch.inference_mode():
        for start in range(0, len(samples), batch):
            for axis, losses in losses_of(network, samples[start : start + batch]).items():
                found[axis] += losses.tolist()
    if distributed.is_initialized():
        gathered: list = [None] * distributed.get_world_size()
        distributed.all_gather_object(gathered, found)
        found = {axis: [loss for part in gathered for loss in part[axis]] for axis in found}
    return _mean_logs(found)


def _untouched(samples):
    found: dict[str, list[float]] = {}
    for sample in samples:
        for axis, loss in zip(sample.axes, sample.losses(torch.zeros_like(sample.targets)).tolist()):
            found.setdefault(axis, []).append(loss)
    return found


def _mean_logs(losses):
    """Means of logarithms, {axis: one}."""
    return {axis: float(np.mean(np.log(np.maximum(values, _SMALLEST)))) for axis, values in losses.items() if values}


def _write_row(path: Path, row: dict) -> None:
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


@contextmanager
def _weights(parameters: dict, values: dict) -> Iterator[None]:
    """Other values of the parameters for a while."""
    kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(kept[name])


@contextmanager
def processes_of_torchrun() -> Iterator[int]:
    """Joins the processes that torchrun has started, if it has; gives the rank, 0 without."""
    if int(os.environ.get("WORLD_SIZE", 1)) < 2:
        yield 0
        return
    distributed.init_process_group("gloo", timeout=_WAIT)
    try:
        yield distributed.get_rank()
    finally:
        distributed.destroy_process_group()


def _processes():
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
