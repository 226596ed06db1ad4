"""The command line: mlguess demo | predict | info | label | fragments | select | train | bench | timing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pyscf_mlguess.benchmark import commands
from pyscf_mlguess.console import cache_folder, clear_errors
from pyscf_mlguess.labels.command import fragments, label

# Everything else is imported by the command that needs it, so that --help stays quick.

app = typer.Typer(name="mlguess", help="Learned initial guesses for PySCF.", no_args_is_help=True,
                  add_completion=False, pretty_exceptions_show_locals=False)

_Basis = Annotated[str, typer.Option(help="PySCF's name of the orbital basis.")]
_Model = Annotated[Optional[str], typer.Option(help="Name or path of a model instead of the default one.")]
_DEMO_SET, _DEMO_BASIS, _DEMO_XC = "paracetamol", "def2-svp", "pbe"
app.add_typer(commands.app, name="bench", help="Count SCF cycles from several guesses.")
app.command()(label)
app.command()(fragments)


@app.command()
def demo() -> None:
    """Compare the learned guess, refined and in the two-level SCF, with PySCF's default: paracetamol, PBE/def2-SVP."""
    from pyscf import lib

    from pyscf_mlguess.benchmark.guesses import Start, check_guess
    from pyscf_mlguess.benchmark.molecules import load_set
    from pyscf_mlguess.benchmark.protocol import Protocol
    from pyscf_mlguess.benchmark.runner import run_guess

    protocol = Protocol(xc=_DEMO_XC, basis=_DEMO_BASIS, threads=lib.num_threads())
    with clear_errors():
        check_guess("ml", protocol)
        (molecule,), _ = load_set(_DEMO_SET)
        typer.echo(f"{molecule.name}, {len(molecule.symbols)} atoms; {protocol}\n")
        typer.echo(f"{'guess':14}{'cycles':>8}{'energy (Eh)':>18}{'guess (s)':>12}{'SCF (s)':>10}")
        for guess in ("minao", "ml", "ml+refine", "two-level:ml"):
            row, _ = run_guess(_DEMO_SET, guess, Start(molecule, protocol))
            if not row["converged"]:
                raise ValueError(f"the SCF from {guess} failed: {row['error'] or 'not converged'}")
            typer.echo(f"{guess:14}{row['cycles'] + row['guess_builds']:8d}{row['energy']:18.9f}"
                       f"{row['wall']['guess']:12.2f}{row['wall']['scf']:10.2f}")
            if row["refused"]:
                typer.echo(row["refused"])


@app.command()
def predict(
    molecule: Annotated[Path, typer.Argument(
        help="xyz file, angstrom; charge= and multiplicity= in its second line.")],
    basis: _Basis = "def2-svp",
    xc: Annotated[str, typer.Option(help="PySCF's functional, or hf.")] = "pbe",
    model: _Model = None,
    output: Annotated[Path, typer.Option(
        help="NumPy archive to write; its array dm is for mf.kernel(dm0=dm).")] = Path("guess.npz"),
) -> None:
    """Write the learned density matrix of one molecule to a file."""
    import warnings

    import numpy as np

    from pyscf_mlguess import GuessRefused, guess
    from pyscf_mlguess.benchmark.molecules import MoleculeFileError, read_xyz
    from pyscf_mlguess.benchmark.protocol import Protocol

    with clear_errors():
        frames = read_xyz(molecule)
        if len(frames) != 1:
            raise MoleculeFileError(f"{molecule}: expected one molecule, found {len(frames)}")
        protocol = Protocol(xc=xc, basis=basis)
        protocol.check()
        mf = protocol.mean_field(frames[0].mol(basis))
        with warnings.catch_warnings():
            warnings.simplefilter("error", GuessRefused)
            dm = guess(mf, f"ml:{model}" if model else "ml")
        np.savez(output, dm=np.asarray(dm), symbols=frames[0].symbols, positions_angstrom=frames[0].positions,
                 basis=basis, xc=xc)
    typer.echo(f"wrote a density matrix of shape {dm.shape} to {output}")


@app.command()
def info(model: Annotated[str, typer.Argument(help="Name or path of a model.")] = "default") -> None:
    """Print the card of a model."""
    import json

    from pyscf_mlguess.models import available, load_model

    with clear_errors():
        card = load_model(model).card
    for key, value in card.items():
        typer.echo(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")
    typer.echo(f"(shipped models: {', '.join(available())})")


@app.command()
def train(
    output: Annotated[Path, typer.Option(help="File of weights (safetensors) to write; the card goes beside it.")],
    labels: Annotated[Optional[list[Path]], typer.Argument(
        help="Files of labels (mlguess label). Default: those of the repository.")] = None,
    cache: Annotated[Optional[Path], typer.Option(help="Folder for the metrics, kept between runs.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Parallel processes for metrics and residuals.")] = 2,
    size: Annotated[str, typer.Option(help="Of the representation: small, medium or full.")] = "full",
    molecules: Annotated[Optional[int], typer.Option(
        min=4, help="Train on so many molecules only; for learning curves.")] = None,
) -> None:
    """Train the linear density model: some 10 GB of memory and two hours of two cores for the shipped one."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with clear_errors():
        if output.suffix != ".safetensors":
            raise ValueError(f"--output must end in .safetensors, not {str(output)!r}")
        cache = cache or cache_folder() / "metrics"
        typer.echo(f"metrics are kept in {cache}")
        try:
            from pyscf_mlguess.training.train import train as run
        except ModuleNotFoundError as error:
            raise ValueError(f"training needs {error.name}: pip install 'pyscf-mlguess[train]'") from None
        path = run(labels or _shipped_labels(), output, cache, jobs, size, molecules)
    typer.echo(f"wrote {path}")


@app.command()
def select(
    candidates: Annotated[list[Path], typer.Argument(help="Molecules to choose from: .smi or xyz.")],
    output: Annotated[Path, typer.Option(help="xyz file of the chosen ones, the most wanted first.")],
    count: Annotated[int, typer.Option(min=1, help="How many to choose.")] = 100,
    labels: Annotated[Optional[list[Path]], typer.Option(
        help="Repeatable: files of labels that there are already. Default: those of the repository.")] = None,
) -> None:
    """Choose the molecules whose labels would teach the linear model most, for what they cost."""
    from pyscf_mlguess.benchmark.molecules import read_molecules, write_xyz

    with clear_errors():
        try:
            from pyscf_mlguess.labels.storage import merge, read_labels
            from pyscf_mlguess.training.selection import choose
        except ModuleNotFoundError as error:
            raise ValueError(f"selecting needs {error.name}: pip install 'pyscf-mlguess[train]'") from None
        known = merge(*map(read_labels, labels or _shipped_labels()))
        found = [read_molecules(path) for path in candidates]
        for error in (error for _, errors in found for error in errors):
            typer.echo(str(error), err=True)
        chosen = choose([molecule for molecules, _ in found for molecule in molecules], known, count)
        write_xyz(output, chosen)
    typer.echo(f"wrote {len(chosen)} molecules to {output}")


def _shipped_labels() -> list[Path]:
    from pyscf_mlguess.labels import DATA

    found = sorted(DATA.glob("*.h5"))
    if not found:
        raise ValueError(f"no labels in {DATA}: an installed package has none; name files, or use a clone of the "
                         "repository")
    return found


@app.command()
def timing(
    molecules: Annotated[str, typer.Option(
        help="Shipped set or xyz file; molecules of 20 atoms and more are timed.")] = "qm9_size",
    guess: Annotated[str, typer.Option(help="One guess: minao, ..., ml, ml:<model>.")] = "ml",
    xc: Annotated[str, typer.Option(help="PySCF's functional, or hf.")] = "b3lyp",
    basis: _Basis = "def2-svp",
    threads: Annotated[int, typer.Option(min=1, help="OpenMP threads.")] = 1,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Only the first molecules of that size.")] = None,
) -> None:
    """Time a guess against one SCF cycle without density fitting, and the memory that it leaves behind."""
    from tqdm import tqdm

    from pyscf_mlguess.benchmark.guesses import check_guess
    from pyscf_mlguess.benchmark.molecules import load_set
    from pyscf_mlguess.benchmark.protocol import Protocol
    from pyscf_mlguess.benchmark.timing import SMALLEST, markdown, time_molecules

    with clear_errors():
        found, _ = load_set(molecules)
        large = [molecule for molecule in found if len(molecule.symbols) >= SMALLEST][:limit]
        if not large:
            raise ValueError(f"no molecule of {SMALLEST} atoms or more in {molecules!r}")
        protocol = Protocol(xc=xc, basis=basis, density_fit=False, threads=threads)
        protocol.check()
        check_guess(guess, protocol)
        timings = list(tqdm(time_molecules(large, guess, protocol), total=len(large), desc="timing", unit="mol"))
        typer.echo(markdown(timings, protocol))
