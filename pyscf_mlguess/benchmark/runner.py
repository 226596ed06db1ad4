"""Runs every guess on every molecule, each on a fresh SCF object, and appends a row per run."""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict
from pathlib import Path

from pyscf import lib
from tqdm import tqdm

from pyscf_mlguess import gate, load_model
from pyscf_mlguess.benchmark.counting import counting_builds
from pyscf_mlguess.benchmark.molecules import Molecule
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.results import append_row, read_rows, row_key
from pyscf_mlguess.gate import GuessRefused

CLASSICAL = ("minao", "atom", "huckel", "sap")
# The guess that a perfect prediction of the auxiliary density would give.
EXACT_FIT = "exact-fit"
# The default model where the gate would refuse it, too: shows whether the gate is right.
UNCHECKED = "ml-unchecked"


def check_guesses(guesses: list[str]) -> None:
    """Raise ValueError for an unknown name, for which PySCF would run minao in silence; load every model once."""
    for guess in guesses:
        if not _weights_of(guess) and guess not in (*CLASSICAL, EXACT_FIT):
            raise ValueError(f"unknown guess {guess!r}; known are {', '.join(CLASSICAL)}, {EXACT_FIT}, ml, ml:<model>, "
                             f"{UNCHECKED}")


def run_benchmark(molecules: list[Molecule], guesses: list[str], protocols: list[Protocol], output: str | Path,
                  jobs: int = 1, progress: bool = True) -> None:
    """Run what ``output`` (JSONL) does not hold yet; safe to kill and to start again."""
    check_guesses(guesses)
    for protocol in protocols:
        protocol.check()
    done = {row_key(row) for row in read_rows(output)}
    tasks = []
    for protocol in protocols:
        for molecule in molecules:
            missing = [g for g in guesses if row_key(_identity(molecule, g, protocol)) not in done]
            if missing:
                tasks.append((molecule, missing, protocol, output))
    with tqdm(total=sum(len(task[1]) for task in tasks), desc="bench", unit="run", disable=not progress) as bar:
        for count in _execute(tasks, jobs):
            bar.update(count)


def _execute(tasks, jobs):
    if jobs == 1:
        for task in tasks:
            yield run_molecule(*task)
        return
    try:
        import joblib
    except ImportError:
        raise ValueError(f"{jobs} jobs need joblib: pip install 'pyscf-mlguess[train]'") from None
    threads = max((task[2].threads for task in tasks), default=1)
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=threads):
        yield from joblib.Parallel(return_as="generator_unordered")(joblib.delayed(run_molecule)(*t) for t in tasks)


def run_molecule(molecule: Molecule, guesses: list[str], protocol: Protocol, output: str | Path) -> int:
    """Run and append ``guesses`` of one molecule; the number of rows appended.

    The oracle starts from the density that minao converged to, so minao runs first, unrecorded if need be.
    """
    with lib.with_omp_threads(protocol.threads):
        ordered = sorted(guesses, key=lambda guess: (guess == EXACT_FIT, guess != "minao"))
        converged = None
        if EXACT_FIT in guesses and "minao" not in guesses:
            converged = run_guess(molecule, "minao", protocol)[1]
        for guess in ordered:
            row, dm = run_guess(molecule, guess, protocol, converged)
            append_row(output, row)
            if guess == "minao":
                converged = dm
    return len(ordered)


def run_guess(molecule: Molecule, guess: str, protocol: Protocol, converged=None) -> tuple[dict, object]:
    """One SCF from one guess: the row of the results file and the final density matrix (None if not converged).

    A run that fails or does not converge counts as ``max_cycle`` cycles.  A refused guess is recorded
    as such and the run goes on from PySCF's default, as it does for users.
    converged: the density matrix that the oracle fits.
    """
    row = _identity(molecule, guess, protocol) | {
        "natm": len(molecule.symbols), "cycles": protocol.max_cycle, "converged": False, "energy": None,
        "guess_builds": 0, "scf_builds": 0, "guess_seconds": None, "scf_seconds": None, "refused": None, "error": None,
    }
    try:
        mf = protocol.mean_field(molecule.mol(protocol.basis))
        with counting_builds(mf) as counter, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            start = time.perf_counter()
            dm = _initial_density(mf, guess, converged)
            row["guess_seconds"] = time.perf_counter() - start
            row["guess_builds"] = counter.builds
            refusals = [str(w.message) for w in caught if issubclass(w.category, GuessRefused)]
            row["refused"] = refusals[0] if refusals else None
            start = time.perf_counter()
            mf.kernel(dm0=dm)
            row["scf_seconds"] = time.perf_counter() - start
            row["scf_builds"] = counter.builds - row["guess_builds"]
    except Exception as error:  # one molecule that fails must not end the suite; it counts and is listed
        row["error"] = f"{type(error).__name__}: {error}"
        return row, None
    if not mf.converged:
        return row, None
    row.update(converged=True, cycles=int(mf.cycles), energy=float(mf.e_tot))
    return row, mf.make_rdm1()


def _initial_density(mf, guess, converged):
    if guess == UNCHECKED:
        with gate.unchecked():
            return mf.get_init_guess(key="ml")
    if guess != EXACT_FIT:
        return mf.get_init_guess(key=guess)
    from pyscf_mlguess.routes.auxiliary_density import exact_fit_guess

    if converged is None:
        raise RuntimeError("no converged density to fit: the run from minao did not converge")
    return exact_fit_guess(mf, converged)


def _identity(molecule, guess, protocol):
    return {"molecule": molecule.name, "fingerprint": molecule.fingerprint, "guess": guess,
            "weights": _weights_of(guess), "protocol": asdict(protocol)}


def _weights_of(guess):
    """First digits of the SHA-256 of a learned guess's weights, so that retrained weights are run again; else ""."""
    family, _, model = guess.partition(":")
    return load_model(model or "default").card["sha256"][:8] if family in ("ml", UNCHECKED) else ""
