"""Features of atoms and of pairs of atoms, for blocks of matrices.

An atom has the leading densities of its neighbours (one neighbour) and their Clebsch-Gordan products (two).  A pair has
the products of these with the bond's spherical harmonics and radial functions, for either atom, and the products of
that with the other atom's densities: density correlations around two centres, up to four neighbours.  They are the
N-centre features of Nigam, Willatt, Ceriotti, J. Chem. Phys. 156, 014115 (2022), which is an Atomic Cluster Expansion
on the bond (Zhang et al., arXiv 2503.08400); each step keeps the principal components of the training set.

Parity is kept beside l: products with odd l1 + l2 + l are pseudotensors.  Features of a pair and of the same pair with
its atoms exchanged are added for irreps that exchange leaves as they are, and subtracted for those of which it changes
the sign.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pyscf_mlguess.couplings import clebsch_gordan
from pyscf_mlguess.models.linear_density.features import (
    AceSettings,
    Contraction,
    neighbour_density,
    radial_functions,
)
from pyscf_mlguess.shells import real_spherical_harmonics
from pyscf_mlguess.structure import Structure

Key = tuple[int, int]  # (l, parity)
Irreps = dict[Key, np.ndarray]  # {(l, parity): (items, channels, 2l+1)}

LMAX = 4


@dataclass(frozen=True)
class PairSettings:
    """What fixes the features before any data is seen; lengths in bohr.

    elements: atomic numbers of neighbours that are seen.
    cutoff, radial: of the neighbour density.  reach: distance of the atoms of a pair beyond which its block is zero.
    bond_radial: radial functions of the bond.
    products: leading neighbour densities per l whose products make an atom's features of two neighbours.
    singles, doubles: features of one and of two neighbours per l that are coupled with the bond.
    bonds, others: leading products with the bond, per l, that are coupled with leading densities of the other atom.
    invariants: leading ones of an atom that multiply its features, for blocks on atoms.
    """

    elements: tuple[int, ...] = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53)
    cutoff: float = 8.0
    radial: int = 8
    reach: float = 10.0
    bond_radial: int = 5
    products: tuple[int, ...] = (10, 8, 6, 5, 4)
    singles: tuple[int, ...] = (8, 6, 5, 4, 3)
    doubles: tuple[int, ...] = (5, 4, 3, 2, 1)
    bonds: tuple[int, ...] = (10, 8, 6, 4, 3)
    others: tuple[int, ...] = (6, 5, 4, 3, 2)
    invariants: int = 8

    @property
    def neighbours(self) -> AceSettings:
        """What the neighbour density asks for."""
        return AceSettings(elements=self.elements, cutoff=self.cutoff, radial=self.radial, lmax=LMAX)

    @property
    def leading(self) -> int:
        """Neighbour densities kept per l."""
        return max(*self.products, *self.singles)


def paths() -> Iterator[tuple[int, int, int]]:
    """(l1, l2, l) that couple, up to LMAX, of either parity."""
    for l1 in range(LMAX + 1):
        for l2 in range(LMAX + 1):
            for l in range(abs(l1 - l2), min(l1 + l2, LMAX) + 1):
                yield l1, l2, l


def couple(first: np.ndarray, second: np.ndarray, l1: int, l2: int, l: int) -> np.ndarray:
    """All products of (items, n1, 2l1+1) with (items, n2, 2l2+1) that are of l, (items, n1 n2, 2l+1)."""
    tensor = clebsch_gordan(l1, l2, l).astype(first.dtype)
    half = np.tensordot(second, tensor, axes=(2, 1))  # (items, n2, 2l1+1, 2l+1)
    items, n1, n2 = len(first), first.shape[1], second.shape[1]
    half = half.transpose(0, 2, 1, 3).reshape(items, 2 * l1 + 1, -1)
    return np.matmul(first, half).reshape(items, n1 * n2, 2 * l + 1)


def _joined(table):
    return {key: np.concatenate(parts, axis=1) for key, parts in sorted(table.items())}


@dataclass
class AtomFeatures:
    """Features of the atoms of one element.

    singles, doubles: {l: Contraction} of the neighbour density and of its products to their leading components.
    """

    settings: PairSettings
    singles: dict[int, Contraction] = field(default_factory=dict)
    doubles: dict[int, Contraction] = field(default_factory=dict)

    def leading_singles(self, density: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Leading neighbour densities, {l: (natm, n, 2l+1)}."""
        return {l: self.singles[l](values) for l, values in density.items()}

    def products(self, singles: dict[int, np.ndarray]) -> Irreps:
        """Products of two leading neighbour densities, each pair of channels once."""
        found: dict[Key, list[np.ndarray]] = {}
        for l1, l2, l in paths():
            if l1 > l2:
                continue
            first, second = (singles[k][:, : self.settings.products[k]] for k in (l1, l2))
            product = couple(first, second, l1, l2, l)
            if l1 == l2:
                n = first.shape[1]
                # Exchange of the channels gives the same, or with odd l its negative.
                rows, columns = np.triu_indices(n, k=l % 2)
                product = product[:, rows * n + columns]
            if product.shape[1]:
                found.setdefault((l, (-1) ** (l1 + l2)), []).append(product)
        return _joined(found)

    def coupled(self, density: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """What is coupled with bonds, {l: (natm, n, 2l+1)}: of the neighbours one, two, and the constant 1 first."""
        singles = self.leading_singles(density)
        products, found = self.products(singles), {}
        for l in density:
            double = self.doubles[l](products[l, (-1) ** l])
            parts = [singles[l][:, : self.settings.singles[l]], double[:, : self.settings.doubles[l]]]
            if l == 0:
                parts.insert(0, np.ones((len(double), 1, 1)))
            found[l] = np.concatenate(parts, axis=1)
        return found

    def parts(self, density: dict[int, np.ndarray], charge_per_atom: np.ndarray) -> dict[Key, list[np.ndarray]]:
        """Features for blocks on atoms by origin, {(l, parity): [one, two, more neighbours, charge]}."""
        singles = self.leading_singles(density)
        products = self.products(singles)
        invariants = self.doubles[0](products[0, 1])[:, : self.settings.invariants, 0]
        charge, found = charge_per_atom[:, None, None], {}
        for (l, parity), product in products.items():
            natural = parity == (-1) ** l
            few = product[:, : self.settings.leading]
            if natural:
                few = np.concatenate([singles[l], self.doubles[l](product)], axis=1)
            more = (invariants[:, :, None, None] * few[:, None]).reshape(len(few), -1, 2 * l + 1)
            charged = few[:, : self.settings.leading] * charge
            if (l, parity) == (0, 1):
                charged = np.concatenate([charged, charge], axis=1)
            found[l, parity] = [density[l], product, more, charged] if natural else [product, more, charged]
        return found


@dataclass
class PairFeatures:
    """Features of the pairs of two elements.

    bonds: {(l, parity): Contraction} of the first atom's products with the bond to their leading components.
    """

    settings: PairSettings
    bonds: dict[Key, Contraction] = field(default_factory=dict)

    def bond_products(self, atoms: dict[int, np.ndarray], vectors: np.ndarray) -> Irreps:
        """Products of the features of one atom (``AtomFeatures.coupled``) with the bond that begins there."""
        distances = np.linalg.norm(vectors, axis=1)
        radial = bond_functions(distances, self.settings)
        found: dict[Key, list[np.ndarray]] = {}
        harmonics = {l: real_spherical_harmonics(vectors / distances[:, None], l) for l in range(LMAX + 1)}
        for l1, l2, l in paths():
            product = couple(atoms[l1], harmonics[l2][:, None].astype(atoms[l1].dtype), l1, l2, l)
            product = product[:, :, None] * radial[:, None, :, None].astype(product.dtype)
            found.setdefault((l, (-1) ** (l1 + l2)), []).append(product.reshape(len(vectors), -1, 2 * l + 1))
        return _joined(found)

    def pair_products(self, bonds: Irreps, others: dict[int, np.ndarray]) -> Irreps:
        """Products of leading products with the bond and the densities of the other atom."""
        found: dict[Key, list[np.ndarray]] = {}
        for (l1, parity), contraction in sorted(self.bonds.items()):  # a file keeps no order
            first = contraction(bonds[l1, parity])
            for l2, values in others.items():
                # The constant would give the products with the bond once more.
                second = values[:, 1 if l2 == 0 else 0 :][:, : self.settings.others[l2]]
                for l in range(abs(l1 - l2), min(l1 + l2, LMAX) + 1):
                    found.setdefault((l, parity * (-1) ** l2), []).append(couple(first, second, l1, l2, l))
        return _joined(found)

    def parts(self, first: dict[int, np.ndarray], second: dict[int, np.ndarray], vectors: np.ndarray,
              charge_per_atom: np.ndarray, exchange: int) -> dict[Key, list[np.ndarray]]:
        """Features by origin, {(l, parity): [with the bond, with both atoms, charge]}.

        first, second: ``AtomFeatures.coupled`` of the pair's atoms.  vectors: (npairs, 3) from the first to the second.
        exchange: 1 or -1 for two atoms of one element, 0 for two elements.
        """
        forth, back = self.bond_products(first, vectors), self.bond_products(second, -vectors)
        both = self.pair_products(forth, second)
        if exchange:
            other = self.pair_products(back, first)
            bond = {key: forth[key] + exchange * back[key] for key in forth}
            both = {key: both[key] + exchange * other[key] for key in both}
        else:
            bond = {key: np.concatenate([forth[key], back[key]], axis=1) for key in forth}
        charge, found = charge_per_atom[:, None, None].astype(vectors.dtype), {}
        for key in bond:
            # With the constant of l1 = 0 stands the bond alone, first of all.
            charged = forth[key][:, : self.settings.bond_radial]
            if exchange:
                charged = charged + exchange * back[key][:, : self.settings.bond_radial]
            found[key] = [bond[key], both[key], charged * charge]
        return found


def bond_functions(distances: np.ndarray, settings: PairSettings) -> np.ndarray:
    """Radial functions of the bond, zero with two derivatives at the reach, shape (npairs, bond_radial)."""
    return radial_functions(distances, AceSettings(cutoff=settings.reach, radial=settings.bond_radial, halfway=6.0))


def densities(structures: list[Structure], settings: PairSettings) -> dict[int, np.ndarray]:
    """Neighbour densities of the atoms of all structures, one after the other, {l: (natm, n, 2l+1)}."""
    parts = [neighbour_density(structure, settings.neighbours) for structure in structures]
    return {l: np.concatenate([part[l] for part in parts]) for l in parts[0]}


def charges(structures: list[Structure]) -> np.ndarray:
    """Total charge over number of atoms, of every atom of all structures, (natm,)."""
    return np.concatenate([np.full(len(s), s.charge / max(len(s), 1)) for s in structures])


def site_parts(features: AtomFeatures, density: dict[int, np.ndarray], charge_per_atom: np.ndarray):
    """Features for blocks on atoms by origin, the constant 1 last, {(l, parity): [(natm, n, 2l+1)]}."""
    parts = features.parts(density, charge_per_atom)
    parts[0, 1].append(np.ones((len(charge_per_atom), 1, 1)))
    return parts


def invariants(coupled: dict[int, np.ndarray]) -> np.ndarray:
    """Leading invariants of atoms, of mean zero in training, (natm, n)."""
    return coupled[0][:, 1:, 0]
