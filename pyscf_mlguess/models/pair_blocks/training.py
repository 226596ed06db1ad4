"""Labels with orbitals -> a trained model of matrices."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pyscf_mlguess.block_irreps import BlockBasis
from pyscf_mlguess.models import save_model
from pyscf_mlguess.models.linear_density.compression import fold
from pyscf_mlguess.models.matrix_model import DENSITY_MATRIX
from pyscf_mlguess.models.novelty import Range
from pyscf_mlguess.models.pair_blocks.design import Layout, Sources, fit_features, make_design
from pyscf_mlguess.models.pair_blocks.features import PairSettings, invariants
from pyscf_mlguess.models.pair_blocks.model import PairBlocks
from pyscf_mlguess.molecules.smiles import molecule_key
from pyscf_mlguess.training.matrices import BlockProblem, prepare_matrices
from pyscf_mlguess.training.matrix_labels import (
    AXES,
    card_of,
    labels_with_orbitals,
    matrices_for,
    of_learned_elements,
    structure_of,
    targets_and_metrics,
)
from pyscf_mlguess.training.solver import geometric_mean, solve
from pyscf_mlguess.training.targets import BASE

log = logging.getLogger(__name__)

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
ITERATIONS = 200


def train(labels: Iterable[str | Path], output: str | Path, cache: str | Path, target: str, jobs: int = 2,
          molecules: int | None = None, size: str = "full", progress: bool = True) -> Path:
    """Train a model of matrices on label files with orbitals; write weights and card.

    target: what ``MatrixModel`` says.  cache: folder for the matrices, reused and resumed.  molecules: train on so many
    only; smaller subsets are parts of larger ones.  size: one of ``SIZES``.

    Molecules whose SMILES fall into the validation or test split (``split_of``) are not trained on.  Returns the path
    of the ``.safetensors``.  Raises ValueError for an unknown target, for labels without orbitals or too few, and for
    damaged matrices.
    """
    for kind, name, known in (("target", target, AXES), ("size", size, SIZES)):
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}; there are {', '.join(known)}")
    settings, *keep = SIZES[size]
    training, validation, elements = of_learned_elements(*labels_with_orbitals(labels, molecules), settings.elements)
    for part in (training, validation):
        prepare_matrices(part, cache, matrices_for(target), jobs, progress)
    basis = BlockBasis.of(elements, BASE.basis)
    sources, check = (Sources(list(map(structure_of, part)), settings) for part in (training, validation))
    features = fit_features(sources, basis, *keep, progress=progress)
    layouts = [Layout(basis, source.sites) for source in (sources, check)]
    designs = [make_design(source, features, layout, progress) for source, layout in zip((sources, check), layouts)]
    weights, losses = {}, {}
    for axis, (matrix, other) in AXES[target].items():
        problem, checked = (
            BlockProblem(design, *targets_and_metrics(part, layout, cache, settings.reach, matrix, other,
                                                      target == DENSITY_MATRIX))
            for part, layout, design in zip((training, validation), layouts, designs))
        for one in (problem, checked):
            _normalise(one)
        found = solve(problem, RIDGE, ITERATIONS, progress=progress)
        losses[axis] = geometric_mean(checked.losses(found))
        log.info("%s: training loss %.5f, validation loss %.5f", axis, geometric_mean(problem.losses(found)),
                 losses[axis])
        weights[axis] = {key: fold(w, features.contractions[key]) for key, w in found.items()}
    card = card_of("pair-blocks", output, target, sorted(features.atoms), training, validation) | {
        "settings": asdict(settings)}
    card["training"] |= {
        "size": size,
        "pairs": sorted(map(list, features.pairs)),
        "weights": sum(w.size for w in weights["base"].values()),
        "ridge": RIDGE,
        "iterations": ITERATIONS,
        "validation_loss": {axis: round(loss, 6) for axis, loss in losses.items()},
    }
    model = PairBlocks(card, settings, features.atoms, features.pairs, _ranges(sources, features), weights)
    return save_model(model, output, [molecule_key(label.smiles) for label in training + validation])


def _normalise(problem):
    """Metrics over the loss of no difference."""
    for metric, start, stop in zip(problem.metrics, problem.design.offsets[:-1], problem.design.offsets[1:]):
        metric.scaled(problem.target[start:stop])


def _ranges(sources, features):
    return {element: Range.of(invariants(atom.coupled(sources.of(element))))
            for element, atom in features.atoms.items()}
