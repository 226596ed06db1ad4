"""What pyproject.toml and CITATION.cff say is so."""

import re
from pathlib import Path

import pyscf
from packaging.requirements import Requirement

import pyscf_mlguess

ROOT = Path(__file__).parents[1]


def requirement_of_pyscf():
    (line,) = re.findall(r'^ *"(pyscf[<>=][^"]*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    return Requirement(line)


def test_the_pyscf_in_use_is_one_that_the_package_allows():
    assert pyscf.__version__ in requirement_of_pyscf().specifier


def test_the_oldest_pyscf_is_the_one_that_ci_installs():
    (pattern,) = re.findall(r"s/(\^.*)/\\1/p", (ROOT / ".ci" / "run").read_text())
    (oldest,) = re.findall(pattern, (ROOT / "pyproject.toml").read_text(), re.M)
    assert f">={oldest}" in str(requirement_of_pyscf().specifier)


def test_types_of_the_package_are_known_to_checkers():
    assert (Path(pyscf_mlguess.__file__).parent / "py.typed").is_file()


def test_the_citation_is_of_this_version():
    assert f'version: "{pyscf_mlguess.__version__}"' in (ROOT / "CITATION.cff").read_text()
