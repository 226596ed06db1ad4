"""Runs every guess on every molecule, each on a fresh SCF object, and appends a row per run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import joblib
from pyscf import lib
from tqdm import tqdm

from pyscf_mlguess.benchmark.guesses import BASELINE, PREVIOUS, Start, check_guess, needs_converged
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.results import read_rows, row_key
from pyscf_mlguess.benchmark.single_run import identity, run_guess
from pyscf_mlguess.journal import append_row
from pyscf_mlguess.molecules.molecule import Molecule


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
        wanted = f"the guess {PREVIOUS!r}" if PREVIOUS in batch.guesses else "a scanner" * batch.protocol.scanner
        if wanted and not any(molecule.path for molecule in batch.molecules):
            raise ValueError(f"{wanted} needs frames of a path, and {batch.set} has none (path= in xyz)")
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
            guesses = [guess for guess in batch.guesses
                       if molecule is not frames[0] or guess != PREVIOUS and not batch.protocol.scanner]
            keys = {row_key(identity(batch.set, molecule, guess, batch.protocol)): guess for guess in guesses}
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
    runs first, unrecorded if need be.  A scanner walks all frames again for those that are missing.
    """
    if task.protocol.scanner:
        yield from _walk(task, output)
        return
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


def _walk(task, output):
    """One scanner a guess, each along all frames; yields 1 for each row appended."""
    with lib.with_omp_threads(task.protocol.threads):
        for guess in dict.fromkeys(guess for _, missing in task.frames for guess in missing):
            scanners = {}
            for molecule, missing in task.frames:
                row, _ = run_guess(task.set, guess, Start(molecule, task.protocol, scanners=scanners))
                if guess in missing:
                    append_row(output, row)
                    yield 1
