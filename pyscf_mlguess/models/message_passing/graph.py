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
        sizes = {name: [len(getattr(graph, name)) for graph in graphs] for name in ("elements", "first", "back")}
        atoms, bonds, backs = (np.cumsum([0, *lengths[:-1]]) for lengths in sizes.values())
        shifts = {"receivers": atoms, "senders": atoms, "first": atoms, "second": atoms, "back": bonds}
        tensors = []
        for name in (field.name for field in fields(cls)[:9]):
            parts = [getattr(graph, name) for graph in graphs]
            shift = _repeated(shifts[name], map(len, parts)) if name in shifts else 0
            tensors.append(torch.cat(parts) + shift)
        runs = [(one, k, index) for k, graph in enumerate(graphs) for one, index in graph.items.items()]
        items: dict[Elements, list[torch.Tensor]] = {}
        shift = [(atoms if len(one) == 1 else backs if one[0] == one[1] else bonds)[k] for one, k, _ in runs]
        lengths = [len(index) for _, _, index in runs]
        index = torch.cat([_NOTHING, *(index for _, _, index in runs)]) + _repeated(shift, lengths)
        for (one, _, _), index in zip(runs, index.split(lengths)):
            items.setdefault(one, []).append(index)
        return cls(*tensors, {one: torch.cat(parts) for one, parts in items.items()},
                   [count for graph in graphs for count in graph.counts])

    def to(self, like: torch.Tensor) -> "Graph":
        """On the device of ``like``, and its numbers in that precision."""
        moved = [tensor.to(like) if tensor.is_floating_point() else tensor.to(like.device)
                 for tensor in (getattr(self, field.name) for field in fields(self)[:9])]
        items = torch.cat([_NOTHING, *self.items.values()]).to(like.device).split(list(map(len, self.items.values())))
        return Graph(*moved, dict(zip(self.items, items)), self.counts)

    def vectors(self, rows: dict[Elements, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Rows of all items, {elements: (axes, items, size)}, as one (axes, n) of each molecule, as in ``Layout``."""
        flat = torch.cat([values.flatten(1) for values in rows.values()], dim=1)
        sizes = {one: values.shape[2] for one, values in rows.items()}
        ends = np.cumsum([values.shape[1] * values.shape[2] for values in rows.values()])
        position = dict(zip(rows, [0, *ends[:-1].tolist()]))
        starts, widths, totals = [], [], []
        for counts in self.counts:
            own = [(one, count * sizes[one]) for one, count in counts.items() if count]
            for one, width in own:
                starts.append(position[one])
                widths.append(width)
                position[one] += width
            totals.append(sum(width for _, width in own))
        # One run of numbers after the other.
        shift = np.array(starts) - np.cumsum([0, *widths[:-1]])
        index = _repeated(shift, widths) + torch.arange(sum(widths))
        return flat.index_select(1, index.to(flat.device)).split(totals, dim=1)


_NOTHING = torch.zeros(0, dtype=torch.int64)


def _repeated(values, counts):
    return torch.from_numpy(np.repeat(np.asarray(values, np.int64), list(counts)))
