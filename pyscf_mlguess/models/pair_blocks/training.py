"""Labels with orbitals -> a trained model of matrices."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pyscf_mlguess.block_irreps import BlockBasis
from pyscf_mlguess.blocks import Blocks
from pyscf_mlguess.models import FAMILIES, save_model
from pyscf_mlguess.models.pair_blocks.design import FEWEST, Layout, Sources, fit_features, fold, make_design
from pyscf_mlguess.models.pair_blocks.features import PairSettings, invariants
from pyscf_mlguess.models.pair_blocks.model import (
    DENSITY_MATRIX,
    EXCHANGE,
    FOCK_MATRIX,
    SERVED_SPINS,
    Extent,
    PairBlocks,
    settings_for_card,
)
from pyscf_mlguess.molecules.label import merge, molecule_of
from pyscf_mlguess.molecules.label_files import read_labels
from pyscf_mlguess.molecules.smiles import molecule_key
from pyscf_mlguess.molecules.split import split_of
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.matrices import (
    HARTREE_FOCK,
    OMEGAS,
    BlockProblem,
    MatrixMetric,
    matrices_path,
    prepare_matrices,
)
from pyscf_mlguess.training.solver import geometric_mean, solve
from pyscf_mlguess.training.targets import BASE

log = logging.getLogger(__name__)

# Axes of each target: the matrix to learn, and the one that it is the difference from.
AXES = {
    DENSITY_MATRIX: {"base": ("density", ""), "exact_exchange": ("density_hf", "density")},
    FOCK_MATRIX: {"base": ("fock", ""), "exact_exchange": ("fock_hf", "fock")},
    EXCHANGE: {"base": ("exchange", ""), "exact_exchange": ("exchange_hf", "exchange")}
    | {f"long_range_{omega}": (f"long_range_{omega}", "") for omega in OMEGAS},
}
RIDGES = (3e-4, 3e-3)
ITERATIONS = 40


def train(labels: Iterable[str | Path], output: str | Path, cache: str | Path, target: str, jobs: int = 2,
          molecules: int | None = None, settings: PairSettings = PairSettings(), density: str = "linear-ace-3",
          axes: Iterable[str] | None = None, progress: bool = True) -> Path:
    """Train a model of matrices on label files with orbitals; write weights and card.

    target: what ``PairBlocks`` says.  cache: folder for the matrices, reused and resumed.  molecules: geometries to
    train on.  density: the model whose density goes with the target "exchange".  axes: those of ``AXES`` to be learned.

    Molecules whose SMILES fall into the validation or test split (``split_of``) are not trained on; the former choose
    the ridge.  Returns the path of the ``.safetensors``.  Raises ValueError for an unknown target and for labels
    without orbitals.
    """
    if target not in AXES:
        raise ValueError(f"unknown target {target!r}; there are {', '.join(AXES)}")
    wanted = (str(BASE), HARTREE_FOCK)
    known = [label for label in merge(*(read_labels(path) for path in labels)) if set(wanted) <= label.orbitals.keys()]
    parts = {part: [label for label in known if split_of(label.smiles) == part] for part in ("train", "validation")}
    if molecules:
        parts["train"] = parts["train"][:molecules]
    if not all(parts.values()):
        raise ValueError(f"{len(known)} labels have orbitals at {' and '.join(wanted)}, {len(parts['train'])} of them "
                         "to train on; make more with mlguess label --orbitals")
    for part in parts.values():
        prepare_matrices(part, cache, jobs, progress)
    training, validation = parts["train"], parts["validation"]
    elements = sorted(z for z, count in Counter(np.concatenate([l.numbers for l in training]).tolist()).items()
                      if count >= FEWEST and z in settings.elements)
    training, validation = ([label for label in part if set(label.numbers.tolist()) <= set(elements)]
                            for part in (training, validation))
    basis = BlockBasis.of(elements, BASE.basis)
    sources, check = (Sources(list(map(_structure, part)), settings) for part in (training, validation))
    features = fit_features(sources, basis, progress)
    layouts = [Layout(basis, source.sites) for source in (sources, check)]
    designs = [make_design(source, features, layout, progress) for source, layout in zip((sources, check), layouts)]
    weights, losses, ridges = {}, {}, {}
    for axis, (matrix, other) in AXES[target].items():
        if axes is not None and axis not in axes:
            continue
        problem, checked = (_problem(part, layout, design, cache, settings.reach, matrix, other, target == DENSITY_MATRIX)
                            for part, layout, design in zip((training, validation), layouts, designs))
        trials = {}
        for ridge in RIDGES:
            found = solve(problem, ridge, ITERATIONS, progress=progress)
            trials[ridge] = geometric_mean(checked.losses(found)), found
            log.info("%s, ridge %g: training loss %.5f, validation loss %.5f", axis, ridge,
                     geometric_mean(problem.losses(found)), trials[ridge][0])
        ridges[axis] = min(trials, key=lambda r: trials[r][0])
        losses[axis], found = trials[ridges[axis]]
        weights[axis] = {key: fold(w, features.contractions[key]) for key, w in found.items()}
    card = {
        "format": FAMILIES["pair-blocks"].format,
        "name": Path(output).stem,
        "family": "pair-blocks",
        "target": target,
        "basis": BASE.basis,
        "elements": sorted(features.atoms),
        "charges": sorted({label.charge for label in training}),
        "spins": SERVED_SPINS,
        "levels": {"base": str(BASE), "exact_exchange": HARTREE_FOCK},
        "density": density if target == EXCHANGE else None,
        "settings": settings_for_card(settings),
        "training": {
            "geometries": len(training),
            "molecules": len({label.smiles for label in training}),
            "validation_geometries": len(validation),
            "pairs": sorted(map(list, features.pairs)),
            "weights": sum(w.size for w in weights["base"].values()),
            "ridges": ridges,
            "iterations": ITERATIONS,
            "validation_loss": {axis: round(loss, 6) for axis, loss in losses.items()},
        },
        "licence": "Apache-2.0",
    }
    model = PairBlocks(card, settings, features.atoms, features.pairs, _extents(sources, features), weights)
    return save_model(model, output, [molecule_key(label.smiles) for label in training + validation])


def _structure(label):
    return Structure.from_mol(molecule_of(label).mol(BASE.basis))


def _problem(labels, layout, design, cache, reach, matrix, other, of_density):
    targets, metrics = [], []
    for index, label in enumerate(labels):
        mol = molecule_of(label).mol(layout.basis.name)
        with np.load(matrices_path(cache, label), allow_pickle=False) as found:
            wanted = found[matrix] - (found[other] if other else 0.0)
            orbitals, energies = found["orbitals"], found["energies"]
        # In single precision, the halves of a symmetric matrix differ.
        blocks = Blocks.split((wanted + wanted.T) / 2, mol, reach)
        targets.append(layout.flatten(layout.basis.couple(blocks)).astype(np.float32))
        metric = MatrixMetric.of(layout.assembly(index, mol), orbitals, energies, mol.nelectron // 2, of_density)
        metrics.append(metric.scaled(targets[-1]))
    return BlockProblem(design, np.concatenate(targets), metrics)


def _extents(sources, features):
    extents = {}
    for element, atom in features.atoms.items():
        values = invariants(atom.coupled(sources.of(element)))
        extents[element] = Extent(np.sqrt((values**2).mean(axis=0)), 1.0)
        extents[element].edge = float(np.quantile(extents[element].novelty(values), 0.999))
    return extents
