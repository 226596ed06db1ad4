"""Linear equivariant models of matrices in the Loewdin-orthonormalised reference basis."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from pyscf_mlguess.block_irreps import BlockBasis, BlockIrreps, Irrep, Irreps
from pyscf_mlguess.blocks import Sites
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models.linear_density.features import Contraction
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
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.models.whole_numbers import to_whole_numbers
from pyscf_mlguess.molecules.label import Level
from pyscf_mlguess.predictions import AuxiliaryDensity, DensityBlocks, FockBlocks, Prediction
from pyscf_mlguess.structure import Structure

Elements = tuple[int, ...]  # one element for blocks on atoms, two for pairs, the lower one first
Weights = dict[tuple[Elements, Irrep], np.ndarray]  # {(elements, irrep): (channels, features)}

DENSITY_MATRIX, FOCK_MATRIX, EXCHANGE = "density matrix", "fock matrix", "exchange"
# Trained on closed shells; what that means for others is measured.
SERVED_SPINS = [0, 1, 2]
# Axes of long-range exchange, followed by the range separation in 1/bohr.
_LONG_RANGE = "long_range_"
# Pairs whose features are made at once: some 100 MB.
_CHUNK = 400


@dataclass
class PairBlocks:
    """One linear map for each element, pair of elements and irrep, from features to the channels of blocks.

    card: what the model is; its target is one of
        "density matrix": S^1/2 (D - D_0) S^1/2, D_0 of the occupied orbitals of the Fock matrix F_0 of the free atoms'
        density, at the base level;
        "fock matrix": S^-1/2 (F - F_0) S^-1/2, F_0 at each level;
        "exchange": S^-1/2 (-K/2 - V_x) S^-1/2 of all exact exchange, V_x the semilocal exchange potential that stands
        in for it in the density route, of which a level of theory takes its share.
    atoms, pairs: features.  ranges: {element: Range}.
    weights: {axis: Weights}; "base", and "exact_exchange", of which a level takes its share; of the target "fock
        matrix", that axis is the difference of Hartree-Fock's.
    density: the model of the density that goes with the target "exchange".
    """

    card: dict
    settings: PairSettings
    atoms: dict[int, AtomFeatures]
    pairs: dict[Elements, PairFeatures]
    ranges: dict[int, Range]
    weights: dict[str, Weights]
    density: object = None

    @property
    def responses(self) -> tuple[Response, ...]:
        """Those of the density's model."""
        return self.density.responses if self.density is not None else ()

    @cached_property
    def basis(self) -> BlockBasis:
        """The reference basis of the elements that have blocks."""
        return BlockBasis.of(self.card["block_elements"], self.card["basis"])

    def predict(self, structure: Structure, level: LevelOfTheory = LevelOfTheory()) -> Prediction:
        """As the card's target says; exchange for a functional without any is the density alone.

        An atom is as novel as it is to the blocks or, if more, to the density.
        """
        target, share = self.card["target"], level.exact_exchange
        density = None
        if target == EXCHANGE:
            density = self.density.predict(structure, level)
            if level.is_semilocal:
                return density
            mixed = self._mixed(share, level.short_range_exchange) + self._long_range(level)
            if not mixed:  # long-range exchange alone, which the model has not learned
                return density
        else:
            mixed = self._mixed(share)
            if target == FOCK_MATRIX:
                density = AuxiliaryDensity.free_atoms(len(structure))
        irreps, novelty = self._irreps(structure, mixed)
        novelty = novelty if density is None else np.maximum(novelty, density.novelty)
        blocks = self.basis.uncouple(irreps)
        if target == DENSITY_MATRIX:
            return DensityBlocks(self.card["basis"], blocks, novelty, Level.parse(self.card["levels"]["base"]).xc)
        return FockBlocks(self.card["basis"], blocks, novelty, density)

    def _mixed(self, share, scale=1.0):
        """The weights of a level of theory, by which all of the axes are mixed."""
        shares = {"base": scale, "exact_exchange": scale * share}
        return [(shares[axis], weights) for axis, weights in self.weights.items() if shares.get(axis)]

    def _long_range(self, level):
        """Of what long-range exchange has more than short-range exchange, linear between the range separations."""
        more = level.long_range_exchange - level.short_range_exchange
        nodes = sorted(float(axis.removeprefix(_LONG_RANGE)) for axis in self.weights if axis.startswith(_LONG_RANGE))
        if not (more and nodes):
            return []
        # Long-range exchange begins as omega itself, which extrapolates both ways.
        shares = [np.interp(level.omega, nodes, np.eye(len(nodes))[k]) for k in range(len(nodes))]
        scale = more * level.omega / float(np.clip(level.omega, nodes[0], nodes[-1]))
        return [(scale * share, self.weights[f"{_LONG_RANGE}{node}"]) for node, share in zip(nodes, shares) if share]

    def _irreps(self, structure, mixed):
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
        density = _density_model(card) if card["target"] == EXCHANGE else None
        return cls(card, settings, atoms, pairs, ranges, weights, density)


def _density_model(card):
    from pyscf_mlguess.models import load_model

    return load_model(card["density"])


def settings_for_card(settings: PairSettings) -> dict:
    """Settings as they stand in a card."""
    return asdict(settings)
