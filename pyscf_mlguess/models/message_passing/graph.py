"""Structures -> what the network works on: atoms, neighbours, pairs, of one molecule or of many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from pyscf_mlguess.blocks import Sites
from pyscf_mlguess.structure import Structure, pairs

Elements = tuple[int, ...]  # one element for atoms, two for pairs, the lower one first


@dataclass
class Graph:
    """Atoms of known elements and what lies between them; lengths in bohr, tensors of float64 and int64.

    elements: (natm,) positions of the atoms' elements among those that are known.  charges: (natm,) total charge over
    number of atoms.
    receivers, senders: (nedges,) atoms; edges: (nedges, 3) from the first to the second.
    first, second: (npairs,) atoms; bonds: (npairs, 3).  back: (nsame,) those of two atoms of one element.
    items: {elements: (n,)} atoms by element, pairs by species; those of one element by their place in ``back``.
    counts: of every molecule, {elements: number of its items}, in the order of ``Layout``.
    """

    elements: torch.Tensor
    charges: torch.Tensor
    receivers: torch.Tensor
    senders: torch.Tensor
    edges: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    bonds: torch.Tensor
    back: torch.Tensor
    items: dict[Elements, torch.Tensor]
    counts: list[dict[Elements, int]]

    @classmethod
    def of(cls, structure: Structure, sites: Sites, known: Sequence[int], cutoff: float) -> "Graph":
        """Of one molecule.

        sites: its atoms and pairs that have blocks.  known: elements that are seen, others are left out.  cutoff: of
        neighbours.
        """
        position = np.full(max(*known, *sites.numbers.tolist(), 0) + 1, -1)
        position[list(known)] = np.arange(len(known))
        elements = position[structure.numbers]
        kept = elements >= 0
        atom = np.cumsum(kept) - 1
        near = pairs(structure, cutoff)
        edges = kept[near.first] & kept[near.second]
        wanted = {one: which for one, which in sites.species_pairs.items() if set(one) <= set(known)}
        which = np.concatenate([np.zeros(0, int), *wanted.values()])
        items = {(z,): atom[atoms] for z, atoms in sites.atoms.items() if z in known}
        place, back = 0, [np.zeros(0, int)]
        for one, index in wanted.items():
            items[one] = place + np.arange(len(index))
            place += len(index)
            if one[0] == one[1]:
                back.append(items[one])
                items[one] = sum(map(len, back[:-1])) + np.arange(len(index))
        counts = {one: len(index) for one, index in items.items()}
        charges = np.full(kept.sum(), structure.charge / max(len(structure), 1))
        arrays = (elements[kept], charges, atom[near.first[edges]], atom[near.second[edges]], near.vectors[edges],
                  atom[sites.pairs.first[which]], atom[sites.pairs.second[which]], sites.pairs.vectors[which],
                  np.concatenate(back))
        return cls(*map(torch.from_numpy, arrays), {one: torch.from_numpy(index) for one, index in items.items()},
                   [counts])

    @classmethod
    def joined(cls, graphs: Sequence["Graph"]) -> "Graph":
        """Many molecules as one graph."""
        atoms, bonds, backs = ([0, *np.cumsum([len(getattr(graph, name)) for graph in graphs])[:-1].tolist()]
                               for name in ("elements", "first", "back"))
        shifts = {"receivers": atoms, "senders": atoms, "first": atoms, "second": atoms, "back": bonds}
        tensors = [torch.cat([getattr(graph, field.name) + shifts.get(field.name, [0] * len(graphs))[k]
                              for k, graph in enumerate(graphs)]) for field in fields(cls)[:9]]
        items: dict[Elements, list[torch.Tensor]] = {}
        for k, graph in enumerate(graphs):
            for one, index in graph.items.items():
                starts = atoms if len(one) == 1 else backs if one[0] == one[1] else bonds
                items.setdefault(one, []).append(index + starts[k])
        return cls(*tensors, {one: torch.cat(parts) for one, parts in items.items()},
                   [count for graph in graphs for count in graph.counts])

    def to(self, like: torch.Tensor) -> "Graph":
        """On the device of ``like``, and its numbers in that precision."""
        moved = [tensor.to(like) if tensor.is_floating_point() else tensor.to(like.device)
                 for tensor in (getattr(self, field.name) for field in fields(self)[:9])]
        return Graph(*moved, {one: index.to(like.device) for one, index in self.items.items()}, self.counts)

    def vectors(self, rows: dict[Elements, torch.Tensor], sizes: dict[Elements, int]) -> list[torch.Tensor]:
        """Rows of all items, {elements: (items, size)}, one vector a molecule as in ``Layout``; zeros where none are.

        sizes: of the rows of every element and species.
        """
        used, found = dict.fromkeys(rows, 0), []
        like = next(iter(rows.values()))
        for counts in self.counts:
            parts = []
            for one, count in counts.items():
                if one in rows:
                    parts.append(rows[one][used[one] : used[one] + count].reshape(-1))
                    used[one] += count
                else:
                    parts.append(like.new_zeros(count * sizes[one]))
            found.append(torch.cat(parts))
        return found
