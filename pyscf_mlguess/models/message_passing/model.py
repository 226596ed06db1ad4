"""A network's matrices or densities, added to what a linear model predicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
import torch

from pyscf_mlguess.block_irreps import BlockBasis, BlockIrreps, Irrep
from pyscf_mlguess.blocks import Sites
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models import named_model
from pyscf_mlguess.models.base import Model
from pyscf_mlguess.models.matrix_model import MatrixModel, density_of
from pyscf_mlguess.models.message_passing.graph import Graph
from pyscf_mlguess.models.message_passing.network import LMAX, Channels, Network, NetworkSettings, build
from pyscf_mlguess.models.message_passing.surroundings import Surroundings
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.predictions import AuxiliaryDensity, Prediction
from pyscf_mlguess.structure import Structure

DENSITY = "density"


@dataclass
class MessagePassing(MatrixModel):
    """One network with readouts for all axes.

    card, density: as ``MatrixModel`` says; of the target "density", electrons relative to free atoms in the auxiliary
        basis ``card["basis"]``, whose axes are those of linear-density.
    surroundings: {element: Surroundings}, which tell how novel atoms are.
    linear: the model that the network was trained to correct, or None.
    """

    card: dict
    network: Network
    surroundings: dict[int, Surroundings]
    linear: Model | None = None
    density: Model | None = None

    @cached_property
    def channels(self) -> Channels:
        """What is read out."""
        return channels_of(self.card)

    @property
    def axes(self) -> Iterable[str]:
        """Those of the readouts."""
        return self.network.axes

    @property
    def responses(self) -> tuple[Response, ...]:
        """Those of the density's model; of the target "density", of the linear one."""
        source = self.linear if self.card["target"] == DENSITY else self.density
        return source.responses if source is not None else ()

    def predict(self, structure: Structure, level: LevelOfTheory = LevelOfTheory()) -> Prediction:
        """As ``MatrixModel`` says; of the target "density" the density, relative to free atoms."""
        if self.card["target"] != DENSITY:
            return super().predict(structure, level)
        shares = {"base": 1.0, "exact_exchange": level.exact_exchange, "triple_zeta": level.triple_zeta}
        found = self.corrections(structure, {axis: shares[axis] for axis in self.axes if shares[axis]})
        novelty = self._novelty(structure)
        known = AuxiliaryDensity(self.card["basis"], [{} for _ in range(len(structure))], novelty)
        if self.linear is not None:
            known = self.linear.predict(structure, level)
        for element, table in found.onsite.items():
            for k, atom in enumerate(found.sites.atoms[element]):
                own = known.blocks[atom]
                for irrep, values in table.items():
                    own[irrep.l] = own.get(irrep.l, 0.0) + values[k]
        return AuxiliaryDensity(known.auxbasis, known.blocks, np.maximum(known.novelty, novelty))

    def irreps(self, structure: Structure, shares: dict[str, float]) -> tuple[BlockIrreps, np.ndarray]:
        """As ``MatrixModel`` says."""
        found, novelty = self.corrections(structure, shares), self._novelty(structure)
        if self.linear is None:
            return found, novelty
        linear, known = self.linear.irreps(structure, shares)
        onsite, between = ({one: _added(first.get(one), second.get(one)) for one in first.keys() | second.keys()}
                           for first, second in ((linear.onsite, found.onsite), (linear.pairs, found.pairs)))
        return BlockIrreps(found.sites, onsite, between), np.maximum(known, novelty)

    def corrections(self, structure: Structure, shares: dict[str, float]) -> BlockIrreps:
        """What the network says, the sum of axes, each times its share."""
        settings = self.network.settings
        sites = Sites.of(structure, settings.reach)
        graph = Graph.of(structure, sites, self.network.elements, settings.cutoff)
        with torch.inference_mode():
            rows = self.network(graph.to(next(self.network.parameters())))
        onsite, between = {}, {}
        factors = np.array([shares.get(axis, 0.0) for axis in self.network.axes])
        for one, values in rows.items():
            total = np.tensordot(factors, values.double().numpy(force=True), 1)
            parts, start = {}, 0
            for irrep, count in self.channels[one].items():
                width = count * (2 * irrep.l + 1)
                parts[irrep] = total[:, start : start + width].reshape(len(total), count, -1)
                start += width
            (onsite if len(one) == 1 else between)[one[0] if len(one) == 1 else one] = parts
        return BlockIrreps(sites, onsite, between)

    def _novelty(self, structure):
        novelty = np.zeros(len(structure))
        for element, own in self.surroundings.items():
            atoms = np.flatnonzero(structure.numbers == element)
            novelty[atoms] = own.novelty(structure, atoms)
        return novelty

    def tensors(self) -> dict[str, np.ndarray]:
        """Everything but the card and the linear model as named arrays, float32."""
        named = {f"network/{name}": tensor.numpy(force=True) for name, tensor in self.network.state_dict().items()}
        for element, own in self.surroundings.items():
            named |= {f"surroundings/{element}/{name}": array for name, array in own.tensors().items()}
        return {name: np.ascontiguousarray(array, np.float32) for name, array in named.items()}

    @classmethod
    def from_tensors(cls, card: dict, tensors: dict[str, np.ndarray]) -> "MessagePassing":
        """The inverse of ``tensors``; raises KeyError when one is missing, ModelError for another linear model than
        that which the network was trained with, and what loading others raises."""
        network = build(NetworkSettings(**card["settings"]), card["block_elements"], channels_of(card), card["axes"])
        network.load_state_dict({name: torch.from_numpy(tensors[f"network/{name}"].copy())
                                 for name in network.state_dict()})
        surroundings = {element: Surroundings.from_tensors(
            {name: tensors[f"surroundings/{element}/{name}"] for name in Surroundings.NAMES})
            for element in card["block_elements"]}
        return cls(card, network, surroundings, named_model(card, "linear"), density_of(card))


def channels_of(card: dict) -> Channels:
    """What is read out, {elements: {irrep: channels}}."""
    elements = sorted(card["block_elements"])
    basis = BlockBasis.of(elements, card["basis"])
    if card["target"] == DENSITY:
        return {(element,): {Irrep(l, (-1) ** l, 1): n for l, n in shells.items() if l <= LMAX}
                for element, shells in basis.shells.items()}
    items = [*((element,) for element in elements), *combinations_with_replacement(elements, 2)]
    return {one: {irrep: len(rows) for irrep, rows in basis.channels(*one).items()} for one in items}


def _added(first, second):
    """Two sets of irreps, of which one may be missing."""
    if first is None or second is None:
        return second if first is None else first
    return {irrep: first[irrep] + second[irrep] for irrep in first}
