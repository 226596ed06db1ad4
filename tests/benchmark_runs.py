"""Molecules that converge in no time, and single runs of them."""

import hashlib
import json

from safetensors.numpy import load_file, save_file

from pyscf_mlguess.benchmark.guesses import Start
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.runner import Batch, run_benchmark
from pyscf_mlguess.benchmark.single_run import run_guess
from pyscf_mlguess.models import CHECKPOINTS
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


def another_model(folder):
    """Path of a model that predicts something else than the default one."""
    shipped, path = CHECKPOINTS / "linear-ace-3", folder / "another.safetensors"
    save_file({name: values * values.dtype.type(1.02) if values.dtype.kind == "f" else values
               for name, values in load_file(shipped.with_suffix(".safetensors")).items()}, path)
    card = json.loads(shipped.with_suffix(".json").read_text())
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(card))
    return path
