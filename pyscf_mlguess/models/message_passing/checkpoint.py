"""What a training has reached, in a file from which it goes on: safetensors, nothing that could run code."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

Weights = dict[str, torch.Tensor]
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """epoch: how many are done.  mean: the running mean of the weights.  best: the mean with the lowest validation
    loss, of ``best_epoch``; losses: its logarithm by axis."""

    mean: Weights
    best: Weights
    losses: dict[str, float]
    epoch: int = 0
    best_epoch: int = 0

    @classmethod
    def first(cls, parameters: Weights, losses: dict[str, float]) -> "Progress":
        """Before the first epoch."""
        return cls(*({name: values.detach().clone() for name, values in parameters.items()} for _ in range(2)), losses)


def write_progress(path: Path, run: str, state: Progress, optimiser: torch.optim.Optimizer,
                   parameters: Weights) -> None:
    """Progress, weights and optimiser; the file appears complete or not at all."""
    tensors = {}
    for name, parameter in parameters.items():
        tensors |= {f"weights/{name}": parameter.detach(), f"mean/{name}": state.mean[name],
                    f"best/{name}": state.best[name]}
        tensors |= {f"{moment}/{name}": optimiser.state[parameter][moment] for moment in _MOMENTS}
    told = {"run": run, "epoch": state.epoch, "best_epoch": state.best_epoch, "losses": state.losses}
    unfinished = path.with_suffix(".unfinished")
    save_file({name: values.contiguous() for name, values in tensors.items()}, unfinished,
              {"progress": json.dumps(told)})
    os.replace(unfinished, path)


def read_progress(path: Path, run: str, optimiser: torch.optim.Optimizer, parameters: Weights) -> Progress:
    """Puts weights and optimiser back as they were; ValueError for a checkpoint of another run."""
    device = str(next(iter(parameters.values())).device)
    with safe_open(path, "pt", device=device) as file:
        told = json.loads(file.metadata()["progress"])
        if told["run"] != run:
            raise ValueError(f"{path} was written by a training with other settings or labels; delete it, or choose "
                             "another output")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weights/{name}"])
            optimiser.state[parameter] = {moment: tensors[f"{moment}/{name}"] for moment in _MOMENTS}
    mean, best = ({name: tensors[f"{kind}/{name}"] for name in parameters} for kind in ("mean", "best"))
    return Progress(mean, best, told["losses"], told["epoch"], told["best_epoch"])
