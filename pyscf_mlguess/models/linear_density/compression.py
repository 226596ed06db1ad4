"""Fits the data-driven part of the ACE features: principal components over the training set."""

from __future__ import annotations

import numpy as np
from scipy.linalg import block_diag

from pyscf_mlguess.couplings import clebsch_gordan
from pyscf_mlguess.models.linear_density.features import AceFeatures, AceSettings, Contraction, Irreps


def coupling_coefficients(lmax: int) -> dict[tuple[int, int, int], np.ndarray]:
    """Clebsch-Gordan coefficients l1 x l2 -> l (l1 <= l2, even parity l1 + l2 + l)."""
    return {
        (l1, l2, l): clebsch_gordan(l1, l2, l)
        for l1 in range(lmax + 1)
        for l2 in range(l1, lmax + 1)
        for l in range(abs(l1 - l2), min(l1 + l2, lmax) + 1)
        if (l1 + l2 + l) % 2 == 0
    }


def fit_features(density: Irreps, settings: AceSettings, couplings) -> AceFeatures:
    """Leading features of the atoms of one element, from their neighbour densities."""
    features = AceFeatures(settings, couplings)
    features.singles = {l: _rounded(principal_components(a, settings.leading_singles)) for l, a in density.items()}
    products = features.pair_products({l: features.singles[l](a) for l, a in density.items()})
    features.pairs = {l: _rounded(principal_components(a, settings.factors)) for l, a in products.items()}
    return features


def _rounded(contraction):
    """To half precision, in which it is stored: whatever is learned afterwards knows the rounded one."""
    return Contraction(contraction.matrix.astype(np.float16).astype(float), contraction.mean)


# Variance, relative to the mean square, below which a set of features counts as constant.
_CONSTANT = 1e-6


def principal_components(features: np.ndarray, keep: int, centred: bool = True) -> Contraction:
    """Leading components of (natm, n, 2l+1) features, scaled so that their total variance is 1.

    centred: of invariants, take the mean away.
    """
    natm, n, components = features.shape
    mean = features[:, :, 0].mean(axis=0) if components == 1 and centred else np.zeros(n)
    flat = (features - mean[:, None]).transpose(0, 2, 1).reshape(-1, n)
    variance, vectors = np.linalg.eigh(flat.T @ flat / natm)
    order = np.argsort(variance)[::-1][:keep]
    significant = order[variance[order] > 1e-10 * variance[-1]]
    order = significant if len(significant) else order[:1]
    # Features that do not vary, but for rounding, must not be blown up to unit variance.
    total = max(variance[variance > 0].sum(), _CONSTANT * (features**2).sum() / natm) or 1.0
    return Contraction(vectors[:, order].T / np.sqrt(total), mean)


# Size of the features of correlation order three and above: smaller ones are trusted less by the ridge.
_HIGHER_ORDERS = 0.2


def compress(features: AceFeatures, density: Irreps, charge_per_atom: np.ndarray,
             keep: tuple[int, int, int]) -> dict[int, Contraction]:
    """How the features that the solver sees follow from all features, per l.

    Each correlation order (one, two, three and above) is reduced to its ``keep`` principal components.
    """
    contractions = {}
    for l, parts in features.parts(density, charge_per_atom).items():
        found = [principal_components(part, count) for part, count in zip(parts, keep)]
        found[2].matrix = found[2].matrix * _HIGHER_ORDERS
        found.append(Contraction(np.eye(parts[3].shape[1]), np.zeros(parts[3].shape[1])))
        if l == 0:
            found.append(Contraction(np.eye(1), np.zeros(1)))
        contractions[l] = Contraction(block_diag(*[c.matrix for c in found]), np.concatenate([c.mean for c in found]))
    return contractions


def fold(weights: np.ndarray, contraction: Contraction) -> np.ndarray:
    """Weights on the solver's features as weights on all features; the mean goes to the constant."""
    folded = weights @ contraction.matrix
    if np.any(contraction.mean):
        folded[:, -1] -= folded @ contraction.mean
    return folded
