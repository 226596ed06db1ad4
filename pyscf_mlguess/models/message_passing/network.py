"""The network: atoms and their neighbours -> states of atoms and of pairs -> irreps of blocks, or of a density.

Messages along the edges between neighbours, and products of what an atom has received, which bring many neighbours
together (MACE, Batatia et al., arXiv 2206.07697), make states of atoms; a pair has the product of its atoms' states
with the spherical harmonics of its bond.  Of two atoms of one element, the states of the pair and of the pair with its
atoms exchanged are added for irreps that exchange leaves as they are, and subtracted for those of which it changes the
sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn

from pyscf_mlguess.block_irreps import Irrep
from pyscf_mlguess.models.message_passing.graph import Elements, Graph
from pyscf_mlguess.models.message_passing.layers import (
    AtomProduct,
    BondProduct,
    Gate,
    Mix,
    Radial,
    State,
    added,
    natural,
    taken,
)

Channels = Mapping[Elements, Mapping[Irrep, int]]  # {elements: {irrep: channels}}
Rows = dict[Elements, Tensor]  # {elements: (axes, items, numbers of all irreps)}

# Of the irreps that are predicted.
LMAX = 4
_SMALLEST = 1e-12


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes of the network; lengths in bohr.

    cutoff: of messages.  reach: distance of the atoms of a pair beyond which its block is zero.
    layers: of messages.  channels, lmax: of atoms' states and of the harmonics of messages.
    pair_channels, pair_lmax: of atoms' states that are coupled with a bond.  states: channels of what is read out.
    radial: Bessel functions.  hidden: of the networks of radial functions.
    neighbours: number by whose square root the sum of messages is divided.
    """

    cutoff: float = 6.0
    reach: float = 10.0
    layers: int = 2
    channels: int = 32
    lmax: int = 3
    pair_channels: int = 16
    pair_lmax: int = 2
    states: int = 24
    radial: int = 8
    hidden: int = 32
    neighbours: float = 10.0


def build(settings: NetworkSettings, elements: Sequence[int], channels: Channels, axes: Sequence[str], seed: int = 0,
          dtype: torch.dtype = torch.float32) -> Network:
    """The network with random weights that follow from ``seed``; torch's own random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(settings, elements, channels, axes).to(dtype)


class Network(nn.Module):
    """What ``build`` makes.

    elements: atomic numbers that are seen.  channels: what is read out for each of the axes.
    """

    def __init__(self, settings: NetworkSettings, elements: Sequence[int], channels: Channels, axes: Sequence[str]):
        super().__init__()
        self.settings, self.elements, self.axes = settings, tuple(elements), tuple(axes)
        self.sizes = {one: sum(count * (2 * irrep.l + 1) for irrep, count in table.items())
                      for one, table in channels.items()}
        of_atoms, sites, between = natural(settings.lmax), _wanted(channels, 1), _wanted(channels, 2)
        self.embedding = nn.Embedding(len(elements), settings.channels)
        self.charge = nn.Embedding(len(elements), settings.channels)
        self.messages = nn.ModuleList(Message(settings, of_atoms if layer else natural(0), of_atoms)
                                      for layer in range(settings.layers))
        self.sites = Site(settings, sites)
        self.pairs = Pair(settings, between) if len(between) > 1 else None
        self.readouts = nn.ModuleDict({elements_name(one): Readout(table, settings.states, len(axes), len(one) == 1)
                                       for one, table in channels.items()})

    def forward(self, graph: Graph) -> Rows:
        """{elements: (axes, items, numbers of all irreps)}, in the order of ``Layout``: irrep, channel, component."""
        # ---- states of atoms
        charges = graph.charges[:, None] * self.charge(graph.elements)
        state = {(0, 1): (self.embedding(graph.elements) + charges)[:, None]}
        lengths, harmonics = _geometry(graph.edges, self.settings.lmax)
        for message in self.messages:
            state = message(state, graph, lengths, harmonics)
        # ---- what is read out
        found = [one for one, index in graph.items.items() if len(index)]
        rows = self._read([one for one in found if len(one) == 1], graph, {1: self.sites(state)})
        if self.pairs is not None:
            between = self.pairs(state, graph)
            unlike, like = {0: between.pop(0)}, between
            rows |= self._read([one for one in found if len(one) == 2 and one[0] != one[1]], graph, unlike)
            rows |= self._read([one for one in found if len(one) == 2 and one[0] == one[1]], graph, like)
        return rows

    def _read(self, elements: Sequence[Elements], graph: Graph, states: dict[int, State]) -> Rows:
        """The rows of these elements or species from the states of all items, {exchange: state}."""
        if not elements:
            return {}
        # All at once, one element after the other: on a GPU, kernels for each of them would take most of the time.
        index, counts = torch.cat([graph.items[one] for one in elements]), [len(graph.items[one]) for one in elements]
        parts = {exchange: {key: values.split(counts) for key, values in taken(state, index).items()}
                 for exchange, state in states.items()}
        return {one: self.readouts[elements_name(one)]({exchange: {key: split[k] for key, split in state.items()}
                                                        for exchange, state in parts.items()})
                for k, one in enumerate(elements)}


class Message(nn.Module):
    """One layer: what the neighbours send, summed, its product with itself, gated, added to the state."""

    def __init__(self, settings: NetworkSettings, given: list, made: list):
        super().__init__()
        channels = settings.channels
        self.scale = settings.neighbours**-0.5
        self.up = Mix(dict.fromkeys(given, channels), channels)
        self.product = BondProduct(given, settings.lmax, made)
        self.radial = Radial(settings.cutoff, settings.radial, 2 * channels, settings.hidden, self.product.paths,
                             channels)
        self.received = Mix({key: n * channels for key, n in self.product.sizes.items()}, channels)
        self.many = AtomProduct(made, made)
        self.many_mix = Mix({key: n * channels for key, n in self.many.sizes.items()}, channels)
        self.gate = Gate(made, channels)
        self.down = Mix(dict.fromkeys(made, channels), channels)

    def forward(self, state: State, graph: Graph, lengths: Tensor, harmonics: Tensor) -> State:
        scalars = state[0, 1][:, 0]
        weights = self.radial(lengths, torch.cat([scalars[graph.receivers], scalars[graph.senders]], dim=1))
        sent = self.product(taken(self.up(state), graph.senders), harmonics, weights)
        summed = {one: values.new_zeros(len(scalars), *values.shape[1:]).index_add(0, graph.receivers, values)
                  for one, values in sent.items()}
        received = self.received(self.product.gathered(summed))
        received = {key: self.scale * values for key, values in received.items()}
        new = self.down(self.gate(added(received, self.many_mix(self.many(received, received)))))
        return added(new, state)


class Site(nn.Module):
    """States of atoms that blocks on atoms are read from: of either parity, by products of two mixtures."""

    def __init__(self, settings: NetworkSettings, made: list):
        super().__init__()
        given, channels = natural(settings.lmax), settings.pair_channels
        self.factors = nn.ModuleList(Mix(dict.fromkeys(given, settings.channels), channels) for _ in range(2))
        self.product = AtomProduct(given, made)
        self.alone = Mix(dict.fromkeys([key for key in given if key in made], settings.channels), settings.states)
        self.mix = Mix({key: n * channels for key, n in self.product.sizes.items()}, settings.states)

    def forward(self, state: State) -> State:
        return added(self.mix(self.product(*(mix(state) for mix in self.factors))), self.alone(state))


class Pair(nn.Module):
    """States of pairs from those of their atoms and the bond."""

    def __init__(self, settings: NetworkSettings, made: list):
        super().__init__()
        given, channels, states = natural(settings.pair_lmax), settings.pair_channels, settings.states
        self.ends = nn.ModuleList(Mix(dict.fromkeys(given, settings.channels), channels) for _ in range(2))
        self.product = BondProduct(given, LMAX, made)
        self.radial = Radial(settings.reach, settings.radial, 2 * channels, settings.hidden, self.product.paths,
                             channels)
        self.mix = Mix({key: n * channels for key, n in self.product.sizes.items()}, states)
        self.gate = Gate(made, states)
        self.down = Mix(dict.fromkeys(made, states), states)

    def forward(self, state: State, graph: Graph) -> dict[int, State]:
        """Of two elements {0: of all pairs}, of one {1: sum, -1: difference of both ways}, the latter in the order of
        ``graph.back``."""
        first = torch.cat([graph.first, graph.second[graph.back]])
        second = torch.cat([graph.second, graph.first[graph.back]])
        lengths, harmonics = _geometry(torch.cat([graph.bonds, -graph.bonds[graph.back]]), LMAX)
        one, other = (taken(mix(state), index) for mix, index in zip(self.ends, (first, second)))
        weights = self.radial(lengths, torch.cat([one[0, 1], other[0, 1]], dim=2)[:, 0])
        made = self.mix(self.product.gathered(self.product(added(one, other), harmonics, weights)))
        made = added(made, self.down(self.gate(made)))
        forth = taken(made, graph.back)
        back = {key: values[len(graph.first) :] for key, values in made.items()}
        return {0: made, 1: added(forth, back), -1: added(forth, back, -1.0)}


class Readout(nn.Module):
    """A linear map from states to the channels of one element's or one species' irreps, for each axis.

    It begins with zero, so that what the network is added to is not harmed.  scales: what each channel, of all axes, is
    multiplied with at the end; atoms' invariants have a constant.
    """

    def __init__(self, channels: Mapping[Irrep, int], states: int, axes: int, atoms: bool):
        super().__init__()
        self.irreps, self.axes = list(channels), axes
        self.weights, self.constants = nn.ParameterDict(), nn.ParameterDict()
        for irrep, n in channels.items():
            name = irrep_name(irrep)
            self.weights[name] = nn.Parameter(torch.zeros(states, axes * n))
            self.register_buffer(f"scale{name}", torch.ones(axes * n))
            if atoms and irrep[:2] == (0, 1):
                self.constants[name] = nn.Parameter(torch.zeros(axes * n))
        # Products stand as irrep, component, axis, channel; what is read out as axis, irrep, channel, component.
        product_of, scale_of, products, scales = [], [], 0, 0
        for irrep, n in channels.items():
            component, axis, channel = np.indices((2 * irrep.l + 1, axes, n)).transpose(0, 2, 3, 1)
            product_of.append((products + (component * axes + axis) * n + channel).reshape(axes, -1))
            scale_of.append((scales + axis * n + channel).reshape(axes, -1))
            products, scales = products + component.size, scales + axes * n
        for name, index in (("product_of", product_of), ("scale_of", scale_of)):
            self.register_buffer(name, torch.from_numpy(np.concatenate(index, axis=1).ravel()), persistent=False)

    def scale(self, axis: int, rows: Tensor, centred: bool) -> None:
        """Take scales of an axis from the rows of the training set, (items, numbers of all irreps).

        centred: begin with the mean invariants.  Without rows the channels stay zero.
        """
        start = 0
        with torch.no_grad():
            for irrep in self.irreps:
                name = irrep_name(irrep)
                scales = getattr(self, f"scale{name}").unflatten(0, (self.axes, -1))[axis]
                stop = start + len(scales) * (2 * irrep.l + 1)
                values = rows[:, start:stop].unflatten(1, (len(scales), -1))
                start = stop
                mean = torch.zeros(len(scales))
                if len(rows) and name in self.constants and centred:
                    mean = values.mean(dim=(0, 2))
                found = (values - mean[:, None]).square().mean(dim=(0, 2)).sqrt() if len(rows) else mean
                scales.copy_(found)
                if name in self.constants:
                    constants = self.constants[name].unflatten(0, (self.axes, -1))[axis]
                    constants.copy_(torch.where(found > 0, mean / found.clamp(min=_SMALLEST), 0.0))

    def forward(self, states: dict[int, State]) -> Tensor:
        """(axes, items, numbers of all irreps); states: by what exchange of the atoms does."""
        products = []
        for irrep in self.irreps:
            name = irrep_name(irrep)
            values = states[irrep.exchange][irrep[:2]] @ self.weights[name]
            products.append((values + self.constants[name] if name in self.constants else values).flatten(1))
        scales = torch.cat([getattr(self, f"scale{irrep_name(irrep)}") for irrep in self.irreps])
        values = torch.cat(products, dim=1).index_select(1, self.product_of) * scales[self.scale_of]
        return values.unflatten(1, (self.axes, -1)).transpose(0, 1)


def irrep_name(irrep: Irrep) -> str:
    """A name without a dot, which torch keeps for itself."""
    return "_".join(map(str, irrep))


def elements_name(elements: Elements) -> str:
    """As ``irrep_name``."""
    return "_".join(map(str, elements))


def _wanted(channels, items):
    """Irreps of atoms (items = 1) or pairs (2) that are read out, scalars among them."""
    return sorted({(0, 1)} | {irrep[:2] for one, table in channels.items() if len(one) == items for irrep in table})


def _geometry(vectors, lmax):
    """Lengths, and spherical harmonics of mean square one in the package's order of components (``shells``)."""
    harmonics = o3.spherical_harmonics(list(range(lmax + 1)), vectors[:, [1, 2, 0]], True, "component")
    return torch.linalg.vector_norm(vectors, dim=1), harmonics
