"""Runs commands of mlguess within the test's process."""

from typer.testing import CliRunner

from pyscf_mlguess.cli import app

WATER = "3\ncharge=0 multiplicity=1\nO 0 0 0\nH 0 0.757 0.587\nH 0 -0.757 0.587\n"


def mlguess(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def assert_clear_error(result, *parts):
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    for part in ("error: ", *parts):
        assert part in result.output
