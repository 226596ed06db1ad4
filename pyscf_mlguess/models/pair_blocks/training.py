"""Labels with orbitals -> a trained model of matrices."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pyscf_mlguess.block_irreps import BlockBasis
from pyscf_mlguess.blocks import Blocks
from pyscf_mlguess.models import FAMILIES, load_model, save_model
from pyscf_mlguess.models.linear_density.compression import fold
from pyscf_mlguess.models.novelty import Range
from pyscf_mlguess.models.pair_blocks.design import FEWEST, Layout, Sources, fit_features, make_design
from pyscf_mlguess.models.pair_blocks.features import PairSettings, invariants
from pyscf_mlguess.models.pair_blocks.model import (
    DENSITY_MATRIX,
    EXCHANGE,
    FOCK_MATRIX,
    SERVED_SPINS,
    PairBlocks,
    settings_for_card,
)
from pyscf_mlguess.molecules.label import merge, molecule_of
from pyscf_mlguess.molecules.label_files import read_labels
from pyscf_mlguess.molecules.smiles import molecule_key
from pyscf_mlguess.molecules.split import split_of, subset
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.matrices import (
    HARTREE_FOCK,
    OMEGAS,
    BlockProblem,
    MatrixMetric,
    prepare_matrices,
    read_matrices,
)
from pyscf_mlguess.training.solver import geometric_mean, solve
from pyscf_mlguess.training.targets import BASE

log = logging.getLogger(__name__)

# Axes of each target: the matrix to learn, and the one that it is the difference from.
AXES = {
    DENSITY_MATRIX: {"base": ("density", "density_0"), "exact_exchange": ("density_hf", "density")},
    FOCK_MATRIX: {"base": ("fock", ""), "exact_exchange": ("fock_hf", "fock")},
    EXCHANGE: {"base": ("exchange", ""), "exact_exchange": ("exchange_hf", "exchange")}
    | {f"long_range_{omega}": (f"long_range_{omega}", "") for omega in OMEGAS},
}
RIDGE = 3e-5
# Sizes of the representation: settings, and the leading components that the solver sees.
SIZES = {
    "small": (PairSettings(radial=6, bond_radial=4, products=(6, 4, 3, 2, 2), singles=(4, 3, 2, 2, 1),
                           doubles=(2, 2, 1, 1, 1), bonds=(4, 3, 2, 2, 1), others=(3, 3, 2, 1, 1), invariants=4),
              (30, 60, 40), (40, 40)),
    "medium": (PairSettings(radial=7, bond_radial=4, products=(8, 6, 4, 3, 3), singles=(6, 4, 3, 3, 2),
                            doubles=(4, 3, 2, 1, 1), bonds=(7, 5, 4, 3, 2), others=(4, 4, 3, 2, 1), invariants=6),
               (50, 90, 60), (60, 70)),
    "full": (PairSettings(), (80, 180, 140), (150, 180)),
}
# The metric all but ignores what is between occupied, and between virtual orbitals: conjugate gradients are slow in it.
ITERATIONS = 300


def train(labels: Iterable[str | Path], output: str | Path, cache: str | Path, target: str, jobs: int = 2,
          molecules: int | None = None, size: str = "full", density: str = "linear-ace-3",
          axes: Iterable[str] | None = None, progress: bool = True) -> Path:
    """Train a model of matrices on label files with orbitals; write weights and card.

    target: what ``PairBlocks`` says.  cache: folder for the matrices, reused and resumed.  molecules: train on so many
    only; smaller subsets are parts of larger ones.  size: one of ``SIZES``.  density: the model whose density goes with
    the target "exchange".  axes: those of ``AXES`` to be learned (default: all).

    Molecules whose SMILES fall into the validation or test split (``split_of``) are not trained on.  Returns the path
    of the ``.safetensors``.  Raises ValueError for an unknown target, for labels without orbitals or too few, and for
    damaged matrices.
    """
    for kind, name, known in (("target", target, AXES), ("size", size, SIZES)):
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}; there are {', '.join(known)}")
    settings, *keep = SIZES[size]
    wanted = (str(BASE), HARTREE_FOCK)
    labelled = merge(*(read_labels(path) for path in labels))
    labelled = [label for label in labelled if set(wanted) <= label.orbitals.keys()]
    parts = {part: [label for label in labelled if split_of(label.smiles) == part] for part in ("train", "validation")}
    if molecules:
        kept = subset({label.smiles for label in parts["train"]}, molecules)
        parts["train"] = [label for label in parts["train"] if label.smiles in kept]
    if not all(parts.values()):
        raise ValueError(f"{len(labelled)} labels have orbitals at {' and '.join(wanted)}, {len(parts['train'])} of "
                         f"them to train on, {len(parts['validation'])} to validate; make more with "
                         "mlguess label --orbitals")
    for part in parts.values():
        prepare_matrices(part, cache, jobs, progress)
    training, validation = parts["train"], parts["validation"]
    elements = sorted(z for z, count in Counter(np.concatenate([l.numbers for l in training]).tolist()).items()
                      if count >= FEWEST and z in settings.elements)
    training, validation = ([label for label in part if set(label.numbers.tolist()) <= set(elements)]
                            for part in (training, validation))
    if not (training and validation):
        raise ValueError(f"{len(training)} geometries to train on and {len(validation)} to validate with have only "
                         f"elements of at least {FEWEST} atoms in the training set; label more")
    basis = BlockBasis.of(elements, BASE.basis)
    sources, check = (Sources(list(map(_structure, part)), settings) for part in (training, validation))
    features = fit_features(sources, basis, *keep, progress=progress)
    layouts = [Layout(basis, source.sites) for source in (sources, check)]
    designs = [make_design(source, features, layout, progress) for source, layout in zip((sources, check), layouts)]
    weights, losses = {}, {}
    for axis, (matrix, other) in AXES[target].items():
        if axes is not None and axis not in axes:
            continue
        problem, checked = (
            _problem(part, layout, design, cache, settings.reach, matrix, other, target == DENSITY_MATRIX)
            for part, layout, design in zip((training, validation), layouts, designs))
        for one in (problem, checked):
            _normalise(one)
        found = solve(problem, RIDGE, ITERATIONS, progress=progress)
        losses[axis] = geometric_mean(checked.losses(found))
        log.info("%s: training loss %.5f, validation loss %.5f", axis, geometric_mean(problem.losses(found)),
                 losses[axis])
        weights[axis] = {key: fold(w, features.contractions[key]) for key, w in found.items()}
    card = {
        "format": FAMILIES["pair-blocks"].format,
        "name": Path(output).stem,
        "family": "pair-blocks",
        "target": target,
        "basis": BASE.basis,
        "elements": sorted(features.atoms),
        "block_elements": sorted(features.atoms),
        "charges": sorted({label.charge for label in training}),
        "spins": SERVED_SPINS,
        "levels": {"base": str(BASE), "exact_exchange": HARTREE_FOCK},
        "density": None,
        "settings": settings_for_card(settings),
        "training": {
            "geometries": len(training),
            "molecules": len({label.smiles for label in training}),
            "validation_geometries": len(validation),
            "size": size,
            "pairs": sorted(map(list, features.pairs)),
            "weights": sum(w.size for w in weights["base"].values()),
            "ridge": RIDGE,
            "iterations": ITERATIONS,
            "validation_loss": {axis: round(loss, 6) for axis, loss in losses.items()},
        },
        "licence": "Apache-2.0",
    }
    if target == EXCHANGE:
        # Without blocks, exact exchange keeps its stand-in: the density decides what is served.
        served = load_model(density).card
        card |= {key: served[key] for key in ("elements", "charges", "spins")} | {"density": density}
    model = PairBlocks(card, settings, features.atoms, features.pairs, _ranges(sources, features), weights)
    return save_model(model, output, [molecule_key(label.smiles) for label in training + validation])


def _structure(label):
    return Structure.from_mol(molecule_of(label).mol(BASE.basis))


def _problem(labels, layout, design, cache, reach, matrix, other, of_density):
    targets, metrics = [], []

    def irreps(mol, array):
        # In single precision, the halves of a symmetric matrix differ.
        blocks = Blocks.split((array + array.T) / 2, mol, reach)
        return layout.flatten(layout.basis.couple(blocks)).astype(np.float32)

    for index, label in enumerate(labels):
        mol = molecule_of(label).mol(layout.basis.name)
        found = read_matrices(cache, label, {matrix, other, "orbitals", "energies"} - {""})
        wanted = found[matrix] - (found[other] if other else 0.0)
        targets.append(irreps(mol, wanted))
        metric = MatrixMetric.of(layout.assembly(index, mol), found["orbitals"], found["energies"], mol.nelectron // 2,
                                 of_density)
        metrics.append(metric)
    return BlockProblem(design, np.concatenate(targets), metrics)


def _normalise(problem):
    """Metrics over the loss of no difference."""
    for metric, start, stop in zip(problem.metrics, problem.design.offsets[:-1], problem.design.offsets[1:]):
        metric.scaled(problem.target[start:stop])


def _ranges(sources, features):
    return {element: Range.of(invariants(atom.coupled(sources.of(element))))
            for element, atom in features.atoms.items()}
