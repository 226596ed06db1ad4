"""The commands mlguess train and select."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Optional

import typer

from pyscf_mlguess.cli.console import cache_folder, clear_errors, tell_skipped
from pyscf_mlguess.extras import how_to_install

# Everything else is imported by the command that needs it, so that --help stays quick.


_FAMILIES = {
    "linear-density": "pyscf_mlguess.models.linear_density.training",
    "pair-blocks": "pyscf_mlguess.models.pair_blocks.training",
    "message-passing": "pyscf_mlguess.models.message_passing.training",
}


def train(
    output: Annotated[Path, typer.Option(help="File of weights (safetensors) to write; the card goes beside it.")],
    labels: Annotated[Optional[list[Path]], typer.Argument(
        help="Files of labels (mlguess label). Default: those of the repository, in a clone.")] = None,
    cache: Annotated[Optional[Path], typer.Option(help="Folder for the metrics, kept between runs.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Parallel processes for metrics and residuals.")] = 2,
    family: Annotated[str, typer.Option(help=f"Of the model: {', '.join(_FAMILIES)}.")] = "linear-density",
    target: Annotated[str, typer.Option(
        help="Of pair-blocks and message-passing: density-matrix, fock-matrix or exchange, which want labels with "
             "orbitals; of message-passing also density.")] = "exchange",
    start: Annotated[Optional[str], typer.Option(
        help="Of linear-density: name or path of a model to improve by these labels. Default: a model from scratch."
    )] = None,
    size: Annotated[str, typer.Option(
        help="Of the representation: small, medium or full; of message-passing also large.")] = "full",
    molecules: Annotated[Optional[int], typer.Option(
        min=4, help="Train on so many molecules only; for learning curves.")] = None,
    linear: Annotated[Optional[str], typer.Option(
        help="Of message-passing: name or path of a linear model of the same target whose error is learned. "
             "Default: the network is alone.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Of message-passing: at most so many.")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="Of message-passing: molecules a step; a GPU wants 48.")] = 4,
    rate: Annotated[float, typer.Option(
        min=0.0, help="Of message-passing: the largest learning rate of batches of four molecules.")] = 5e-3,
    seed: Annotated[int, typer.Option(min=0, help="Of message-passing.")] = 0,
) -> None:
    """Train a model: some 5 GB of memory and two hours of two cores for the shipped linear density; with --start and
    50 labels of your own some minutes and 1 GB."""
    import logging

    from pyscf_mlguess.molecules.training_data import repository_labels

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with clear_errors():
        if output.suffix != ".safetensors":
            raise ValueError(f"--output must end in .safetensors, not {str(output)!r}")
        if family not in _FAMILIES:
            raise ValueError(f"unknown family {family!r}; there are {', '.join(_FAMILIES)}")
        cache = cache or cache_folder() / "metrics"
        typer.echo(f"metrics are kept in {cache}")
        try:
            run = import_module(_FAMILIES[family]).train
        except ModuleNotFoundError as error:
            raise ValueError(f"training needs {error.name}: {how_to_install('train')}") from None
        choice = {"target": target.replace("-", " ")} if family != "linear-density" else {}
        if start:
            if family != "linear-density":
                raise ValueError(f"--start is for the family linear-density, not {family}")
            if not labels:
                raise ValueError("--start wants labels of your own: mlguess train mine.h5 --start ...")
            run, choice = import_module("pyscf_mlguess.models.linear_density.adaptation").adapt, {"start": start}
        if family == "message-passing":
            choice |= {"linear": linear, "epochs": epochs, "batch": batch, "rate": rate, "seed": seed}
        path = run(labels or repository_labels(), output, cache, jobs=jobs, size=size, molecules=molecules, **choice)
    typer.echo(f"wrote {path}")


def select(
    candidates: Annotated[list[Path], typer.Argument(help="Molecules to choose from: .smi or xyz.")],
    output: Annotated[Path, typer.Option(help="xyz file of the chosen ones, the most wanted first.")],
    count: Annotated[int, typer.Option(min=1, help="How many to choose.")] = 100,
    labels: Annotated[Optional[list[Path]], typer.Option(
        help="Repeatable: files of labels that there are already. Default: those of the repository, in a clone."
    )] = None,
) -> None:
    """Choose the molecules whose labels would teach the linear model most, for what they cost.

    Molecules that cannot be read are skipped, and the exit code is 1 then.
    """
    from pyscf_mlguess.molecules.files import read_molecules
    from pyscf_mlguess.molecules.training_data import repository_labels
    from pyscf_mlguess.molecules.xyz import write_xyz

    with clear_errors():
        try:
            from pyscf_mlguess.molecules.label import merge
            from pyscf_mlguess.molecules.label_files import read_labels
            from pyscf_mlguess.training.selection import choose
        except ModuleNotFoundError as error:
            raise ValueError(f"selecting needs {error.name}: {how_to_install('train')}") from None
        known = merge(*(read_labels(path, orbitals=False) for path in labels or repository_labels()))
        found = [read_molecules(path) for path in candidates]
        errors = [error for _, errors in found for error in errors]
        tell_skipped(errors)
        chosen = choose([molecule for molecules, _ in found for molecule in molecules], known, count)
        write_xyz(output, chosen)
    typer.echo(f"wrote {len(chosen)} molecules to {output}")
    if errors:
        raise typer.Exit(1)
