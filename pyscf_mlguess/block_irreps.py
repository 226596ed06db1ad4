"""Blocks of a symmetric matrix of atomic orbitals <-> irreps of O(3), in which a model predicts them.

Shells (l1, n1) and (l2, n2) couple to irreps l = |l1 - l2|..l1 + l2 of parity (-1)^(l1+l2); those with odd l1 + l2 + l
are pseudotensors, which vanish only between two isolated atoms.  A block between atoms of one element is the sum of
its symmetric and its antisymmetric part: exchange of the two atoms leaves the irreps of the first as they are and
changes the sign of the second's.  Either part follows from one triangle of shells, and a shell with itself has only
even l in the first and odd l in the second.  A block on an atom has only the symmetric part.  The map is orthogonal: a
block and its irreps have the same Frobenius norm.  This is the construction of Nigam, Willatt, Ceriotti, J. Chem.
Phys. 156, 014115 (2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.blocks import Blocks, Sites, Species
from pyscf_mlguess.couplings import clebsch_gordan
from pyscf_mlguess.shells import irrep_indices


class Irrep(NamedTuple):
    """parity: what inversion multiplies with, 1 or -1; exchange: what exchange of the atoms does, 0 of two elements."""

    l: int
    parity: int
    exchange: int


Irreps = dict[Irrep, np.ndarray]  # {irrep: (items, channels, 2l+1)}
Shells = dict[int, int]  # {l: number of radial functions}


@dataclass(frozen=True)
class BlockIrreps:
    """Blocks coupled to irreps.

    onsite: {element: {irrep: (natm, channels, 2l+1)}}; all have exchange 1.
    pairs: {species: {irrep: (npairs, channels, 2l+1)}}.
    Atoms, pairs as in ``Blocks``; channels as in ``BlockBasis.channels``.
    """

    sites: Sites
    onsite: dict[int, Irreps]
    pairs: dict[Species, Irreps]


@dataclass(frozen=True)
class BlockBasis:
    """A basis as its shells, which is what couples blocks to irreps and back.

    name: PySCF's name of the basis; shells: {element: {l: number of radial functions}}, general contractions expanded.
    """

    name: str
    shells: dict[int, Shells]

    @classmethod
    def of(cls, elements: Iterable[int], name: str) -> "BlockBasis":
        """The basis of these atomic numbers, from PySCF's library.  A core potential makes no difference to it."""
        elements = sorted(set(map(int, elements)))
        mol = gto.M(atom=[(ELEMENTS[z], (0.0, 0.0, 9.0 * k)) for k, z in enumerate(elements)], basis=name, spin=None,
                    verbose=0)
        shells = [{l: len(rows) for l, rows in atom.items()} for atom in irrep_indices(mol)]
        return cls(name, dict(zip(elements, shells)))

    def nao(self, element: int) -> int:
        """Number of an atom's functions."""
        return sum(n * (2 * l + 1) for l, n in self._shells(element).items())

    def channels(self, *elements: int) -> dict[Irrep, np.ndarray]:
        """What the channels of each irrep couple: rows (l1, n1, l2, n2), shape (channels, 4).

        elements: one atomic number for blocks on atoms, two for pairs, the lower one first.
        """
        table: dict[Irrep, list[np.ndarray]] = {}
        for coupled in self._products(*elements):
            table.setdefault(coupled.irrep, []).append(coupled.channels)
        return {irrep: np.concatenate(parts) for irrep, parts in sorted(table.items())}

    def couple(self, blocks: Blocks) -> BlockIrreps:
        """Irreps of blocks.  Raises ValueError for blocks of another basis and for elements that this one lacks."""
        onsite = {element: self._couple(block, element) for element, block in blocks.onsite.items()}
        between = {species: self._couple(block, *species) for species, block in blocks.pairs.items()}
        return BlockIrreps(blocks.sites, onsite, between)

    def uncouple(self, irreps: BlockIrreps) -> Blocks:
        """The inverse of ``couple``.  Raises ValueError for irreps or numbers of channels that are not this basis'."""
        onsite = {element: self.uncouple_items(parts, element) for element, parts in irreps.onsite.items()}
        between = {species: self.uncouple_items(parts, *species) for species, parts in irreps.pairs.items()}
        return Blocks(irreps.sites, onsite, between)

    def uncouple_items(self, irreps: Irreps, *elements: int) -> np.ndarray:
        """The blocks (items, nao1, nao2) of one element's atoms or two elements' pairs, as ``uncouple``."""
        self._check_channels(irreps, elements)
        items = len(next(iter(irreps.values())))
        block = np.zeros((items, self.nao(elements[0]), self.nao(elements[-1])))
        used = dict.fromkeys(irreps, 0)
        for coupled in self._products(*elements):
            start = used[coupled.irrep]
            used[coupled.irrep] += len(coupled.weights)
            values = irreps[coupled.irrep][:, start : used[coupled.irrep]] * coupled.weights[:, None]
            part = np.tensordot(values, coupled.tensor, axes=(2, 2))
            block[:, coupled.rows[:, :, None], coupled.columns[:, None, :]] += part
            if coupled.irrep.exchange:
                block[:, coupled.columns[:, None, :], coupled.rows[:, :, None]] += coupled.irrep.exchange * part
        return block

    def _shells(self, element: int) -> Shells:
        if element not in self.shells:
            raise ValueError(f"element {element} is none of those of this basis, {sorted(self.shells)} in {self.name}; "
                             "name it in BlockBasis.of")
        return self.shells[element]

    def _products(self, *elements: int) -> Iterator[_Product]:
        first, second = elements[0], elements[-1]
        exchanges = (1,) if len(elements) == 1 else (1, -1) if first == second else (0,)
        for exchange in exchanges:
            yield from _products(self._shells(first), self._shells(second), exchange)

    def _couple(self, block: np.ndarray, *elements: int) -> Irreps:
        shape = self.nao(elements[0]), self.nao(elements[-1])
        if block.shape[1:] != shape:
            raise ValueError(f"blocks of shape {block.shape[1:]} for elements {elements}, {self.name} has {shape}; "
                             "split the matrix in this basis")
        found: dict[Irrep, list[np.ndarray]] = {}
        for coupled in self._products(*elements):
            part = block[:, coupled.rows[:, :, None], coupled.columns[:, None, :]]
            if coupled.irrep.exchange:
                swapped = block[:, coupled.columns[:, None, :], coupled.rows[:, :, None]]
                part = part + coupled.irrep.exchange * swapped
            values = np.tensordot(part, coupled.tensor, axes=2) * coupled.weights[:, None]
            found.setdefault(coupled.irrep, []).append(values)
        return {irrep: np.concatenate(parts, axis=1) for irrep, parts in sorted(found.items())}

    def _check_channels(self, irreps, elements):
        expected = {irrep: (len(table), 2 * irrep.l + 1) for irrep, table in self.channels(*elements).items()}
        given = {irrep: values.shape[1:] for irrep, values in irreps.items()}
        for irrep in sorted(given.keys() | expected.keys()):
            if given.get(irrep) != expected.get(irrep):
                raise ValueError(f"elements {elements}, {irrep}: (channels, 2l+1) is {given.get(irrep)}, {self.name} "
                                 f"has {expected.get(irrep)}; give what BlockBasis.channels lists")


@dataclass(frozen=True)
class _Product:
    """Channels of one irrep that two shells of functions give.

    rows, columns: (channels, 2l1+1) and (channels, 2l2+1), positions of their functions in a block.
    tensor: (2l1+1, 2l2+1, 2l+1).  weights: (channels,), what makes the map orthogonal.  channels: (channels, 4).
    """

    irrep: Irrep
    rows: np.ndarray
    columns: np.ndarray
    tensor: np.ndarray
    weights: np.ndarray
    channels: np.ndarray


def _products(first: Shells, second: Shells, exchange: int) -> Iterator[_Product]:
    """In the order of channels: by l1, l2, l, n1, n2."""
    starts = [dict(zip(shells, np.cumsum([0] + [n * (2 * l + 1) for l, n in shells.items()])))
              for shells in (first, second)]
    for l1, l2 in product(first, second):
        for l in range(abs(l1 - l2), l1 + l2 + 1):
            n1, n2 = np.indices((first[l1], second[l2])).reshape(2, -1)
            same = (l1 == l2) & (n1 == n2)
            if exchange:
                # The other triangle of shells follows from this one; a shell with itself has every other l.
                kept = same if (-1) ** l == exchange else False
                kept = kept | (l1 < l2) | ((l1 == l2) & (n1 < n2))
                n1, n2, same = n1[kept], n2[kept], same[kept]
            if len(n1) == 0:
                continue
            weights = np.where(same, 0.5, np.sqrt(0.5)) if exchange else np.ones(len(n1))
            yield _Product(Irrep(l, (-1) ** (l1 + l2), exchange),
                           starts[0][l1] + n1[:, None] * (2 * l1 + 1) + np.arange(2 * l1 + 1),
                           starts[1][l2] + n2[:, None] * (2 * l2 + 1) + np.arange(2 * l2 + 1),
                           clebsch_gordan(l1, l2, l), weights,
                           np.stack([np.full_like(n1, l1), n1, np.full_like(n2, l2), n2], axis=1))
