"""The digest of a guess's code: rewording throws no results away, another number does."""

import ast
import shutil

import pytest

from pyscf_mlguess.benchmark import code_digest
from pyscf_mlguess.benchmark.code_digest import digest_of_code, guess_sources

PACKAGE = code_digest._PACKAGE


@pytest.fixture
def package(tmp_path):
    """A copy of the package's source."""
    for path in PACKAGE.rglob("*.py"):
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return tmp_path


def changed(package, name, before, after):
    """Whether the digest changes when ``before`` becomes ``after`` in the file called ``name``."""
    path = package / name
    source = path.read_text(encoding="utf-8")
    assert before in source
    digest_of_code.cache_clear()
    first = digest_of_code(package)
    path.write_text(source.replace(before, after, 1), encoding="utf-8")
    digest_of_code.cache_clear()
    return digest_of_code(package) != first


@pytest.mark.parametrize("name", ["cheap/anderson.py", "density_fitting/tensor.py", "routes/auxiliary_fock.py",
                                  "models/linear_density/model.py", "models/response.py", "pipeline.py"])
def test_another_statement_is_another_code(package, name):
    assert changed(package, name, "\nfrom ", "\n_ANOTHER_NUMBER = 2.0\nfrom ")


@pytest.mark.parametrize("name", ["cli/bench.py", "benchmark/guesses.py", "labels/production.py", "training/solver.py",
                                  "models/linear_density/training.py", "molecules/smiles.py", "__init__.py"])
def test_what_no_guess_depends_on_is_left_out(package, name):
    assert not changed(package, name, "\nfrom ", "\n_ANOTHER_NUMBER = 2.0\nfrom ")


@pytest.mark.parametrize("name", ["pipeline.py", "models/linear_density/model.py", "cheap/problem.py"])
def test_words_are_left_out(package, name):
    assert not changed(package, name, '"""', '"""Other words.  ')
    assert not changed(package, name, "\nfrom ", "\n# A comment.\n\nfrom ")


def test_a_docstring_of_a_function_is_left_out(package):
    path = package / "functional.py"
    (name, function) = next((node.name, node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node))
    text = ast.get_docstring(function, clean=False)
    assert not changed(package, "functional.py", text, f"{name} in other words.")


def test_a_guess_imports_nothing_that_the_digest_leaves_out():
    held = {_module(path) for path in guess_sources()} | {"pyscf_mlguess"}
    assert len(held) > 20
    for path in guess_sources():
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyscf_mlguess."):
                assert node.module in held or {f"{node.module}.{name.name}" for name in node.names} <= held, \
                    f"{path} imports {node.module}"


def _module(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("pyscf_mlguess", *parts)).removesuffix(".__init__")
