"""Runs every guess on every molecule, each on a fresh SCF object, and appends a row per run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import joblib
import numpy as np
from pyscf import lib
from tqdm import tqdm

from pyscf_mlguess import two_level
from pyscf_mlguess.benchmark.counting import counting_builds
from pyscf_mlguess.benchmark.guesses import (
    BASELINE,
    PREVIOUS,
    Start,
    check_guess,
    code_of,
    initial_density,
    is_two_level,
    model_of,
    needs_converged,
    prepare,
    weights_of,
)
from pyscf_mlguess.benchmark.observation import observing, peak_memory_mb, reset_peak_memory
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.results import read_rows, row_key
from pyscf_mlguess.journal import append_row
from pyscf_mlguess.models import trained_on
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.refusal import GuessRefused
from pyscf_mlguess.stages import listening, stage

_STAGES = ("model", "route", "cheap", "guess", "scf")


@dataclass(frozen=True)
class Batch:
    """Molecules of one set, a level of theory, and the guesses to compare there."""

    set: str
    molecules: tuple[Molecule, ...]
    protocol: Protocol
    guesses: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """Runs that one process makes one after the other: a molecule, or all frames of a path, and the missing guesses."""

    set: str
    frames: tuple[tuple[Molecule, tuple[str, ...]], ...]
    protocol: Protocol


def run_benchmark(batches: list[Batch], output: str | Path, jobs: int = 1, progress: bool = True) -> None:
    """Run what ``output`` (JSONL) does not hold yet; safe to kill and to start again.

    jobs: processor cores to use; protocols of n threads run jobs // n molecules at a time, and one at least.
    Raises ValueError for unknown guesses and levels before anything runs.
    """
    for batch in batches:
        batch.protocol.check()
        for guess in batch.guesses:
            check_guess(guess, batch.protocol)
        if PREVIOUS in batch.guesses and not any(molecule.path for molecule in batch.molecules):
            raise ValueError(f"the guess {PREVIOUS!r} needs frames of a path, and {batch.set} has none (path= in xyz)")
    done = {row_key(row) for row in read_rows(output)}
    tasks = [task for batch in batches for task in _tasks(batch, done)]
    total = sum(len(guesses) for task in tasks for _, guesses in task.frames)
    with tqdm(total=total, desc="bench", unit="run", disable=not progress) as bar:
        for threads, group in groupby(tasks, key=lambda task: task.protocol.threads):
            for count in _execute(list(group), output, max(1, jobs // threads), threads):
                bar.update(count)


def _tasks(batch: Batch, done: set) -> Iterator[_Task]:
    """What is missing of a batch; adds it to ``done``, so that no later batch runs it again."""
    for _, group in groupby(enumerate(batch.molecules), key=lambda item: item[1].path or item[0]):
        frames = [molecule for _, molecule in group]
        missing = []
        for molecule in frames:
            # The first frame has none before it.
            guesses = [guess for guess in batch.guesses if guess != PREVIOUS or molecule is not frames[0]]
            keys = {row_key(_identity(batch.set, molecule, guess, batch.protocol)): guess for guess in guesses}
            missing.append((molecule, tuple(guess for key, guess in keys.items() if key not in done)))
            done.update(keys)
        if any(guesses for _, guesses in missing):
            yield _Task(batch.set, tuple(missing), batch.protocol)


def _execute(tasks, output, jobs, threads):
    if jobs == 1:
        for task in tasks:
            yield from run_task(task, output)
        return
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=threads):
        yield from joblib.Parallel(return_as="generator_unordered")(
            joblib.delayed(_count_task)(task, output, os.getpid()) for task in tasks)


def _count_task(task, output, parent):
    runs, count = run_task(task, output), 0
    while os.getppid() == parent:
        if next(runs, None) is None:
            return count
        count += 1
    # The command was killed. Started again, it goes on from what is written, and must not meet this process.
    os._exit(1)


def run_task(task: _Task, output: str | Path) -> Iterator[int]:
    """Run and append the missing guesses of every frame; yields 1 for each row appended.

    Oracles and guesses from the frame before start from the density that minao converged to, so minao
    runs first, unrecorded if need be.
    """
    previous = None
    with lib.with_omp_threads(task.protocol.threads):
        for molecule, guesses in task.frames:
            start = Start(molecule, task.protocol, previous=previous)
            on_path = any(PREVIOUS in missing for _, missing in task.frames)
            if BASELINE not in guesses and (on_path or any(map(needs_converged, guesses))):
                start.converged = run_guess(task.set, BASELINE, start)[1]
            for guess in sorted(guesses, key=lambda guess: (needs_converged(guess), guess != BASELINE)):
                row, dm = run_guess(task.set, guess, start)
                append_row(output, row)
                if guess == BASELINE:
                    start.converged = dm
                yield 1
            previous = start.converged


def run_guess(set_name: str, guess: str, start: Start) -> tuple[dict, np.ndarray | None]:
    """One SCF from one guess: the row of the results file and the final density matrix (None if not converged).

    A run that fails or does not converge counts as ``max_cycle`` cycles.  A refused guess is recorded
    as such and the run goes on from PySCF's default, as it does for users.
    """
    molecule, protocol = start.molecule, start.protocol
    row = _identity(set_name, molecule, guess, protocol) | {
        "natm": len(molecule.symbols), "nao": None, "trained_on": _trained_on(guess, molecule),
        "cycles": protocol.max_cycle, "converged": False, "energy": None, "initial_energy": None,
        "initial_gradient": None, "curve": [], "guess_builds": 0, "scf_builds": 0, "cheap_iterations": 0,
        "wall": None, "cpu": None, "peak_memory_mb": None, "integrals": None, "refused": None, "error": None,
    }
    peak_is_own = reset_peak_memory()
    try:
        mf = _run(row, guess, start)
    except Exception as error:  # one molecule that fails must not end the suite; it counts and is listed
        row["error"] = f"{type(error).__name__}: {error}"
        return row, None
    row["peak_memory_mb"] = round(peak_memory_mb()) if peak_is_own else None
    row["integrals"] = "density-fitted" if protocol.density_fit else "direct" if mf._eri is None else "in-core"
    if not mf.converged:
        return row, None
    row.update(converged=True, cycles=int(mf.cycles), energy=float(mf.e_tot))
    return row, np.asarray(mf.make_rdm1())


def _run(row, guess, start):
    with listening() as times:
        with stage("scf"):
            mf = start.protocol.mean_field(start.molecule.mol(start.protocol.basis))
            two = is_two_level(guess)
            if two:
                mf = two_level(mf)
        row["nao"] = int(mf.mol.nao)
        with counting_builds(mf) as counter, observing(mf) as observation:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                with stage("guess"):
                    dm = None if two else initial_density(mf, guess, start)
                    if two:
                        prepare(mf, guess, start)
                row["guess_builds"] = counter.builds
                before = {kind: _of_the_guess(getattr(times, kind)) for kind in ("wall", "cpu")}
                with stage("scf"):
                    mf.kernel(dm0=dm)
            refusals = [str(w.message) for w in caught if issubclass(w.category, GuessRefused)]
            row["refused"] = refusals[0] if refusals else None
            row["cheap_iterations"] = times.counts["cheap_iterations"]
            row["scf_builds"] = counter.builds - row["guess_builds"]
    row["curve"] = [[round(energy, 10), float(f"{gradient:.4g}")] for energy, gradient in observation.curve]
    row["initial_energy"] = observation.initial_energy
    row["initial_gradient"] = observation.initial_gradient(mf.get_ovlp())
    for kind in ("wall", "cpu"):
        seconds = getattr(times, kind)
        # The guess and the cheap problem of a two-level SCF are inside its kernel.
        inside = _of_the_guess(seconds) - before[kind]
        seconds["guess"], seconds["scf"] = seconds["guess"] + inside, seconds["scf"] - inside
        row[kind] = {name: round(seconds[name], 4) for name in _STAGES}
    return mf


def _of_the_guess(seconds):
    return seconds["model"] + seconds["route"] + seconds["cheap"]


def _identity(set_name, molecule, guess, protocol):
    return {"set": set_name, "molecule": molecule.name, "fingerprint": molecule.fingerprint, "guess": guess,
            "weights": weights_of(guess), "code": code_of(guess), "protocol": asdict(protocol)}


def _trained_on(guess, molecule):
    """Whether the model behind the guess has seen the molecule; None if there is no model or no knowing."""
    keys = trained_on(model_of(guess)) if model_of(guess) else None
    return molecule.inchikey in keys if keys is not None and molecule.inchikey else None
