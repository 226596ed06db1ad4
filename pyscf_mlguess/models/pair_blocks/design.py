"""Structures -> features of all elements and pairs, and the design matrices that the solver works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.linalg import block_diag
from tqdm import tqdm

from pyscf_mlguess.block_irreps import BlockBasis, BlockIrreps, Irrep
from pyscf_mlguess.blocks import Sites, functions_of_elements, functions_of_pairs
from pyscf_mlguess.models.linear_density.compression import principal_components
from pyscf_mlguess.models.linear_density.features import Contraction
from pyscf_mlguess.models.pair_blocks.features import (
    AtomFeatures,
    PairFeatures,
    PairSettings,
    charges,
    densities,
    site_parts,
)
from pyscf_mlguess.models.pair_blocks.model import Elements
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.matrix_labels import FEWEST
from pyscf_mlguess.training.solver import Design

# Pairs, and atoms, from which leading components are found; pairs whose features are made at once.
_SAMPLE, _CHUNK = 1500, 500
# Numbers of a coupling below this are rounding.
_ZERO = 1e-12


@dataclass
class Layout:
    """Where the irreps of all molecules stand in one vector: molecule by molecule, elements, items, irreps.

    offsets: (nmol + 1,).  items: {elements: (n, ) start of every atom's or pair's irreps in the vector}.
    """

    basis: BlockBasis
    sites: list[Sites]
    offsets: np.ndarray = field(init=False)
    items: dict[Elements, np.ndarray] = field(init=False)

    def __post_init__(self):
        starts, position, offsets = {}, 0, [0]
        for sites in self.sites:
            for elements, count in _counts(sites).items():
                size = sum(len(c) * (2 * irrep.l + 1) for irrep, c in self.basis.channels(*elements).items())
                starts.setdefault(elements, []).append(position + size * np.arange(count))
                position += size * count
            offsets.append(position)
        self.offsets = np.array(offsets)
        self.items = {elements: np.concatenate(parts) for elements, parts in starts.items()}

    def indices(self, elements: Elements) -> dict[Irrep, np.ndarray]:
        """Positions in the vector, {irrep: (items, 2l+1, channels)}."""
        found, start = {}, 0
        for irrep, table in self.basis.channels(*elements).items():
            own = start + np.arange(len(table) * (2 * irrep.l + 1)).reshape(len(table), -1)
            found[irrep] = self.items[elements][:, None, None] + own.T
            start += own.size
        return found

    def flatten(self, irreps: BlockIrreps) -> np.ndarray:
        """One molecule's part of the vector."""
        parts = {(element,): values for element, values in irreps.onsite.items()} | irreps.pairs
        return np.concatenate([
            np.concatenate([values[irrep].reshape(len(values[irrep]), -1) for irrep in values], axis=1).ravel()
            for values in (parts[elements] for elements in _counts(irreps.sites))])

    def assembly(self, molecule: int, mol) -> sparse.csr_matrix:
        """The matrix (nao^2, its irreps) that assembles a molecule's part of the vector: of both triangles."""
        sites, nao = self.sites[molecule], mol.nao
        functions = functions_of_elements(sites, mol)
        rows, columns, values, start = [], [], [], 0
        for elements, count in _counts(sites).items():
            local = _local_assembly(self.basis.name, elements)
            if len(elements) == 1:
                first = second = functions[elements[0]]
            else:
                first, second = functions_of_pairs(sites, functions, elements)
            n2, size = second.shape[1], local.shape[1]
            row, column = first[:, local.row // n2], second[:, local.row % n2]
            target = (start + size * np.arange(count))[:, None] + local.col
            value = np.broadcast_to(local.data, target.shape)
            rows.append(row * nao + column)
            columns.append(target)
            values.append(value)
            if len(elements) == 2:
                rows.append(column * nao + row)
                columns.append(target)
                values.append(value)
            start += size * count
        where = np.concatenate([r.ravel() for r in rows]), np.concatenate([c.ravel() for c in columns])
        return sparse.csr_matrix((np.concatenate([v.ravel() for v in values]).astype(np.float32), where),
                                 shape=(nao * nao, start))


@lru_cache(maxsize=None)
def _local_assembly(name, elements):
    """Irreps of one atom or pair -> its block, (nao1 nao2, irreps) in COO form."""
    basis = BlockBasis.of(elements, name)
    table = basis.channels(*elements)
    size = sum(len(c) * (2 * irrep.l + 1) for irrep, c in table.items())
    unit, irreps, start = np.eye(size), {}, 0
    for irrep, channels in table.items():
        width = len(channels) * (2 * irrep.l + 1)
        irreps[irrep] = unit[:, start : start + width].reshape(size, len(channels), -1)
        start += width
    block = basis.uncouple_items(irreps, *elements)
    return sparse.coo_matrix(np.where(np.abs(block) > _ZERO, block, 0.0).reshape(size, -1).T)


def _counts(sites: Sites) -> dict[Elements, int]:
    """Number of atoms or pairs by elements, in the order of the vector."""
    return ({(element,): len(atoms) for element, atoms in sites.atoms.items()}
            | {species: len(which) for species, which in sites.species_pairs.items()})


@dataclass
class Features:
    """Fitted features, and what compresses them for the solver.

    atoms, pairs: by element and by elements.  contractions: {(elements, irrep): Contraction}.
    """

    settings: PairSettings
    atoms: dict[int, AtomFeatures] = field(default_factory=dict)
    pairs: dict[Elements, PairFeatures] = field(default_factory=dict)
    contractions: dict = field(default_factory=dict)


class Sources:
    """Atoms and pairs of many structures, gathered by elements."""

    def __init__(self, structures: list[Structure], settings: PairSettings):
        self.structures, self.settings = structures, settings
        self.sites = [Sites.of(structure, settings.reach) for structure in structures]
        self.numbers = np.concatenate([s.numbers for s in structures])
        self.charges = charges(structures)
        self.density = {l: a.astype(np.float32) for l, a in densities(structures, settings).items()}

    def of(self, element: int) -> dict[int, np.ndarray]:
        """Neighbour densities of an element's atoms."""
        return {l: a[self.numbers == element] for l, a in self.density.items()}

    def pairs(self, species: Elements):
        """Of all pairs: positions of the two atoms among those of their element, vectors, charges per atom."""
        first, second, vectors, charge = [], [], [], []
        seen = dict.fromkeys(np.unique(self.numbers).tolist(), 0)
        for structure, sites in zip(self.structures, self.sites):
            which = sites.species_pairs.get(species)
            if which is not None:
                a, b = (np.searchsorted(sites.atoms[z], atoms[which]) + seen[z] for z, atoms in
                        zip(species, (sites.pairs.first, sites.pairs.second)))
                first.append(a)
                second.append(b)
                vectors.append(sites.pairs.vectors[which])
                charge.append(np.full(len(which), structure.charge / len(structure)))
            for element, atoms in sites.atoms.items():
                seen[element] += len(atoms)
        return tuple(map(np.concatenate, (first, second, vectors, charge)))


def fit_features(sources: Sources, basis: BlockBasis, atom_keep: tuple[int, ...], pair_keep: tuple[int, ...],
                 progress: bool = True) -> Features:
    """Leading components of everything, from samples of the structures' atoms and pairs.

    atom_keep, pair_keep: those that the solver sees, of atoms with one, two, more neighbours; of pairs with the bond
    and with both atoms.
    """
    random, features = np.random.default_rng(1), Features(sources.settings)
    species = sorted({species for sites in sources.sites for species in sites.species_pairs})
    for element in sorted(basis.shells):
        own = _sampled(sources.of(element), random)
        if len(own[0][0]) < FEWEST:
            continue
        atom = AtomFeatures(sources.settings)
        atom.singles = {l: principal_components(a, sources.settings.leading) for l, a in own[0].items()}
        products = atom.products(atom.leading_singles(own[0]))
        atom.doubles = {l: principal_components(products[l, (-1) ** l], max(sources.settings.doubles[l],
                        sources.settings.invariants if l == 0 else 0)) for l in own[0]}
        features.atoms[element] = atom
        parts = site_parts(atom, own[0], sources.charges[sources.numbers == element][own[1]])
        for irrep in basis.channels(element):
            features.contractions[(element,), irrep] = _compressed(parts[irrep.l, irrep.parity], atom_keep,
                                                                   centred=irrep[:2] == (0, 1))
    coupled = {z: atom.coupled(sources.of(z)) for z, atom in features.atoms.items()}
    for pair in tqdm(species, desc="leading features of pairs", disable=not progress):
        if not set(pair) <= features.atoms.keys():
            continue
        first, second, vectors, charge = sources.pairs(pair)
        if len(first) < FEWEST:
            continue
        sample = random.permutation(len(first))[:_SAMPLE]
        one, other = (_taken(coupled[z], index[sample]) for z, index in zip(pair, (first, second)))
        made = PairFeatures(sources.settings)
        bonds = made.bond_products(one, vectors[sample])
        if pair[0] == pair[1]:
            back = made.bond_products(other, -vectors[sample])
            bonds = {key: np.concatenate([bonds[key], back[key]]) for key in bonds}
        made.bonds = {key: principal_components(a, sources.settings.bonds[key[0]], centred=False)
                      for key, a in bonds.items()}
        features.pairs[pair] = made
        for exchange in ((1, -1) if pair[0] == pair[1] else (0,)):
            parts = made.parts(one, other, vectors[sample], charge[sample], exchange)
            for irrep in basis.channels(*pair):
                if irrep.exchange == exchange:
                    features.contractions[pair, irrep] = _compressed(parts[irrep.l, irrep.parity], pair_keep)
    return features


def make_design(sources: Sources, features: Features, layout: Layout, progress: bool = True) -> Design:
    """Compressed features of all atoms and pairs, float32."""
    rows, indices = {}, {}
    for element, atom in features.atoms.items():
        if (element,) not in layout.items:
            continue
        parts = site_parts(atom, sources.of(element), sources.charges[sources.numbers == element])
        for irrep, index in layout.indices((element,)).items():
            key = (element,), irrep
            rows[key] = _rows(features.contractions[key], parts[irrep.l, irrep.parity])
            indices[key] = index
    coupled = {z: atom.coupled(sources.of(z)) for z, atom in features.atoms.items()
               if np.any(sources.numbers == z)}
    for pair in tqdm([p for p in features.pairs if p in layout.items], desc="features of pairs", disable=not progress):
        first, second, vectors, charge = sources.pairs(pair)
        found = {irrep: [] for irrep in layout.basis.channels(*pair)}
        for start in range(0, len(first), _CHUNK):
            part = slice(start, start + _CHUNK)
            one, other = (_taken(coupled[z], index[part]) for z, index in zip(pair, (first, second)))
            for exchange in ((1, -1) if pair[0] == pair[1] else (0,)):
                parts = features.pairs[pair].parts(one, other, vectors[part], charge[part], exchange)
                for irrep, chunks in found.items():
                    if irrep.exchange == exchange:
                        chunks.append(_rows(features.contractions[pair, irrep], parts[irrep.l, irrep.parity]))
        for irrep, index in layout.indices(pair).items():
            rows[pair, irrep], indices[pair, irrep] = np.concatenate(found[irrep]), index
    return Design(rows, indices, layout.offsets)


def _compressed(parts, keep, centred=False):
    """Leading components of the parts by origin; what comes after those of ``keep`` stays as it is."""
    found = [principal_components(part, count, centred=centred) for part, count in zip(parts, keep[-len(parts) + 1 :])]
    rest = sum(part.shape[1] for part in parts[len(found) :])
    found.append(Contraction(np.eye(rest), np.zeros(rest)))
    return Contraction(block_diag(*[c.matrix for c in found]), np.concatenate([c.mean for c in found]))


def _rows(contraction, parts):
    values = np.concatenate(parts, axis=1)
    if np.any(contraction.mean):
        values = values - contraction.mean[:, None]
    return np.ascontiguousarray(np.matmul(contraction.matrix.astype(np.float32), values.astype(np.float32))
                                .transpose(0, 2, 1).reshape(-1, len(contraction.matrix)))


def _sampled(density, random):
    count = len(density[0])
    index = np.sort(random.permutation(count)[:_SAMPLE])
    return {l: a[index] for l, a in density.items()}, index


def _taken(features, index):
    return {l: values[index] for l, values in features.items()}
