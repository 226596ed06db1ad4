"""Labels -> what the network is trained on: graphs, what the linear model leaves, metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pyscf_mlguess.block_irreps import BlockBasis, BlockIrreps
from pyscf_mlguess.blocks import Sites
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models.matrix_model import DENSITY_MATRIX
from pyscf_mlguess.models.message_passing.graph import Elements, Graph
from pyscf_mlguess.models.message_passing.metrics import BlockMetric, DensityMetric, Metric
from pyscf_mlguess.models.message_passing.network import LMAX, NetworkSettings
from pyscf_mlguess.models.pair_blocks.design import Layout
from pyscf_mlguess.molecules.label import Label
from pyscf_mlguess.shells import irrep_indices
from pyscf_mlguess.training.dataset import structures_of
from pyscf_mlguess.training.matrices import MatrixMetric
from pyscf_mlguess.training.matrix_labels import AXES, structure_of, targets_and_metrics
from pyscf_mlguess.training.targets import BASE, Target, base_auxiliary_mole

Rows = dict[Elements, np.ndarray]

# Axes of the density: the level to learn; all but the first are differences from it.
DENSITY_AXES = {"base": str(BASE), "exact_exchange": "hf/def2-svp", "triple_zeta": "pbe/def2-tzvp"}
DENSITY_LEVELS = {"base": LevelOfTheory(), "exact_exchange": LevelOfTheory(1.0, 1.0),
                  "triple_zeta": LevelOfTheory(triple_zeta=1.0)}


@dataclass
class Sample:
    """One molecule.

    axes: those that it has.  targets: (axes, n) float32 in the order of ``Graph.vectors``, what the linear model
    leaves.
    """

    graph: Graph
    axes: tuple[str, ...]
    targets: torch.Tensor
    metric: Metric

    def losses(self, vectors: torch.Tensor) -> torch.Tensor:
        """d^T Q d of the errors of a prediction, (axes, n), of each axis."""
        return self.metric.losses(vectors - self.targets)

    def to(self, device: torch.device) -> "Sample":
        """With targets and metric on a device; graphs are joined where the processor is."""
        return Sample(self.graph, self.axes, self.targets.to(device), self.metric.to(device))


def matrix_samples(labels: list[Label], elements: list[int], settings: NetworkSettings, target: str, axes: list[str],
                   cache: str | Path, linear, progress: bool = True) -> list[Sample]:
    """Of a target of matrices.

    cache: what ``prepare_matrices`` has filled.  linear: a model of the same target, or None.
    """
    basis, structures = BlockBasis.of(elements, BASE.basis), list(map(structure_of, labels))
    layout = Layout(basis, [Sites.of(structure, settings.reach) for structure in structures])
    targets: list[list[np.ndarray]] = [[] for _ in labels]
    metrics: list[list[MatrixMetric]] = [[] for _ in labels]
    for axis in axes:
        vector, found = targets_and_metrics(labels, layout, cache, settings.reach, *AXES[target][axis],
                                            target == DENSITY_MATRIX)
        for k, metric in enumerate(found):
            targets[k].append(vector[layout.offsets[k] : layout.offsets[k + 1]])
            metric.scaled(targets[k][-1])
            if metrics[k]:
                metric.assembly = metrics[k][0].assembly  # large, and the same for all axes
            metrics[k].append(metric)
    samples = []
    for k, (structure, sites) in enumerate(tqdm(list(zip(structures, layout.sites)), desc="linear model",
                                                disable=linear is None or not progress)):
        if linear is not None:
            for axis, wanted in zip(axes, targets[k]):
                known = linear.irreps(structure, {axis: 1.0})[0]
                wanted -= layout.flatten(_filled(known, sites, basis)).astype(np.float32)
        samples.append(Sample(Graph.of(structure, sites, elements, settings.cutoff), tuple(axes),
                              torch.from_numpy(np.stack(targets[k])), BlockMetric.of(metrics[k])))
    return samples


def density_samples(targets: list[Target], elements: list[int], settings: NetworkSettings, axes: list[str], linear,
                    progress: bool = True) -> list[Sample]:
    """Of the density in the auxiliary basis.

    targets: with their metrics (``load_targets``).  linear: a linear-density model, or None.
    """
    samples = []
    for target, structure in tqdm(list(zip(targets, structures_of(targets))), desc="linear model",
                                  disable=not progress):
        sites, auxmol = Sites.of(structure, settings.reach), base_auxiliary_mole(target.label)
        layouts = irrep_indices(auxmol)
        order = np.concatenate([index.ravel() for atoms in sites.atoms.values() for atom in atoms
                                for l, index in layouts[atom].items() if l <= LMAX])
        base, found = target.difference[str(BASE)], {}
        for axis in axes:
            if (level := DENSITY_AXES[axis]) in target.difference:
                wanted = target.difference[level] - (0.0 if axis == "base" else base)
                if linear is not None:
                    known = linear.predict(structure, DENSITY_LEVELS[axis]).assemble(auxmol)
                    if axis != "base":
                        known = known - linear.predict(structure).assemble(auxmol)
                    wanted = wanted - known
                found[axis] = wanted[order].astype(np.float32)
        samples.append(Sample(Graph.of(structure, sites, elements, settings.cutoff), tuple(found),
                              torch.from_numpy(np.stack(list(found.values()))),
                              DensityMetric(torch.from_numpy(target.metric.block(order)))))
    return samples


def rows_of(samples: list[Sample], axis: str, sizes: dict[Elements, int]) -> Rows:
    """The targets of an axis by elements, {elements: (items, size)}."""
    found: dict[Elements, list[np.ndarray]] = {}
    for sample in samples:
        start = 0
        for one, count in sample.graph.counts[0].items() if axis in sample.axes else ():
            stop = start + count * sizes[one]
            values = sample.targets[sample.axes.index(axis), start:stop].numpy()
            found.setdefault(one, []).append(values.reshape(count, -1))
            start = stop
    return {one: np.concatenate(parts) for one, parts in found.items()}


def _filled(irreps, sites, basis):
    """With zeros for elements and pairs that the model does not know."""
    def zeros(count, *one):
        return {irrep: np.zeros((count, len(c), 2 * irrep.l + 1)) for irrep, c in basis.channels(*one).items()}

    onsite = {z: irreps.onsite.get(z) or zeros(len(atoms), z) for z, atoms in sites.atoms.items()}
    between = {one: irreps.pairs.get(one) or zeros(len(which), *one) for one, which in sites.species_pairs.items()}
    return BlockIrreps(sites, onsite, between)
