"""The command mlguess label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pyscf_mlguess.console import clear_errors

# Everything else is imported by the command itself, so that --help stays quick.


def label(
    inputs: Annotated[list[Path], typer.Argument(
        help="Molecules: .smi, xyz (charge= and multiplicity= in the comment line), a file of labels whose molecules "
             "are to have further levels, or HDF5 of converged orbitals, whose densities are fitted.")],
    output: Annotated[Path, typer.Option(help="HDF5 file of labels; what it holds already is kept.")],
    level: Annotated[Optional[list[str]], typer.Option(
        help="Repeatable: functional/basis, such as hf/def2-svp. Default: pbe/def2-svp.")] = None,
    displace: Annotated[str, typer.Option(
        help="Standard deviations (angstrom) of Gaussian noise on the geometries of .smi and xyz files, separated by "
             "commas; every molecule gets one of them.")] = "0",
    method: Annotated[str, typer.Option(
        help="cheap: the cheap problem's solution; scf: the density-fitted SCF's, five times dearer.")] = "cheap",
    orbital_basis: Annotated[str, typer.Option(
        help="Basis of converged orbitals whose level names none.")] = "def2-svp",
    jobs: Annotated[Optional[int], typer.Option(
        min=1, help="Processes on this machine, one thread each. Default: 1.")] = None,
    scheduler: Annotated[Optional[str], typer.Option(
        help="Address of a running Dask scheduler, tcp://host:port, whose workers have this package.")] = None,
    slurm: Annotated[Optional[int], typer.Option(
        min=1, help="SLURM jobs to keep running, as the Dask configuration (jobqueue.slurm) describes them.")] = None,
    retry_failed: Annotated[bool, typer.Option(
        "--retry-failed", help="Try again what failed in a run before.")] = False,
) -> None:
    """Calculate the densities that models are trained on; may be killed, and goes on when started again."""
    with clear_errors():
        given = [f"--{name}" for name, value in (("jobs", jobs), ("scheduler", scheduler), ("slurm", slurm)) if value]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other")
        try:
            from pyscf_mlguess.labels.production import produce
            from pyscf_mlguess.labels.workers import connected
        except ModuleNotFoundError as error:
            raise ValueError(f"labels need {error.name}: pip install 'pyscf-mlguess[train]'") from None
        settings = _settings(level or ["pbe/def2-svp"], method, displace, orbital_basis)
        workers = connected(jobs or 1, scheduler, slurm)
        try:
            labels, failures = produce(inputs, output, settings, workers, retry_failed)
        except KeyboardInterrupt:
            typer.echo(f"interrupted; what is finished is in {output}, and the same command goes on", err=True)
            raise typer.Exit(130) from None
        typer.echo(f"{output} holds {labels} labelled molecules and {failures} failures")


def _settings(levels, method, displace, orbital_basis):
    from pyscf_mlguess.benchmark.protocol import Protocol
    from pyscf_mlguess.labels.calculation import Level
    from pyscf_mlguess.labels.inputs import METHODS, Settings

    parsed = tuple(dict.fromkeys(map(Level.parse, levels)))
    for each in (*parsed, Level("hf", orbital_basis)):
        Protocol(xc=each.xc, basis=each.basis).check()
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    return Settings(parsed, method, _displacements(displace), orbital_basis)


def _displacements(text):
    try:
        values = tuple(map(float, text.split(",")))
    except ValueError:
        values = (-1.0,)
    if not all(0 <= value < 1 for value in values):
        raise ValueError(f"--displace {text!r}: expected numbers of angstrom, from 0 to below 1, such as 0,0.03,0.08")
    return values
