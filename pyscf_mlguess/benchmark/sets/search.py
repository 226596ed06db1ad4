"""Finds the set difficult: python -m pyscf_mlguess.benchmark.sets.search RESULTS.jsonl.

PySCF's default runs on every candidate of ``difficult``, and its second-order solver where the default does not
converge. Each result is appended to the results file at once; what is in there is not run again.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np

from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.sets.difficult import candidates
from pyscf_mlguess.molecules.molecule import Molecule

_PROTOCOL = Protocol()
_SEED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="results file, JSON lines")
    parser.add_argument("--atoms", type=int, default=100, help="candidates of at most so many atoms")
    parser.add_argument("--newton", action="store_true", help="the second-order solver on those that did not converge")
    arguments = parser.parse_args()
    molecules = [molecule for molecule in candidates() if len(molecule.symbols) <= arguments.atoms]
    # Any part of a search that was ended early holds some of every kind.
    random.Random(_SEED).shuffle(molecules)
    for molecule in molecules:
        results = read_results(arguments.results).get(molecule.fingerprint, {})
        solver = "diis" if "diis" not in results else "newton" if arguments.newton else None
        if solver in results or solver is None or results.get("diis", False):
            continue
        _append(arguments.results, run(molecule, solver))


def read_results(path: Path) -> dict[str, dict[str, bool]]:
    """Whether each solver converged, by the fingerprint of the molecule."""
    results: dict[str, dict[str, bool]] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        row = json.loads(line)
        results.setdefault(row["fingerprint"], {})[row["solver"]] = row["converged"]
    return results


def run(molecule: Molecule, solver: str) -> dict:
    """One SCF with "diis", PySCF's default, or "newton": the row of the results file, energy in Eh."""
    mf = _PROTOCOL.mean_field(molecule.mol(_PROTOCOL.basis))
    if solver == "newton":
        mf = mf.newton()
    mf.kernel()
    gradient = float(np.linalg.norm(mf.get_grad(mf.mo_coeff, mf.mo_occ)))
    return {"name": molecule.name, "fingerprint": molecule.fingerprint, "solver": solver,
            "level": str(_PROTOCOL), "converged": bool(mf.converged), "cycles": int(mf.cycles),
            "energy": float(mf.e_tot), "gradient": float(f"{gradient:.3g}")}


def _append(path, row):
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
