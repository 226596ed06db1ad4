"""Which code a guess of this package ran, as a short digest: runs of other code are other runs."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# What measures, labels, trains, reads molecules and talks to the user: no number of a guess depends on it.
_NOT_A_GUESS = ("__init__.py", "journal.py", "benchmark", "cli", "labels", "molecules", "namespace", "training")
# In the folder of every family of models.
_NOT_A_PREDICTION = ("training.py", "adaptation.py", "fit.py", "loop.py", "metrics.py", "compression.py", "design.py")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def digest_of_code(package: Path = _PACKAGE) -> str:
    """First digits of the SHA-256 of the code that the numbers of a guess depend on.

    Comments, docstrings and layout make no difference.
    """
    whole = hashlib.sha256()
    for path in guess_sources(package):
        whole.update(f"{path.relative_to(package).as_posix()}\n{_bare(path)}\n".encode())
    return whole.hexdigest()[:8]


def guess_sources(package: Path = _PACKAGE) -> Iterator[Path]:
    """The source files between an SCF object and its guess, in fixed order."""
    for path in sorted(package.rglob("*.py")):
        first, *rest = path.relative_to(package).parts
        if first not in _NOT_A_GUESS and not (first == "models" and len(rest) > 1 and rest[-1] in _NOT_A_PREDICTION):
            yield path


def _bare(path):
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.unparse(tree)
