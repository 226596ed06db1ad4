"""Regularised least squares for linear density models by preconditioned conjugate gradients.

Minimises  sum_mol d^T Q d / E_mol + ridge |W|^2,  d = predicted - target,  with Q from ``targets`` and E_mol the
loss of free atoms, so that every molecule weighs the same.  The whole molecule enters at once: coefficients of a
non-orthogonal basis cannot be regressed one by one.  Weights act on outputs scaled by the covariance of the training
targets, which makes the ridge a Gaussian prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from pyscf_mlguess.training.metric import PackedMetric

Key = tuple[int, int]  # (element, l)
Weights = dict[Key, np.ndarray]  # {key: (n_l, features)}


@dataclass
class Design:
    """Features and coefficient indices of all atoms of all molecules.

    features: {(element, l): (natm (2l+1), nfeatures)}.
    indices: {(element, l): (natm, 2l+1, n_l)}, into the concatenated coefficient vector.
    offsets: (nmol + 1,) where each molecule's coefficients start in that vector.
    """

    features: Weights
    indices: dict[Key, np.ndarray]
    offsets: np.ndarray

    def predict(self, weights: Weights) -> np.ndarray:
        """Concatenated coefficients of all molecules for weights (n_l, nfeatures), in the precision of the features."""
        precision = next((rows.dtype for rows in self.features.values()), np.float32)
        result = np.zeros(self.offsets[-1], dtype=precision)
        for key in self.features.keys() & weights.keys():
            values = self.features[key] @ weights[key].T.astype(precision)
            result[self.indices[key]] = values.reshape(self.indices[key].shape)
        return result

    def transpose(self, vector: np.ndarray) -> Weights:
        """The adjoint of ``predict``."""
        return {key: vector[index].reshape(-1, index.shape[2]).T @ self.features[key]
                for key, index in self.indices.items()}


@dataclass
class Problem:
    """A training set: the design, the targets (concatenated) and each molecule's metric over its free-atom loss."""

    design: Design
    target: np.ndarray
    metrics: list[PackedMetric]

    def apply_metric(self, vector: np.ndarray) -> np.ndarray:
        offsets = self.design.offsets
        result = np.empty_like(vector)
        for metric, start, stop in zip(self.metrics, offsets[:-1], offsets[1:]):
            result[start:stop] = metric @ vector[start:stop]
        return result

    def losses(self, weights: Weights) -> np.ndarray:
        """d^T Q d of every molecule relative to free atoms, shape (nmol,)."""
        error = self.design.predict(weights) - self.target
        product = error * self.apply_metric(error)
        return np.add.reduceat(product.astype(float), self.design.offsets[:-1])

    def output_scales(self) -> Weights:
        """Square roots of the target covariance per element and l, {key: (n_l, n_l)}."""
        scales = {}
        for key, index in self.design.indices.items():
            values = self.target[index].reshape(-1, index.shape[2]).astype(float)
            variance, vectors = np.linalg.eigh(values.T @ values / len(values))
            scales[key] = vectors * np.sqrt(np.maximum(variance, 1e-6 * variance[-1]))
        return scales

    def mean_blocks(self) -> Weights:
        """The metric's diagonal blocks averaged over atoms and components, {key: (n_l, n_l)}."""
        blocks = {}
        for key, index in self.design.indices.items():
            molecule = np.searchsorted(self.design.offsets, index[:, 0, 0], side="right") - 1
            total = 0.0
            for atom, mol in enumerate(molecule):
                for own in index[atom] - self.design.offsets[mol]:
                    total = total + self.metrics[mol].block(own)
            blocks[key] = total / (len(molecule) * index.shape[1])
        return blocks


# Losses that single precision cannot tell from zero count as this.
_SMALLEST_LOSS = 1e-7


def geometric_mean(losses: np.ndarray) -> float:
    """What cycles go with: each costs the same factor in the error."""
    return float(np.exp(np.mean(np.log(np.maximum(losses, _SMALLEST_LOSS)))))


# Squared residual, relative to the first, below which single precision has nothing more to give.
_CONVERGED = 1e-10


def solve(problem: Problem, ridge: float, iterations: int, progress: bool = True,
          rehearsed: Weights | None = None) -> Weights:
    """Weights {key: (n_l, nfeatures)} after at most ``iterations`` of preconditioned conjugate gradients.

    rehearsed: {key: (nfeatures, nfeatures)}, sums of products of the features of atoms at which nothing is to be
        predicted, each in the average metric of its kind.
    """
    design, scales = problem.design, problem.output_scales()
    blocks = problem.mean_blocks()
    curvatures = {key: scales[key].T @ blocks[key] @ scales[key] for key in scales}
    rehearsed = rehearsed or {}
    preconditioner = _preconditioner(design, curvatures, rehearsed, ridge)

    def outer(weights):
        return {key: scales[key] @ w for key, w in weights.items()}

    def adjoint(vector):
        return {key: scales[key].T @ w for key, w in design.transpose(vector).items()}

    residual = adjoint(problem.apply_metric(problem.target))
    weights = {key: np.zeros_like(r) for key, r in residual.items()}
    direction = preconditioner(residual)
    first = old = _dot(residual, direction)
    if first == 0:  # nothing to learn: targets of zero, or no atom of an element that has features
        return outer(weights)
    for _ in tqdm(range(iterations), desc="conjugate gradients", disable=not progress):
        image = adjoint(problem.apply_metric(design.predict(outer(direction))))
        image = {key: image[key] + ridge * direction[key] for key in image}
        for key in image.keys() & rehearsed.keys():
            image[key] = image[key] + curvatures[key] @ direction[key] @ rehearsed[key]
        length = old / _dot(direction, image)
        for key in weights:
            weights[key] = weights[key] + length * direction[key]
            residual[key] = residual[key] - length * image[key]
        preconditioned = preconditioner(residual)
        new = _dot(residual, preconditioned)
        direction = {key: preconditioned[key] + new / old * direction[key] for key in direction}
        if new < _CONVERGED * first:
            break
        old = new
    return outer(weights)


def _preconditioner(design, curvatures, rehearsed, ridge):
    """The Hessian's blocks per element and l, as if atoms did not see each other, inverted."""
    parts = {}
    for key, features in design.features.items():
        outputs, left = np.linalg.eigh(curvatures[key])
        inputs, right = np.linalg.eigh((features.T @ features).astype(float) + rehearsed.get(key, 0.0))
        # eigh of a singular positive matrix may return tiny negative values.
        parts[key] = left, right, np.outer(np.maximum(outputs, 0), np.maximum(inputs, 0)) + ridge

    def apply(residual):
        return {key: left @ ((left.T @ residual[key] @ right) / hessian) @ right.T
                for key, (left, right, hessian) in parts.items()}

    return apply


def _dot(first: Weights, second: Weights) -> float:
    return float(sum(np.vdot(first[key].astype(float), second[key]) for key in first))
