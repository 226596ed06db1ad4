"""Count Fock builds from several guesses on a molecule of your own, from Python instead of `mlguess bench`."""

import tempfile
from pathlib import Path

from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.report import markdown
from pyscf_mlguess.benchmark.results import read_rows
from pyscf_mlguess.benchmark.runner import Batch, run_benchmark
from pyscf_mlguess.molecules.molecule import Molecule

formamide = Molecule(
    name="formamide",
    symbols=("O", "C", "N", "H", "H", "H"),
    positions=((0.0, 1.21, 0.0), (0.0, 0.0, 0.0), (1.17, -0.68, 0.0),
               (-0.96, -0.55, 0.0), (2.04, -0.17, 0.0), (1.18, -1.69, 0.0)),
)
protocol = Protocol(xc="pbe", basis="def2-svp", grid_level=1)
batch = Batch("mine", (formamide,), protocol, ("minao", "sap", "pre-scf", "ml", "exact-fit"))

with tempfile.TemporaryDirectory() as folder:
    results = Path(folder, "mine.jsonl")  # keep it, and a second run does only what is missing
    run_benchmark([batch], results, progress=False)
    rows = read_rows(results)
    print(markdown(rows))
    for row in rows:  # everything else that was measured is in the rows
        print(f"{row['guess']:10} gradient of the guess {row['initial_gradient']:.1e} Eh, E = {row['energy']:.9f} Eh")
