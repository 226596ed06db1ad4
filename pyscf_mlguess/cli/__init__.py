"""The command line: mlguess demo | predict | info | timing | enable | disable | bench | label | fragments |
select | train."""

from __future__ import annotations

from typing import Annotated

import typer

from pyscf_mlguess import __version__
from pyscf_mlguess.cli import bench, enable, guess, label, train

app = typer.Typer(name="mlguess", no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(bench.app, name="bench", help="Count Fock builds from several guesses.")
for command in (guess.demo, guess.predict, guess.info, guess.timing, enable.enable, enable.disable, label.label,
                label.fragments, train.train, train.select):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlguess {__version__}")
        raise typer.Exit


@app.callback()
def mlguess(version: Annotated[bool, typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Print the version and leave.")] = False) -> None:
    """Learned initial guesses for PySCF."""
