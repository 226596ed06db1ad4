"""The geometries that a model was trained on, beside its weights: what it goes on knowing when it learns more."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pyscf_mlguess.models.base import ModelError
from pyscf_mlguess.structure import Structure


def geometries_path(weights: Path) -> Path:
    """The file that belongs to a model's weights."""
    return weights.with_suffix(".geometries.safetensors")


def write_geometries(weights: Path, structures: Iterable[Structure]) -> str:
    """Write those of the model whose weights stand in a file; returns the SHA-256."""
    from safetensors.numpy import save

    structures = list(structures)
    content = save({
        "atoms": np.array([len(s) for s in structures], np.int16),
        "charges": np.array([s.charge for s in structures], np.int8),
        "numbers": np.concatenate([s.numbers for s in structures]).astype(np.uint8),
        "positions": np.concatenate([s.positions for s in structures]).astype(np.float32),
    })
    geometries_path(weights).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_geometries(weights: Path, sha256: str) -> list[Structure]:
    """Inverse of ``write_geometries``; raises ModelError for another hash, FileNotFoundError where there is no file."""
    from safetensors.numpy import load

    path = geometries_path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"no geometries at {path}: they belong to the model beside them; fetch them again")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ModelError(f"{path}: SHA-256 is {digest}, the model's card says {sha256}; the file is damaged or was "
                         "changed, fetch it again")
    stored = load(content)
    ends = np.cumsum(stored["atoms"].astype(int))[:-1]
    return [Structure(numbers.astype(int), positions.astype(float), int(charge), np.arange(len(numbers)))
            for numbers, positions, charge in zip(np.split(stored["numbers"], ends),
                                                  np.split(stored["positions"], ends), stored["charges"])]
