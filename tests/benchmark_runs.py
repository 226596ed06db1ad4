"""Molecules that converge in no time, and single runs of them."""

from pyscf_mlguess.benchmark.guesses import Start
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.runner import Batch, run_benchmark, run_guess
from pyscf_mlguess.molecules.molecule import Molecule

H2 = Molecule("H2", ("H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.74)))
WATER = Molecule("water", ("O", "H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.757, 0.587), (0.0, -0.757, 0.587)))
OH = Molecule("OH", ("O", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.97)), multiplicity=2)
HF_STO3G = Protocol(xc="hf", basis="sto-3g", density_fit=False)


def run(molecule, guess, protocol=HF_STO3G, **start):
    """Row and density matrix of one run."""
    return run_guess("small", guess, Start(molecule, protocol, **start))


def run_all(molecules, guesses, output, protocol=HF_STO3G, **options):
    """A benchmark of one batch."""
    run_benchmark([Batch("small", tuple(molecules), protocol, tuple(guesses))], output, progress=False, **options)
