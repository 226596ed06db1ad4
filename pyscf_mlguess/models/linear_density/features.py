"""Atomic Cluster Expansion features: neighbour density, its products coupled to irreps, compressed by data.

Correlations of two neighbours are Clebsch-Gordan products of the neighbour density with
itself; those of more neighbours multiply them with leading invariants.  Each step keeps
the principal components of the training set, as in the N-body iterative contraction of
Nigam, Pozdnyakov, Ceriotti, J. Chem. Phys. 153, 121101 (2020); the expansion is that of
Drautz, Phys. Rev. B 99, 014104 (2019).  Plain NumPy: predicting needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pyscf_mlguess.shells import real_spherical_harmonics
from pyscf_mlguess.structure import Structure, pairs

Irreps = dict[int, np.ndarray]  # {l: (natm, channels, 2l+1)}


@dataclass(frozen=True)
class AceSettings:
    """What fixes the features before any data is seen; lengths in bohr.

    cutoff, radial, stretch, halfway: reach, number, resolution and damping of the radial functions.
    channels: leading neighbour densities per l whose products make the features of two neighbours.
    invariants, factors: how many leading invariants multiply how many leading features of one
    (half of the factors) and two neighbours.
    charge_features: leading neighbour densities that the charge per atom multiplies.
    only_near: elements at and near whose atoms alone there are features (``nearness``); empty: everywhere.
    """

    elements: tuple[int, ...] = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53)
    cutoff: float = 10.0
    radial: int = 10
    stretch: float = 0.25
    halfway: float = 2.5
    lmax: int = 4
    channels: tuple[int, ...] = (14, 12, 10, 8, 6)
    invariants: int = 10
    factors: int = 40
    charge_features: int = 20
    only_near: tuple[int, ...] = ()

    @property
    def leading_singles(self) -> int:
        """Neighbour densities kept per l."""
        return max(*self.channels, self.factors // 2, self.charge_features)


@dataclass
class Contraction:
    """Principal components of one irrep's features: ``scores = matrix @ (features - mean)``.

    matrix: (scores, features); mean: (features,), zero unless l = 0.
    """

    matrix: np.ndarray
    mean: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return np.matmul(self.matrix, features - self.mean[:, None])


@dataclass
class AceFeatures:
    """Features of the atoms of one element.

    couplings: {(l1, l2, l): (2l1+1, 2l2+1, 2l+1)} Clebsch-Gordan coefficients.
    singles, pairs: {l: Contraction} to the leading features of one and two neighbours.
    """

    settings: AceSettings
    couplings: dict[tuple[int, int, int], np.ndarray]
    singles: dict[int, Contraction] = field(default_factory=dict)
    pairs: dict[int, Contraction] = field(default_factory=dict)

    def leading(self, density: Irreps) -> tuple[Irreps, Irreps, Irreps]:
        """Leading features of one neighbour, all of two neighbours, and the leading ones of these."""
        singles = {l: self.singles[l](a) for l, a in density.items()}
        products = self.pair_products(singles)
        return singles, products, {l: self.pairs[l](a) for l, a in products.items()}

    def pair_products(self, singles: Irreps) -> Irreps:
        """Clebsch-Gordan products of the leading channels, {l: (natm, products, 2l+1)}."""
        channels = self.settings.channels
        products: dict[int, list[np.ndarray]] = {}
        for (l1, l2, l), coupling in self.couplings.items():
            first, second = singles[l1][:, : channels[l1]], singles[l2][:, : channels[l2]]
            half = np.tensordot(first, coupling, axes=1)
            product = np.matmul(second[:, None], half)
            if l1 == l2:
                # The product of two channels with each other swapped is the same.
                rows, columns = np.triu_indices(first.shape[1])
                product = product[:, rows, columns]
            products.setdefault(l, []).append(product.reshape(len(first), -1, 2 * l + 1))
        return {l: np.concatenate(parts, axis=1) for l, parts in sorted(products.items())}

    def triple_products(self, singles: Irreps, pairs: Irreps) -> Irreps:
        """Leading invariants times leading features, {l: (natm, products, 2l+1)}."""
        invariants = pairs[0][:, : self.settings.invariants, 0]
        products = {}
        for l in pairs:
            factors = np.concatenate([singles[l][:, : self.settings.factors // 2],
                                      pairs[l][:, : self.settings.factors]], axis=1)
            product = invariants[:, :, None, None] * factors[:, None]
            products[l] = product.reshape(len(product), -1, 2 * l + 1)
        return products

    def parts(self, density: Irreps, charge_per_atom: np.ndarray) -> dict[int, list[np.ndarray]]:
        """Features by origin, {l: [one, two, more neighbours, charge]}, each (natm, n, 2l+1).

        density: from ``neighbour_density``; charge_per_atom: (natm,) total charge over number of atoms.
        """
        singles, products, pairs = self.leading(density)
        triples = self.triple_products(singles, pairs)
        charge = charge_per_atom[:, None, None]
        parts = {}
        for l in density:
            charged = singles[l][:, : self.settings.charge_features] * charge
            if l == 0:
                charged = np.concatenate([charged, charge], axis=1)
            parts[l] = [density[l], products[l], triples[l], charged]
        return parts

    def __call__(self, density: Irreps, charge_per_atom: np.ndarray) -> Irreps:
        """All features, {l: (natm, n, 2l+1)}; the constant 1 stands last among the invariants."""
        features = {l: np.concatenate(p, axis=1) for l, p in self.parts(density, charge_per_atom).items()}
        features[0] = np.concatenate([features[0], np.ones((len(charge_per_atom), 1, 1))], axis=1)
        return features


def neighbour_density(structure: Structure, settings: AceSettings) -> Irreps:
    """Expansion of every atom's neighbours in elements, radial functions and spherical harmonics.

    Returns {l: (natm, elements x radial, 2l+1)}.  Neighbours of elements outside
    ``settings.elements`` are left out.
    """
    natm, nspecies = len(structure), len(settings.elements)
    found = pairs(structure, settings.cutoff)
    known = np.isin(structure.numbers[found.second], settings.elements)
    centre, vectors = found.first[known], found.vectors[known]
    species = np.searchsorted(settings.elements, structure.numbers[found.second[known]])
    order = np.lexsort((species, centre))
    centre, species, vectors = centre[order], species[order], vectors[order]
    slot, starts = np.unique(centre * nspecies + species, return_index=True)
    distances = np.linalg.norm(vectors, axis=1)
    radial = radial_functions(distances, settings)
    expansion = {}
    for l in range(settings.lmax + 1):
        rows = np.zeros((natm * nspecies, settings.radial, 2 * l + 1))
        if len(slot):
            harmonics = real_spherical_harmonics(vectors / distances[:, None], l)
            rows[slot] = np.add.reduceat(radial[:, :, None] * harmonics[:, None, :], starts, axis=0)
        expansion[l] = rows.reshape(natm, nspecies * settings.radial, 2 * l + 1)
    return expansion


def nearness(structure: Structure, settings: AceSettings) -> np.ndarray:
    """What the features of every atom are multiplied with, (natm,): 1 for atoms of ``settings.only_near`` and for all
    where that is empty; else from 1 at such an atom to 0 at the cutoff, smoothly."""
    if not settings.only_near:
        return np.ones(len(structure))
    chosen = np.isin(structure.numbers, settings.only_near)
    found = pairs(structure, settings.cutoff)
    there = chosen[found.second]
    far = np.where(chosen, 0.0, 1.0)
    np.multiply.at(far, found.first[there], 1 - (1 - (found.distances[there] / settings.cutoff) ** 2) ** 3)
    return 1 - far


def radial_functions(distances: np.ndarray, settings: AceSettings) -> np.ndarray:
    """Cosines of a stretched distance, damped with distance and vanishing at the cutoff, shape (n, radial)."""
    stretched = np.expm1(-settings.stretch * distances) / np.expm1(-settings.stretch * settings.cutoff)
    envelope = (1 - (distances / settings.cutoff) ** 2) ** 3 / (1 + (distances / settings.halfway) ** 3)
    return envelope[:, None] * np.cos(np.pi * np.arange(settings.radial) * stretched[:, None])
