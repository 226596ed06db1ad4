"""The commands mlguess label and mlguess fragments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Optional

import typer

from pyscf_mlguess.cli.console import clear_errors, tell_skipped
from pyscf_mlguess.extras import how_to_install

# Everything else is imported by the command itself, so that --help stays quick.

# Reasons of failures that are printed, the most frequent ones, and how much of each.
_REASONS, _REASON_LENGTH = 7, 200
# Names and numbers in a reason: what differs between two molecules that fail in the same way.
_PARTICULARS = re.compile(r"'[^']*'|[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


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
    stretch: Annotated[str, typer.Option(
        help="Lengthenings of one bond (0.2: by a fifth) of molecules of .smi and xyz files, in the same way.")] = "0",
    method: Annotated[str, typer.Option(
        help="cheap: the cheap problem's solution; scf: the density-fitted SCF's, five times dearer.")] = "cheap",
    orbital_basis: Annotated[str, typer.Option(
        help="Basis of converged orbitals whose level names none.")] = "def2-svp",
    orbitals: Annotated[bool, typer.Option(
        "--orbitals", help="Keep the occupied orbitals, too, at several times the size; levels that the output holds "
                           "without them are calculated again.")] = False,
    jobs: Annotated[Optional[int], typer.Option(
        min=1, help="Processes on this machine, one thread each. Default: 1.")] = None,
    scheduler: Annotated[Optional[str], typer.Option(
        help="Address of a running Dask scheduler, tcp://host:port, whose workers have this package.")] = None,
    slurm: Annotated[Optional[int], typer.Option(
        min=1, help="SLURM jobs to keep running, as the Dask configuration (jobqueue.slurm) describes them.")] = None,
    retry_failed: Annotated[bool, typer.Option(
        "--retry-failed", help="Try again what failed in a run before.")] = False,
) -> None:
    """Calculate the densities that models are trained on; may be killed, and goes on when started again.

    Ends with exit code 1, and says why, if a molecule of the inputs could not be labelled, now or in a run before.
    """
    with clear_errors():
        given = [f"--{name}" for name, value in (("jobs", jobs), ("scheduler", scheduler), ("slurm", slurm)) if value]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other")
        try:
            from pyscf_mlguess.labels.inputs import Settings
            from pyscf_mlguess.labels.production import produce
            from pyscf_mlguess.labels.workers import connected
        except ModuleNotFoundError as error:
            raise ValueError(f"labels need {error.name}: {how_to_install('train')}") from None
        settings = Settings(
            _levels(level or ["pbe/def2-svp"], orbital_basis), _method(method), _numbers("--displace", displace),
            _numbers("--stretch", stretch), orbital_basis, orbitals)
        workers = connected(jobs or 1, scheduler, slurm)
        try:
            outcome = produce(inputs, output, settings, workers, retry_failed)
        except KeyboardInterrupt:
            typer.echo(f"interrupted; what is finished is in {output}, and the same command goes on", err=True)
            raise typer.Exit(130) from None
        typer.echo(f"{output} holds {outcome.labels} labelled molecules and {outcome.failures} failures")
    if outcome.failed:
        typer.echo("\n".join(_failure_lines(outcome, output)), err=True)
        raise typer.Exit(1)


def fragments(
    molecules: Annotated[Path, typer.Argument(help="Large molecules, a .smi file.")],
    output: Annotated[Path, typer.Option(help="File of SMILES to write, for mlguess select and label.")],
    count: Annotated[int, typer.Option(min=1, help="How many fragments.")] = 100,
    heavy_atoms: Annotated[str, typer.Option(help="Fewest and most heavy atoms.")] = "5,11",
    exclude: Annotated[Optional[list[Path]], typer.Option(
        help="Repeatable: .smi files of molecules to leave out. Always left out: molecules of the benchmark sets "
             "and of the validation and test split.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random choice.")] = 0,
) -> None:
    """Cut small molecules to train on out of large ones, at single bonds outside rings.

    Lines that cannot be read are skipped, and the exit code is 1 then.
    """
    with clear_errors():
        try:
            fewest, most = map(int, heavy_atoms.split(","))
        except ValueError:
            fewest, most = 0, 0
        if not 0 < fewest <= most:
            raise ValueError(f"--heavy-atoms {heavy_atoms!r}: expected two numbers, fewest first, such as 5,11")
        from pyscf_mlguess.labels.fragments import random_fragments
        from pyscf_mlguess.molecules.smiles import molecule_key, read_smiles

        smiles, errors = read_smiles(molecules)
        excluded = _benchmark_keys()
        for path in exclude or ():
            unwanted, bad = read_smiles(path)
            excluded |= set(map(molecule_key, unwanted))
            errors += bad
        tell_skipped(errors)
        found = list(random_fragments(smiles, (fewest, most), count, excluded, seed))
        output.write_text("".join(f"{each} {output.stem}{index}\n" for index, each in enumerate(found)))
    typer.echo(f"wrote {len(found)} fragments to {output}")
    if errors:
        raise typer.Exit(1)


def _failure_lines(outcome, output):
    """At most ten lines on what failed and why, alike reasons together."""
    groups = {}
    for failure in outcome.failed:
        reason = " ".join(failure.reason.split())
        groups.setdefault(_PARTICULARS.sub("", reason), []).append((reason[:_REASON_LENGTH], failure.name))
    ranked = sorted(groups.values(), key=len, reverse=True)
    yield f"{len(outcome.failed)} of {outcome.molecules} molecules could not be labelled:"
    for group in ranked[:_REASONS]:
        reason, name = group[0]
        yield f"  {len(group)} x {reason} ({name})"
    if ranked[_REASONS:]:
        yield f"  {sum(map(len, ranked[_REASONS:]))} x for {len(ranked[_REASONS:])} other reasons"
    yield (f"every one with its reason: h5dump -g failures {output}, or read_failures of "
           "pyscf_mlguess.molecules.label_files; --retry-failed tries again")


def _benchmark_keys():
    from pyscf_mlguess.benchmark.sets import load_set, shipped_sets

    return {molecule.inchikey for name in shipped_sets() for molecule in load_set(name)[0]} - {""}


def _levels(texts, orbital_basis):
    from pyscf_mlguess.benchmark.protocol import Protocol
    from pyscf_mlguess.molecules.label import Level

    parsed = tuple(dict.fromkeys(map(Level.parse, texts)))
    for each in (*parsed, Level("hf", orbital_basis)):
        Protocol(xc=each.xc, basis=each.basis).check()
    return parsed


def _method(name):
    from pyscf_mlguess.labels.inputs import METHODS

    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; there are {', '.join(METHODS)}")
    return name


def _numbers(option, text):
    try:
        values = tuple(map(float, text.split(",")))
    except ValueError:
        values = (-1.0,)
    if not all(0 <= value < 1 for value in values):
        raise ValueError(f"{option} {text!r}: expected numbers from 0 to below 1, such as 0,0.03,0.08")
    return values
