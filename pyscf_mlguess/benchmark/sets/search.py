"""Finds the set difficult: python -m pyscf_mlguess.benchmark.sets.search RESULTS.jsonl.

PySCF's default runs on every candidate, and its second-order solver on those that the default does not converge: they
are the set. Each result is appended to the results file at once, and what is in there is not run again.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.sets.difficult import candidates
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.xyz import write_xyz

_FILE = Path(__file__).parent / "difficult.xyz"
_PROTOCOL = Protocol()
_SEED = 3
DEFAULT, NEWTON = "diis", "newton"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="results file, JSON lines")
    parser.add_argument("--atoms", type=int, default=100, help="run candidates of at most so many atoms")
    arguments = parser.parse_args()
    molecules = list(candidates())
    # Any part of a search that was ended early holds some of every kind.
    random.Random(_SEED).shuffle(molecules)
    small = [molecule for molecule in molecules if len(molecule.symbols) <= arguments.atoms]
    search(arguments.results, small, DEFAULT)
    difficult = unconverged(arguments.results, molecules)
    write_xyz(_FILE, difficult)
    print(f"{_FILE.name}: {len(difficult)}")
    search(arguments.results, difficult, NEWTON)


def search(path: Path, molecules: Iterable[Molecule], solver: str) -> None:
    """Run the molecules of which the results file holds no run of this solver."""
    known = converged(path, solver)
    for molecule in molecules:
        if molecule.fingerprint not in known:
            row = run(molecule, solver)
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def unconverged(path: Path, molecules: Iterable[Molecule]) -> list[Molecule]:
    """Those that PySCF's default ran on and did not converge."""
    known = converged(path, DEFAULT)
    return [molecule for molecule in molecules if not known.get(molecule.fingerprint, True)]


def converged(path: Path, solver: str) -> dict[str, bool]:
    """Whether the solver converged, by the fingerprint of the molecule."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines() if path.is_file() else ())
    return {row["fingerprint"]: row["converged"] for row in rows if row["solver"] == solver}


def run(molecule: Molecule, solver: str) -> dict:
    """One SCF: the row of the results file, energy in Eh, the gradient as PySCF's convergence test sees it."""
    mf = _PROTOCOL.mean_field(molecule.mol(_PROTOCOL.basis))
    if solver == NEWTON:
        mf = mf.newton()
    mf.kernel()
    gradient = float(np.linalg.norm(mf.get_grad(mf.mo_coeff, mf.mo_occ)))
    return {"name": molecule.name, "fingerprint": molecule.fingerprint, "solver": solver, "level": str(_PROTOCOL),
            "converged": bool(mf.converged), "cycles": int(mf.cycles), "energy": float(mf.e_tot),
            "gradient": float(f"{gradient:.3g}")}


if __name__ == "__main__":
    main()
