"""What the network is made of.

A state is {(l, parity): (items, 2l+1, channels)}, channels last, so that mixing channels is one matrix product.
Products of states are Clebsch-Gordan products channel by channel, all results of one l of the first factor at once: a
third of the time of e3nn's tensor product on a CPU.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from pyscf_mlguess.couplings import clebsch_gordan

Key = tuple[int, int]  # (l, parity)
State = dict[Key, Tensor]  # {(l, parity): (items, 2l+1, channels)}
Table = dict[Key, list[tuple[Key, Key]]]


def natural(lmax: int) -> list[Key]:
    """Irreps of vectors and their powers, up to lmax."""
    return [(l, (-1) ** l) for l in range(lmax + 1)]


def of_either_parity(lmax: int) -> list[Key]:
    """All irreps up to lmax but the pseudoscalar, which the harmonics of one bond do not make of vectors."""
    return [(l, parity) for l in range(lmax + 1) for parity in (1, -1) if (l, parity) != (0, -1)]


class Mix(nn.Module):
    """Mixes the channels of each irrep; no constant is added, so that zero stays zero.

    sizes: {key: channels that come in}.
    """

    def __init__(self, sizes: dict[Key, int], channels: int):
        super().__init__()
        self.weights = nn.ParameterDict({_name(key): nn.Parameter(torch.randn(size, channels) / math.sqrt(size))
                                         for key, size in sizes.items()})

    def forward(self, state: State) -> State:
        return {key: state[key] @ self.weights[_name(key)] for key in state if _name(key) in self.weights}


def paths(first: Iterable[Key], second: Iterable[Key], wanted: Iterable[Key]) -> Table:
    """Which irreps of two states couple to the wanted ones, {first: [(second, product)]}."""
    second, wanted = list(second), set(wanted)
    return {one: [(other, (l, one[1] * other[1])) for other in second
                  for l in range(abs(one[0] - other[0]), one[0] + other[0] + 1)
                  if (l, one[1] * other[1]) in wanted] for one in first}


class Product(nn.Module):
    """A product of two states.

    table: of ``paths``.  sizes: {key: channels of the product per channel of the factors}.
    """

    def __init__(self, table: Table):
        super().__init__()
        self.table = {one: found for one, found in table.items() if found}
        self.sizes = Counter(key for found in self.table.values() for _, key in found)

    def gathered(self, products: dict[Key, Tensor]) -> State:
        """The product as a state, from {first factor: (items, components of all its paths, channels)}."""
        found: dict[Key, list[Tensor]] = {}
        for one, couplings in self.table.items():
            parts = products[one].split([2 * key[0] + 1 for _, key in couplings], dim=1)
            for (_, key), part in zip(couplings, parts):
                found.setdefault(key, []).append(part)
        return {key: torch.cat(parts, dim=2) for key, parts in found.items()}


class BondProduct(Product):
    """Of a state with the spherical harmonics of bonds, each path and channel with a weight that the bond has."""

    def __init__(self, first: Iterable[Key], lmax: int, wanted: Iterable[Key]):
        super().__init__(paths(first, natural(lmax), wanted))
        self.paths = sum(map(len, self.table.values()))
        start = 0
        for one, couplings in self.table.items():
            tensor = np.zeros(((lmax + 1) ** 2, sum(2 * key[0] + 1 for _, key in couplings), 2 * one[0] + 1))
            path_of: list[int] = []
            for number, ((other, _), (l, _)) in enumerate(couplings, start):
                tensor[other**2 : (other + 1) ** 2, len(path_of) : len(path_of) + 2 * l + 1] = (
                    clebsch_gordan(one[0], other, l).transpose(1, 2, 0))
                path_of += [number] * (2 * l + 1)
            start += len(couplings)
            self.register_buffer(f"tensor{_name(one)}", torch.from_numpy(tensor), persistent=False)
            self.register_buffer(f"path{_name(one)}", torch.tensor(path_of), persistent=False)

    def forward(self, state: State, harmonics: Tensor, weights: Tensor) -> dict[Key, Tensor]:
        """{first factor: (bonds, components of all its paths, channels)}, for ``gathered``.

        harmonics: (bonds, (lmax+1)^2).  weights: (bonds, paths, channels).
        """
        found = {}
        for one in self.table:
            tensor = getattr(self, f"tensor{_name(one)}")
            turned = (harmonics @ tensor.flatten(1)).unflatten(1, tensor.shape[1:])
            found[one] = torch.bmm(turned, state[one]) * weights[:, getattr(self, f"path{_name(one)}")]
        return found


class AtomProduct(Product):
    """Of two states of the same irreps, channel by channel."""

    def __init__(self, keys: Iterable[Key], wanted: Iterable[Key]):
        super().__init__(paths(keys, keys, wanted))
        for one, couplings in self.table.items():
            for other in dict.fromkeys(other for other, _ in couplings):
                tensors = [clebsch_gordan(one[0], other[0], key[0]).reshape(-1, 2 * key[0] + 1)
                           for second, key in couplings if second == other]
                tensor = torch.from_numpy(np.concatenate(tensors, axis=1).T.copy())
                self.register_buffer(f"tensor{_name(one)}{_name(other)}", tensor, persistent=False)

    def forward(self, first: State, second: State) -> State:
        """The product as a state; channels as in ``sizes``."""
        products = {}
        for one, couplings in self.table.items():
            parts = []
            for other in dict.fromkeys(other for other, _ in couplings):
                both = (first[one][:, :, None] * second[other][:, None]).flatten(1, 2)
                parts.append(getattr(self, f"tensor{_name(one)}{_name(other)}") @ both)
            products[one] = torch.cat(parts, dim=1)
        return self.gathered(products)


class Radial(nn.Module):
    """Weights of bonds from their lengths and from scalars of their atoms, smoothly zero at the cutoff.

    functions: number of Bessel functions (Gasteiger, Gross, Guennemann, arXiv 2003.03123); cutoff: bohr.
    """

    def __init__(self, cutoff: float, functions: int, scalars: int, hidden: int, paths: int, channels: int):
        super().__init__()
        self.cutoff, self.shape = cutoff, (paths, channels)
        self.register_buffer("frequencies", math.pi * torch.arange(1, functions + 1, dtype=torch.float64),
                             persistent=False)
        self.network = nn.Sequential(nn.Linear(functions + scalars, hidden), nn.SiLU(), nn.Linear(hidden, hidden),
                                     nn.SiLU(), nn.Linear(hidden, paths * channels))

    def forward(self, lengths: Tensor, scalars: Tensor) -> Tensor:
        """(bonds, paths, channels)."""
        x = (lengths / self.cutoff).clamp(max=1.0)[:, None]
        bessel = math.sqrt(2.0) * torch.sin(self.frequencies * x) / x
        # One at zero, zero at the cutoff, each with two derivatives.
        envelope = (1 - x) ** 3 * (1 + 3 * x + 6 * x**2)
        weights = self.network(torch.cat([bessel * envelope, scalars], dim=1)) * envelope
        return weights.unflatten(1, self.shape)


class Gate(nn.Module):
    """Scalars through SiLU, the others times the sigmoid of a mixture of the scalars; zero stays zero."""

    def __init__(self, keys: Iterable[Key], channels: int):
        super().__init__()
        self.others = [key for key in keys if key != (0, 1)]
        self.gates = nn.Linear(channels, channels * len(self.others), bias=False)

    def forward(self, state: State) -> State:
        scalars = state[0, 1]
        gates = torch.sigmoid(self.gates(scalars)).chunk(len(self.others), dim=2)
        return {(0, 1): nn.functional.silu(scalars)} | {key: state[key] * gate for key, gate in
                                                       zip(self.others, gates)}


def added(first: State, second: State, sign: float = 1.0) -> State:
    """first + sign second, where the second has something."""
    return {key: first[key] + sign * second[key] if key in second else first[key] for key in first}


def taken(state: State, index: Tensor) -> State:
    """The items at ``index``."""
    return {key: values[index] for key, values in state.items()}


def _name(key):
    return f"{key[0]}{'e' if key[1] == 1 else 'o'}"
