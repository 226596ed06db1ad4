"""Molecules in, labels out: what is missing is calculated, kept at once, and gathered at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from pyscf_mlguess.labels.collection import Collection
from pyscf_mlguess.labels.inputs import Settings, Task, count_tasks, read_tasks
from pyscf_mlguess.labels.workers import label_tasks
from pyscf_mlguess.molecules.label_files import Failure

if TYPE_CHECKING:
    from distributed import Client


@dataclass
class Outcome:
    """molecules: how many the inputs of a run have.  labels, failures: how many the output file holds in the end.

    failed: the failures among the molecules of the inputs, those of an earlier run included that were not tried again.
    """

    molecules: int
    failed: list[Failure] = field(default_factory=list)
    labels: int = 0
    failures: int = 0


def produce(inputs: Sequence[str | Path], output: str | Path, settings: Settings,
            workers: AbstractContextManager[Client], retry_failed: bool = False,
            progress: bool = True) -> Outcome:
    """Label every molecule of ``inputs`` that ``output`` does not hold at these levels.

    workers: ``workers.connected``, entered when the inputs are known to be good.
    May be killed at any time and started again; whatever ends it otherwise, Ctrl-C included, what is finished is in
    ``output``.  Molecules that failed before are left alone unless ``retry_failed``.  Not for two processes at a time
    with the same output.  Raises ValueError, FileNotFoundError (inputs, output), ConnectionError (workers).
    """
    outcome = Outcome(sum(map(count_tasks, inputs)))
    collection = Collection(output, settings.orbitals)
    try:
        with workers as client, _Bar(outcome, progress) as bar:
            tasks = _missing(inputs, settings, collection, retry_failed, bar)
            for result in label_tasks(client, tasks):
                if isinstance(result, Failure):
                    collection.add_failure(result)
                    bar.failed(result)
                else:
                    collection.add_label(result)
                    bar.done()
    finally:
        outcome.labels, outcome.failures = collection.gather()
    return outcome


def _missing(inputs, settings, collection, retry_failed, bar) -> Iterator[Task]:
    """Tasks with the levels that are still to be calculated."""
    seen = set()
    for path in inputs:
        for entry in read_tasks(path, settings):
            if isinstance(entry, Failure):
                collection.add_failure(entry)
                bar.failed(entry)
                continue
            name = entry.molecule.name
            known = collection.levels(name)
            missing = tuple(level for level in entry.levels if str(level) not in known and (name, level) not in seen)
            seen.update((name, level) for level in missing)
            failure = collection.failure(name)
            if not missing:
                bar.done()
            elif failure and not retry_failed and set(map(str, missing)) <= set(failure.levels.split()):
                bar.failed(failure)
            else:
                yield replace(entry, levels=missing)


class _Bar:
    """Progress over all inputs, what was there already included; notes the failures in the outcome."""

    def __init__(self, outcome: Outcome, shown: bool):
        self._outcome = outcome
        self._bar = tqdm(total=outcome.molecules, desc="label", unit="mol", disable=not shown)
        self._counts = {"done": 0, "failed": 0}

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def done(self) -> None:
        self._count("done")

    def failed(self, failure: Failure) -> None:
        self._outcome.failed.append(failure)
        self._count("failed")

    def _count(self, what):
        self._counts[what] += 1
        self._bar.set_postfix(self._counts, refresh=False)
        self._bar.update()
