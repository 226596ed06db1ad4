"""A symmetric matrix of which only the lower triangle is kept, in memory or in a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import dspmv, sspmv


@dataclass(frozen=True)
class PackedMetric:
    """The metric of one molecule, acting on its coefficients: ``metric @ coefficients``.

    triangle: (naux (naux + 1) / 2,) the lower triangle, row by row; may be a part of a mapped file.
    """

    triangle: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray) -> PackedMetric:
        return cls(matrix[np.tril_indices(len(matrix))])

    def __matmul__(self, vector: np.ndarray) -> np.ndarray:
        """In the vector's precision, single or double."""
        product = sspmv if vector.dtype == np.float32 else dspmv
        # What is the lower triangle by rows is the upper one by columns.
        return product(len(vector), 1.0, self.triangle.astype(vector.dtype, copy=False), vector)

    def loss(self, error: np.ndarray) -> float:
        """error^T metric error, of a vector in double precision."""
        return float(error @ (self @ error))

    def block(self, index: np.ndarray) -> np.ndarray:
        """Rows and columns ``index``, (len(index), len(index))."""
        row, column = np.maximum.outer(index, index), np.minimum.outer(index, index)
        return self.triangle[row * (row + 1) // 2 + column]

    def scaled(self, factor: float) -> PackedMetric:
        """In double precision."""
        return PackedMetric(factor * self.triangle.astype(float))
