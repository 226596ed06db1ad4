"""Linear equivariant models of matrices in the Loewdin-orthonormalised reference basis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pyscf_mlguess.block_irreps import BlockIrreps, Irrep, Irreps
from pyscf_mlguess.blocks import Sites
from pyscf_mlguess.models.linear_density.features import Contraction
from pyscf_mlguess.models.matrix_model import MatrixModel, density_of
from pyscf_mlguess.models.novelty import Range
from pyscf_mlguess.models.pair_blocks.features import (
    LMAX,
    AtomFeatures,
    PairFeatures,
    PairSettings,
    charges,
    densities,
    invariants,
    site_parts,
)
from pyscf_mlguess.models.whole_numbers import to_whole_numbers
from pyscf_mlguess.structure import Structure

Elements = tuple[int, ...]  # one element for blocks on atoms, two for pairs, the lower one first
Weights = dict[tuple[Elements, Irrep], np.ndarray]  # {(elements, irrep): (channels, features)}

# Pairs whose features are made at once: some 100 MB.
_CHUNK = 400


@dataclass
class PairBlocks(MatrixModel):
    """One linear map for each element, pair of elements and irrep, from features to the channels of blocks.

    card, density: as ``MatrixModel`` says.  atoms, pairs: features.  ranges: {element: Range}.
    weights: {axis: Weights}.
    """

    card: dict
    settings: PairSettings
    atoms: dict[int, AtomFeatures]
    pairs: dict[Elements, PairFeatures]
    ranges: dict[int, Range]
    weights: dict[str, Weights]
    density: object = None

    @property
    def axes(self) -> Iterable[str]:
        """Those of the weights."""
        return self.weights.keys()

    def irreps(self, structure: Structure, shares: dict[str, float]) -> tuple[BlockIrreps, np.ndarray]:
        """As ``MatrixModel`` says."""
        mixed = [(share, self.weights[axis]) for axis, share in shares.items()]
        sites = Sites.of(structure, self.settings.reach)
        density, charge = densities([structure], self.settings), charges([structure])
        novelty, onsite, between, coupled = np.zeros(len(structure)), {}, {}, {}
        for element, atoms in sites.atoms.items():
            if element not in self.atoms:
                continue
            own = {l: a[atoms] for l, a in density.items()}
            features = self.atoms[element]
            parts, coupled[element] = site_parts(features, own, charge[atoms]), features.coupled(own)
            novelty[atoms] = self.ranges[element].novelty(invariants(coupled[element]))
            onsite[element] = self._applied(mixed, (element,), {1: parts})
        for species, which in sites.species_pairs.items():
            if species in self.pairs:
                between[species] = self._pairs(mixed, species, sites, which, coupled, charge)
        return BlockIrreps(sites, onsite, between), novelty

    def _pairs(self, mixed, species, sites, which, coupled, charge):
        indices = [np.searchsorted(sites.atoms[z], atoms[which]) for z, atoms in
                   zip(species, (sites.pairs.first, sites.pairs.second))]
        found = []
        for start in range(0, len(which), _CHUNK):
            one, other = ({l: a[index[start : start + _CHUNK]] for l, a in coupled[z].items()}
                          for z, index in zip(species, indices))
            now = which[start : start + _CHUNK]
            charged = charge[sites.pairs.first[now]]
            parts = {exchange: self.pairs[species].parts(one, other, sites.pairs.vectors[now], charged, exchange)
                     for exchange in ((1, -1) if species[0] == species[1] else (0,))}
            found.append(self._applied(mixed, species, parts))
        return {irrep: np.concatenate([part[irrep] for part in found]) for irrep in found[0]}

    def _applied(self, mixed, elements, parts) -> Irreps:
        """{irrep: (items, channels, 2l+1)} from features by exchange and (l, parity)."""
        found = {}
        for irrep in self.basis.channels(*elements):
            matrix = sum(share * weights[elements, irrep] for share, weights in mixed)
            values = np.concatenate(parts[irrep.exchange][irrep.l, irrep.parity], axis=1)
            found[irrep] = np.matmul(matrix, values)
        return found

    def tensors(self) -> dict[str, np.ndarray]:
        """Everything but the card as named arrays.

        Weights in 16-bit whole numbers of each column's unit.
        """
        named = {}
        for element, features in self.atoms.items():
            for kind in ("singles", "doubles"):
                for l, contraction in getattr(features, kind).items():
                    named[f"{kind}/{element}/{l}/matrix"] = contraction.matrix
                    if l == 0:
                        named[f"{kind}/{element}/{l}/mean"] = contraction.mean
            named[f"extent/{element}/scale"] = self.ranges[element].scale
            named[f"extent/{element}/edge"] = np.array([self.ranges[element].edge])
        for (a, b), features in self.pairs.items():
            named |= {f"bonds/{a}.{b}/{l}.{parity}": c.matrix for (l, parity), c in features.bonds.items()}
        named = {name: np.ascontiguousarray(array, np.float32) for name, array in named.items()}
        for axis, weights in self.weights.items():
            for (elements, irrep), matrix in weights.items():
                name = f"{axis}/{'.'.join(map(str, elements))}/{'.'.join(map(str, irrep))}"
                named[f"weights/{name}"], named[f"unit/{name}"] = to_whole_numbers(matrix)
        return named

    @classmethod
    def from_tensors(cls, card: dict, tensors: dict[str, np.ndarray]) -> "PairBlocks":
        """The inverse of ``tensors``; raises KeyError when one is missing, and what loading the density raises."""
        settings = PairSettings(**{key: tuple(v) if isinstance(v, list) else v for key, v in card["settings"].items()})
        atoms = {element: AtomFeatures(settings) for element in card["block_elements"]}
        pairs, ranges, weights = {}, {}, {}
        for element, own in atoms.items():
            for kind in ("singles", "doubles"):
                for l in range(LMAX + 1):
                    matrix = tensors[f"{kind}/{element}/{l}/matrix"].astype(float)
                    mean = tensors[f"{kind}/{element}/{l}/mean"].astype(float) if l == 0 else np.zeros(matrix.shape[1])
                    getattr(own, kind)[l] = Contraction(matrix, mean)
            ranges[element] = Range(tensors[f"extent/{element}/scale"].astype(float),
                                      float(tensors[f"extent/{element}/edge"][0]))
        for name, array in tensors.items():
            kind, _, rest = name.partition("/")
            if kind == "bonds":
                species, key = (tuple(map(int, part.split("."))) for part in rest.split("/"))
                matrix = array.astype(float)
                pairs.setdefault(species, PairFeatures(settings)).bonds[key] = Contraction(
                    matrix, np.zeros(matrix.shape[1]))
            elif kind == "weights":
                axis, elements, irrep = rest.split("/")
                key = tuple(map(int, elements.split("."))), Irrep(*map(int, irrep.split(".")))
                weights.setdefault(axis, {})[key] = array * tensors[f"unit/{rest}"].astype(float)
        for kind, found in (("bonds", pairs), ("weights/base", weights.get("base"))):
            if not found:
                raise KeyError(kind)
        return cls(card, settings, atoms, pairs, ranges, weights, density_of(card))
