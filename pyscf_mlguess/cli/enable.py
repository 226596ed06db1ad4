"""The commands mlguess enable and disable."""

from __future__ import annotations

from typing import Annotated

import typer

from pyscf_mlguess.cli.console import clear_errors


def enable(
    two_level: Annotated[bool, typer.Option(
        "--two-level", help="Every molecular SCF is a two-level one, too.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Change nothing, say whether it is on.")] = False,
) -> None:
    """Make the learned guess PySCF's default for this user, in every process, by PySCF's configuration file.

    An init_guess that a script sets has precedence. What cannot be served is plain PySCF, with one line in its log.
    """
    from pyscf_mlguess import configuration

    with clear_errors():
        before = configuration.state()
        now = before if status else configuration.enable(two_level)
    if status:
        typer.echo(now)
    else:
        typer.echo(f"already {now}" if now == before else f"{now}, from the next process on")
        typer.echo("mlguess disable is the way back")
    _tell_what_is_in_the_way()


def disable() -> None:
    """Take what `mlguess enable` wrote out of PySCF's configuration file; the rest of it stays as it is."""
    from pyscf_mlguess import configuration

    with clear_errors():
        before, now = configuration.state(), configuration.disable()
    typer.echo(f"off: taken out of {now.path}" if before.on else f"already {now}")
    _tell_what_is_in_the_way()


def _tell_what_is_in_the_way():
    from pyscf_mlguess import configuration

    if here := configuration.in_the_way():
        typer.echo(f"in this folder PySCF reads {here} instead, where nothing was changed")
