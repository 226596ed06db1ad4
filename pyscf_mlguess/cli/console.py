"""What all commands share: clear errors and the folder for what they write."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer


@contextmanager
def clear_errors() -> Iterator[None]:
    """Wrong input ends the command with one line and no traceback."""
    from pyscf_mlguess.refusal import GuessRefused

    try:
        yield
    except (OSError, ValueError, GuessRefused) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def tell_skipped(errors: Iterable[Exception]) -> None:
    """One line for each entry of a file that was left out; the command ends with exit code 1 then."""
    for error in errors:
        typer.echo(f"skipped: {error}", err=True)


def cache_folder() -> Path:
    """Where metrics and benchmark results go unless the user names another place."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyscf_mlguess"
