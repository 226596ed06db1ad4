"""The command line: mlguess demo | predict | info | train | bench | timing."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

import typer

# Everything else is imported by the command that needs it, so that --help stays quick.

app = typer.Typer(name="mlguess", help="Learned initial guesses for PySCF.", no_args_is_help=True,
                  add_completion=False, pretty_exceptions_show_locals=False)

_Basis = Annotated[str, typer.Option(help="PySCF's name of the orbital basis.")]
_Model = Annotated[Optional[str], typer.Option(help="Name or path of a model instead of the default one.")]
_DEMO_SET, _DEMO_BASIS, _DEMO_XC = "paracetamol", "def2-svp", "pbe"


@contextmanager
def _clear_errors():
    """Wrong input ends the command with one line and no traceback."""
    from pyscf_mlguess.gate import GuessRefused

    try:
        yield
    except (OSError, ValueError, GuessRefused) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def demo() -> None:
    """Compare the learned guess with PySCF's default on paracetamol, PBE/def2-SVP with density fitting."""
    from pyscf import lib

    from pyscf_mlguess.benchmark.molecules import load_set
    from pyscf_mlguess.benchmark.protocol import Protocol
    from pyscf_mlguess.benchmark.runner import check_guesses, run_guess

    protocol = Protocol(xc=_DEMO_XC, basis=_DEMO_BASIS, threads=lib.num_threads())
    with _clear_errors():
        check_guesses(["ml"])
        (molecule,) = load_set(_DEMO_SET)
        typer.echo(f"{molecule.name}, {len(molecule.symbols)} atoms; {protocol}\n")
        typer.echo(f"{'guess':8}{'cycles':>8}{'energy (Eh)':>18}{'guess (s)':>12}{'SCF (s)':>10}")
        for guess in ("minao", "ml"):
            row, _ = run_guess(molecule, guess, protocol)
            if not row["converged"]:
                raise ValueError(f"the SCF from {guess} failed: {row['error'] or 'not converged'}")
            typer.echo(f"{guess:8}{row['cycles'] + row['guess_builds']:8d}{row['energy']:18.9f}"
                       f"{row['guess_seconds']:12.2f}{row['scf_seconds']:10.2f}")
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

    with _clear_errors():
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

    with _clear_errors():
        card = load_model(model).card
    for key, value in card.items():
        typer.echo(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")
    typer.echo(f"(shipped models: {', '.join(available())})")


@app.command()
def train(
    reference: Annotated[Path, typer.Argument(help="HDF5 file of converged reference calculations.")],
    output: Annotated[Path, typer.Option(help="File of weights (safetensors) to write; the card goes beside it.")],
    cache: Annotated[Optional[Path], typer.Option(help="Folder for the fitted targets, kept between runs.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Parallel processes for the targets.")] = 2,
) -> None:
    """Train the linear density model from reference calculations."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with _clear_errors():
        if not reference.is_file():
            raise FileNotFoundError(f"no reference file {str(reference)!r}")
        if output.suffix != ".safetensors":
            raise ValueError(f"--output must end in .safetensors, not {str(output)!r}")
        cache = cache or _cache_folder()
        typer.echo(f"targets are kept in {cache}")
        try:
            from pyscf_mlguess.training.train import train as train_model

            path = train_model(reference, output, cache, jobs=jobs)
        except ModuleNotFoundError as error:
            raise ValueError(f"training needs {error.name}: pip install 'pyscf-mlguess[train]'") from None
    typer.echo(f"wrote {path}")


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyscf_mlguess"


@app.command()
def bench(
    molecules: Annotated[str, typer.Option(help="Shipped set or xyz file.")] = "reference_unseen",
    guess: Annotated[Optional[list[str]], typer.Option(
        help="Repeatable: minao, atom, huckel, sap, ml, ml:<model>, ml-unchecked, exact-fit. "
             "Default: minao to ml, and exact-fit.")] = None,
    xc: Annotated[Optional[list[str]], typer.Option(
        help="Repeatable: PySCF's functional, or hf. Default: pbe.")] = None,
    basis: _Basis = "def2-svp",
    density_fit: Annotated[bool, typer.Option(help="Density fitting in the SCF.")] = True,
    grid_level: Annotated[int, typer.Option(min=0, max=9, help="PySCF's grid level of the SCF.")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="Molecules at the same time.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="OpenMP threads per molecule.")] = 1,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Only the first molecules of the set.")] = None,
    output: Annotated[Path, typer.Option(
        help="Results, one JSON object a line; runs found there are not repeated.")] = Path("bench.jsonl"),
    report: Annotated[Optional[Path], typer.Option(help="Markdown file for the tables, besides the screen.")] = None,
) -> None:
    """Count SCF cycles from several guesses and print tables in Markdown."""
    from pyscf_mlguess.benchmark.molecules import load_set
    from pyscf_mlguess.benchmark.protocol import Protocol
    from pyscf_mlguess.benchmark.report import markdown
    from pyscf_mlguess.benchmark.results import read_rows
    from pyscf_mlguess.benchmark.runner import CLASSICAL, EXACT_FIT, run_benchmark

    with _clear_errors():
        protocols = [Protocol(xc=name, basis=basis, density_fit=density_fit, grid_level=grid_level, threads=threads)
                     for name in xc or ["pbe"]]
        run_benchmark(load_set(molecules)[:limit], guess or [*CLASSICAL, "ml", EXACT_FIT], protocols, output, jobs)
        text = markdown(read_rows(output))
        if report:
            report.write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


@app.command()
def timing(
    molecules: Annotated[str, typer.Option(
        help="Shipped set or xyz file; molecules of 20 atoms and more are timed.")] = "reference_unseen",
    guess: Annotated[str, typer.Option(help="One guess: minao, ..., ml, ml:<model>.")] = "ml",
    xc: Annotated[str, typer.Option(help="PySCF's functional, or hf.")] = "b3lyp",
    basis: _Basis = "def2-svp",
    threads: Annotated[int, typer.Option(min=1, help="OpenMP threads.")] = 1,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Only the first molecules of that size.")] = None,
) -> None:
    """Time a guess against one SCF cycle without density fitting, and the memory that it leaves behind."""
    from tqdm import tqdm

    from pyscf_mlguess.benchmark.molecules import load_set
    from pyscf_mlguess.benchmark.protocol import Protocol
    from pyscf_mlguess.benchmark.runner import check_guesses
    from pyscf_mlguess.benchmark.timing import SMALLEST, markdown, time_molecules

    with _clear_errors():
        large = [molecule for molecule in load_set(molecules) if len(molecule.symbols) >= SMALLEST][:limit]
        if not large:
            raise ValueError(f"no molecule of {SMALLEST} atoms or more in {molecules!r}")
        protocol = Protocol(xc=xc, basis=basis, density_fit=False, threads=threads)
        protocol.check()
        check_guesses([guess])
        timings = list(tqdm(time_molecules(large, guess, protocol), total=len(large), desc="timing", unit="mol"))
        typer.echo(markdown(timings, protocol))
