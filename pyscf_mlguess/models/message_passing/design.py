"""Labels -> what the network is trained on: graphs, what the linear model leaves, metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pyscf_mlguess.block_irreps import BlockBasis, BlockIrreps
from pyscf_mlguess.blocks import Sites
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models.matrix_model import DENSITY_MATRIX
from pyscf_mlguess.models.message_passing.graph import Elements, Graph
from pyscf_mlguess.models.message_passing.network import LMAX, NetworkSettings
from pyscf_mlguess.models.pair_blocks.design import Layout
from pyscf_mlguess.molecules.label import Label
from pyscf_mlguess.shells import irrep_indices
from pyscf_mlguess.training.dataset import structures_of
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

    targets: {axis: (n,)} float32 in the order of ``Graph.vector``, what the linear model leaves; of some axes there may
    be none.  metrics: {axis: (n, n)}, or what stands for it in a product.
    """

    graph: Graph
    targets: dict[str, np.ndarray] = field(default_factory=dict)
    metrics: dict[str, object] = field(default_factory=dict)

    def loss(self, axis: str, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """d^T Q d of an error of a prediction, and its gradient."""
        error = vector - self.targets[axis]
        image = self.metrics[axis] @ error
        return float(error @ image), 2 * image


def matrix_samples(labels: list[Label], elements: list[int], settings: NetworkSettings, target: str, axes: list[str],
                   cache: str | Path, linear, progress: bool = True) -> list[Sample]:
    """Of a target of matrices.

    cache: what ``prepare_matrices`` has filled.  linear: a model of the same target, or None.
    """
    basis, structures = BlockBasis.of(elements, BASE.basis), list(map(structure_of, labels))
    layout = Layout(basis, [Sites.of(structure, settings.reach) for structure in structures])
    samples = [Sample(Graph.of(structure, sites, elements, settings.cutoff))
               for structure, sites in zip(structures, layout.sites)]
    for axis in axes:
        vector, metrics = targets_and_metrics(labels, layout, cache, settings.reach, *AXES[target][axis],
                                              target == DENSITY_MATRIX)
        for k, (sample, metric) in enumerate(zip(samples, metrics)):
            sample.targets[axis], sample.metrics[axis] = vector[layout.offsets[k] : layout.offsets[k + 1]], metric
            metric.assembly = sample.metrics[axes[0]].assembly  # large, and the same for all axes
            metric.scaled(sample.targets[axis])
    if linear is not None:
        for sample, structure, sites in tqdm(list(zip(samples, structures, layout.sites)), desc="linear model",
                                             disable=not progress):
            for axis in axes:
                known = linear.irreps(structure, {axis: 1.0})[0]
                sample.targets[axis] = (sample.targets[axis]
                                        - layout.flatten(_filled(known, sites, basis)).astype(np.float32))
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
        sample = Sample(Graph.of(structure, sites, elements, settings.cutoff))
        metric = target.metric[np.ix_(order, order)]
        base = target.difference[str(BASE)]
        for axis in axes:
            if (level := DENSITY_AXES[axis]) in target.difference:
                wanted = target.difference[level] - (0.0 if axis == "base" else base)
                if linear is not None:
                    known = linear.predict(structure, DENSITY_LEVELS[axis]).assemble(auxmol)
                    if axis != "base":
                        known = known - linear.predict(structure).assemble(auxmol)
                    wanted = wanted - known
                sample.targets[axis], sample.metrics[axis] = wanted[order].astype(np.float32), metric
        samples.append(sample)
    return samples


def rows_of(samples: list[Sample], axis: str, sizes: dict[Elements, int]) -> Rows:
    """The targets of an axis by elements, {elements: (items, size)}."""
    found: dict[Elements, list[np.ndarray]] = {}
    for sample in samples:
        start = 0
        for one, count in sample.graph.counts[0].items() if axis in sample.targets else ():
            stop = start + count * sizes[one]
            found.setdefault(one, []).append(sample.targets[axis][start:stop].reshape(count, -1))
            start = stop
    return {one: np.concatenate(parts) for one, parts in found.items()}


def _filled(irreps, sites, basis):
    """With zeros for elements and pairs that the model does not know."""
    def zeros(count, *one):
        return {irrep: np.zeros((count, len(c), 2 * irrep.l + 1)) for irrep, c in basis.channels(*one).items()}

    onsite = {z: irreps.onsite.get(z) or zeros(len(atoms), z) for z, atoms in sites.atoms.items()}
    between = {one: irreps.pairs.get(one) or zeros(len(which), *one) for one, which in sites.species_pairs.items()}
    return BlockIrreps(sites, onsite, between)
