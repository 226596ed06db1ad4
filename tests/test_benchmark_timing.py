"""A guess is timed against one warm cycle, cold start apart."""

import math

import pytest

from pyscf_mlguess.benchmark import timing
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.molecules.molecule import Molecule

H2 = Molecule("H2", ("H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.74)))
WATER = Molecule("water", ("O", "H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.757, 0.587), (0.0, -0.757, 0.587)))


def test_timing_of_one_molecule():
    protocol = Protocol(xc="b3lyp", basis="sto-3g", density_fit=False, grid_level=0)
    result = timing.time_molecule(WATER, "minao", protocol)
    assert result.integrals == "in-core" and not result.flipped
    assert min(result.cold, result.warm, result.cycle) > 0
    assert (result.natm, result.nao) == (3, 7)
    assert "| water | 3 | 7 |" in timing.markdown([result], protocol)


def test_a_refused_guess_is_listed_and_not_timed():
    close = Molecule("close", ("H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.05)))
    protocol = Protocol(xc="hf", basis="sto-3g", density_fit=False)
    result = timing.time_molecule(close, "ml", protocol)
    assert "on top of each other" in result.refused and math.isnan(result.warm)
    assert "| close | 2 | 2 | refused |" in timing.markdown([result], protocol)


def test_each_molecule_is_timed_in_a_fresh_process():
    (result,) = timing.time_molecules([H2], "minao", Protocol(xc="hf", basis="sto-3g", density_fit=False))
    assert result.molecule == "H2" and result.cycle > 0


def test_timing_wants_no_density_fitting():
    with pytest.raises(ValueError, match="density fitting"):
        timing.time_molecule(H2, "minao", Protocol())
