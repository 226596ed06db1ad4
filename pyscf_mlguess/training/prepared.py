"""What training needs of every label, computed once and kept in a folder, one file each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import joblib
import numpy as np
from tqdm import tqdm

from pyscf_mlguess.molecules.label import Label


def prepare(labels: Iterable[Label], path_of: Callable[[Label], Path], write: Callable[[Label, BinaryIO], None],
            what: str, jobs: int = 2, progress: bool = True) -> None:
    """Let ``write`` make the file ``path_of`` of every label that has none yet.

    what: is shown with the progress.  May be killed at any time and started again: a file appears complete or not at
    all.
    """
    missing = [(label, path) for label in labels if not (path := path_of(label)).exists()]
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        done = joblib.Parallel(return_as="generator_unordered")(
            joblib.delayed(_written)(write, label, path) for label, path in missing)
        for _ in tqdm(done, total=len(missing), desc=what, unit="mol", disable=not progress):
            pass


def _written(write, label, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    with open(unfinished, "wb") as file:
        write(label, file)
    os.replace(unfinished, path)


def name_of(*arrays: np.ndarray) -> str:
    """A name that follows from the contents of arrays."""
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.sha256(content).hexdigest()[:16]
