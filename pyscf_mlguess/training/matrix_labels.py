"""Labels with orbitals -> which to learn from, targets and metrics, for every family of models of matrices."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.blocks import Blocks
from pyscf_mlguess.models import FAMILIES, load_model
from pyscf_mlguess.models.matrix_model import CLOSED_SHELLS, DENSITY_MATRIX, EXCHANGE, FOCK_MATRIX, SERVED_SPINS
from pyscf_mlguess.molecules.label import Label, merge, molecule_of
from pyscf_mlguess.molecules.label_files import read_labels
from pyscf_mlguess.molecules.split import split_of, subset
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.matrices import HARTREE_FOCK, OMEGAS, MatrixMetric, coulomb_of_charges, read_matrices
from pyscf_mlguess.training.targets import BASE

log = logging.getLogger(__name__)

# Axes of each target: the matrix to learn, and the one that it is the difference from.
AXES = {
    DENSITY_MATRIX: {"base": ("density", "density_0"), "exact_exchange": ("density_hf", "density")},
    FOCK_MATRIX: {"base": ("fock", ""), "exact_exchange": ("fock_hf", "fock")},
    EXCHANGE: {"base": ("exchange", ""), "exact_exchange": ("exchange_hf", "exchange")}
    | {f"long_range_{omega}": (f"long_range_{omega}", "") for omega in OMEGAS},
}
# What is read of every label besides: the metric's.
METRIC = ("orbitals", "energies")
# The model whose density goes with the target "exchange".
DENSITY_MODEL = "linear-ace-5"
# Elements of fewer atoms than this in training are not learned, nor are pairs that are fewer.
FEWEST = 30


def labels_with_orbitals(paths: Iterable[str | Path], molecules: int | None = None) -> tuple[list[Label], list[Label]]:
    """Those of label files to train on, and to validate with.

    molecules: train on so many only; smaller subsets are parts of larger ones.  Raises ValueError where either is
    empty.
    """
    wanted = (str(BASE), HARTREE_FOCK)
    labelled = merge(*(read_labels(path) for path in paths))
    labelled = [label for label in labelled if set(wanted) <= label.orbitals.keys()]
    training, validation = ([label for label in labelled if split_of(label.smiles) == part]
                            for part in ("train", "validation"))
    if molecules:
        kept = subset({label.smiles for label in training}, molecules)
        training = [label for label in training if label.smiles in kept]
    if not (training and validation):
        raise ValueError(f"{len(labelled)} labels have orbitals at {' and '.join(wanted)}, {len(training)} of "
                         f"them to train on, {len(validation)} to validate; make more with "
                         "mlguess label --orbitals")
    return training, validation


def of_learned_elements(training: list[Label], validation: list[Label],
                        known: Iterable[int]) -> tuple[list[Label], list[Label], list[int]]:
    """The labels whose elements are all learned, and these: of ``known`` those of enough atoms in training.

    What is left out is logged; raises ValueError where too little is left.
    """
    counts, given = Counter(np.concatenate([label.numbers for label in training]).tolist()), len(training)
    elements = sorted(z for z, count in counts.items() if count >= FEWEST and z in known)
    training, validation = ([label for label in part if set(label.numbers.tolist()) <= set(elements)]
                            for part in (training, validation))
    if left_out := [f"{ELEMENTS[z]} ({count} atoms)" for z, count in sorted(counts.items()) if z not in elements]:
        log.warning("%d of %d training geometries are left out for what is not learned: %s", given - len(training),
                    given, ", ".join(left_out))
    if not (training and validation):
        raise ValueError(f"{len(training)} geometries to train on and {len(validation)} to validate with have only "
                         f"elements of at least {FEWEST} atoms in the training set; label more")
    return training, validation, elements


def matrices_for(target: str) -> set[str]:
    """Names of the matrices that a target wants."""
    return {name for axis in AXES[target].values() for name in axis if name} | set(METRIC)


def structure_of(label: Label) -> Structure:
    """Atoms and charge."""
    return Structure.from_mol(molecule_of(label).mol(BASE.basis))


def targets_and_metrics(labels: list[Label], layout, cache: str | Path, reach: float, matrix: str, other: str,
                        of_density: bool) -> tuple[np.ndarray, list[MatrixMetric]]:
    """The irreps of one axis, all molecules concatenated as in ``layout``, float32, and the metrics.

    cache: what ``prepare_matrices`` has filled.  reach: of the blocks, bohr.  matrix, other: of ``AXES``.
    """
    targets, metrics = [], []
    for index, label in enumerate(labels):
        mol = molecule_of(label).mol(layout.basis.name)
        found = read_matrices(cache, label, {matrix, other, *METRIC} - {""})
        wanted = found[matrix] - (found[other] if other else 0.0)
        # In single precision, the halves of a symmetric matrix differ.
        blocks = Blocks.split((wanted + wanted.T) / 2, mol, reach)
        targets.append(layout.flatten(layout.basis.couple(blocks)).astype(np.float32))
        metrics.append(MatrixMetric.of(layout.assembly(index, mol), found["orbitals"], found["energies"],
                                       mol.nelectron // 2, coulomb_of_charges(mol) if of_density else None))
    return np.concatenate(targets), metrics


def card_of(family: str, output: str | Path, target: str, elements: list[int], training: list[Label],
            validation: list[Label]) -> dict:
    """The card of a model of matrices, but for what is its family's own."""
    card = {
        "format": FAMILIES[family].format,
        "name": Path(output).stem,
        "family": family,
        "target": target,
        "basis": BASE.basis,
        "elements": elements,
        "block_elements": elements,
        "charges": sorted({label.charge for label in training}),
        "spins": SERVED_SPINS,
        "levels": {"base": str(BASE), "exact_exchange": HARTREE_FOCK},
        "density": None,
        "training": {
            "geometries": len(training),
            "molecules": len({label.smiles for label in training}),
            "validation_geometries": len(validation),
        },
        "licence": "Apache-2.0",
    }
    if target == EXCHANGE:
        # Without blocks, exact exchange keeps its stand-in: the density decides what is served.
        served = load_model(DENSITY_MODEL).card
        card |= {key: served[key] for key in ("elements", "charges")}
        card |= {"density": DENSITY_MODEL, "spins": CLOSED_SHELLS}
    return card
