"""The command line: mlguess demo | predict | info | bench | timing | label | fragments | select | train."""

from __future__ import annotations

import typer

from pyscf_mlguess.cli import bench, guess, label, train

app = typer.Typer(name="mlguess", help="Learned initial guesses for PySCF.", no_args_is_help=True,
                  add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(bench.app, name="bench", help="Count SCF cycles from several guesses.")
for command in (guess.demo, guess.predict, guess.info, guess.timing, label.label, label.fragments, train.train,
                train.select):
    app.command()(command)
