"""The labels of an output file, and those finished since, each in a small file of its own beside it.

```
<output>               molecules.label_files.write_labels
<output>.parts/
  <hash of id>.npz     one label, complete or not there
  failures.jsonl       one failure a line
```
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from pyscf_mlguess.journal import append_row, complete_lines
from pyscf_mlguess.molecules.label import Label, merge
from pyscf_mlguess.molecules.label_files import Failure, read_failures, read_labels, read_levels, write_labels

_COEFFICIENTS, _GRADIENT, _ORBITALS = "coefficients/", "gradient/", "orbitals/"


class Collection:
    """What is known of every molecule by its id; may be killed at any time and opened again.

    orbitals: a level counts as known only with its orbitals.
    Raises ValueError for an output that is not a label file, FileNotFoundError where its folder does not exist.
    """

    def __init__(self, output: str | Path, orbitals: bool = False):
        self.output, self._orbitals = Path(output), orbitals
        if not self.output.parent.is_dir():
            raise FileNotFoundError(f"no folder {str(self.output.parent)!r} for the output")
        self._stored, self._failures = {}, {}
        if self.output.exists():
            self._stored = read_levels(self.output, orbitals)
            self._failures = {failure.name: failure for failure in read_failures(self.output)}
        self._folder = self.output.with_name(f"{self.output.name}.parts")
        self._folder.mkdir(exist_ok=True)
        self._journal = self._folder / "failures.jsonl"
        for line in complete_lines(self._journal):
            failure = Failure(**json.loads(line))
            self._failures[failure.name] = failure

    def levels(self, name: str) -> set[str]:
        """The levels that are known of a molecule."""
        part = _read_part(self._part(name))
        found = (part.orbitals if self._orbitals else part.coefficients) if part else ()
        return self._stored.get(name, set()) | set(found)

    def failure(self, name: str) -> Failure | None:
        return self._failures.get(name)

    def add_label(self, label: Label) -> None:
        """Keep a label, beside the levels that the molecule has already."""
        path = self._part(label.name)
        known = _read_part(path)
        if known:
            (label,) = merge([known], [label])
        unfinished = path.with_suffix(f".{os.getpid()}")
        with open(unfinished, "wb") as file:
            np.savez(file, name=label.name, smiles=label.smiles, charge=label.charge, numbers=label.numbers,
                     positions=label.positions,
                     **{kind + level: value for kind, values in _by_level(label) for level, value in values.items()})
        os.replace(unfinished, path)

    def add_failure(self, failure: Failure) -> None:
        """Keep a failure; levels at which the molecule failed before stay failed."""
        before = self._failures.get(failure.name, failure)
        levels = dict.fromkeys([*before.levels.split(), *failure.levels.split()])
        failure = replace(failure, levels=" ".join(levels))
        if failure != before or failure.name not in self._failures:
            append_row(self._journal, asdict(failure))
            self._failures[failure.name] = failure

    def gather(self) -> tuple[int, int]:
        """Bring everything into the output file, and then remove the parts; returns how many labels and failures.

        A failure whose levels a later run has got is dropped.
        """
        parts = sorted(self._folder.glob("*.npz"))
        stored = read_labels(self.output) if self.output.exists() else []
        labels = merge(stored, filter(None, map(_read_part, parts)))
        failures = list(_unresolved(self._failures.values(), {label.name: label.coefficients for label in labels}))
        if parts or self._journal.exists():
            write_labels(self.output, labels, failures)
        shutil.rmtree(self._folder)
        return len(labels), len(failures)

    def _part(self, name):
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npz"


def _unresolved(failures, known) -> Iterator[Failure]:
    for failure in failures:
        left = [level for level in failure.levels.split() if level not in known.get(failure.name, ())]
        if left or not failure.levels:
            yield replace(failure, levels=" ".join(left))


def _by_level(label):
    return (_COEFFICIENTS, label.coefficients), (_GRADIENT, label.gradients), (_ORBITALS, label.orbitals)


def _read_part(path):
    """The label of a part, or None where there is none or a crash of the machine left half of it."""
    try:
        with np.load(path, allow_pickle=False) as part:
            label = Label(str(part["name"]), str(part["smiles"]), int(part["charge"]), part["numbers"],
                          part["positions"], {})
            for kind, values in _by_level(label):
                values |= {key.removeprefix(kind): part[key] for key in part.files if key.startswith(kind)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    label.gradients = {level: float(value) for level, value in label.gradients.items()}
    return label
