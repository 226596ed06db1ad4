"""Reference calculations -> trained linear model: the whole of ``mlguess train``."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np

from pyscf_mlguess.auxiliary_basis import AUXBASIS
from pyscf_mlguess.labels.small_molecules import SHIPPED as SMALL_MOLECULES
from pyscf_mlguess.models import FORMAT, save_model
from pyscf_mlguess.models.ace_features import AceSettings
from pyscf_mlguess.models.linear_ace import LinearAce, Range, settings_for_card
from pyscf_mlguess.training.dataset import (
    densities,
    fit_all_features,
    load_targets,
    make_design,
    make_problem,
    structures_of,
)
from pyscf_mlguess.training.features import fold
from pyscf_mlguess.training.reference import read_names
from pyscf_mlguess.training.solver import solve
from pyscf_mlguess.training.split import SPLITS, canonical_smiles, molecule_key, split_of
from pyscf_mlguess.training.targets import prepare_targets

log = logging.getLogger(__name__)

# Elements of fewer training molecules than this stay free atoms.
FEWEST_MOLECULES = 15
# Share of a full molecule in the loss: one or two heavy atoms say less about molecules than ten.
SMALL_WEIGHT = 0.1
RIDGES = (1e-4, 3e-4, 1e-3)
ITERATIONS = 80
LEVELS = ("pbe", "hf")


def train(reference: str | Path, output: str | Path, cache: str | Path, jobs: int = 2, basis: str = "def2-svp",
          settings: AceSettings = AceSettings(), progress: bool = True) -> Path:
    """Train a linear ACE model on ``reference`` (HDF5) and the shipped small molecules; write weights and card.

    cache: folder for targets and metrics, reused and resumed.  Small molecules that the reference holds out
    for validation or test are left out.  output: the ``.safetensors`` to write.  The ridge is the one with the lowest
    geometric mean of the validation losses.  Returns the path of the ``.safetensors``.
    """
    folders = {source: Path(cache) / f"{Path(source).stem}.targets" for source in (reference, SMALL_MOLECULES)}
    for source, folder in folders.items():
        prepare_targets(source, folder, basis, jobs, progress)
    entries = {split: [(n, s) for n, s in read_names(reference) if split_of(s) == split] for split in SPLITS}
    training, validation = (load_targets(folders[reference], [name for name, _ in entries[split]], progress)
                            for split in ("train", "validation"))
    held_out = {canonical_smiles(s) for split in ("validation", "test") for _, s in entries[split]}
    names = [n for n, s in read_names(SMALL_MOLECULES) if canonical_smiles(s) not in held_out]
    small = load_targets(folders[SMALL_MOLECULES], names, progress)
    for target in small:
        target.metric *= SMALL_WEIGHT
    features = fit_all_features(structures_of(training), settings)
    training += small
    counts = Counter(z for t in training for z in set(t.numbers.tolist()))
    features = {z: f for z, f in features.items() if counts[z] >= FEWEST_MOLECULES}
    design, contractions = make_design(structures_of(training), features, settings)
    check, _ = make_design(structures_of(validation), features, settings, contractions)
    weights, losses, ridge = {}, {}, None
    for level in LEVELS:
        problem, unseen = make_problem(training, design, level), make_problem(validation, check, level)
        trials = {}
        for candidate in RIDGES if ridge is None else (ridge,):
            found = solve(problem, candidate, ITERATIONS, progress=progress)
            trials[candidate] = float(np.exp(np.mean(np.log(unseen.losses(found))))), found
            log.info("%s, ridge %g: validation loss %.5f of free atoms", level, candidate, trials[candidate][0])
        ridge = min(trials, key=lambda r: trials[r][0])
        losses[level], solution = trials[ridge]
        weights[level] = {(z, l): fold(w, contractions[z][l]) for (z, l), w in solution.items()}
    card = {
        "format": FORMAT,
        "name": Path(output).stem,
        "family": "linear-ace",
        "target": "electron density relative to free atoms",
        "auxbasis": AUXBASIS,
        "elements": sorted(features),
        "levels": {"pbe": 0.0, "hf": 1.0},
        "basis": basis,
        "charges": sorted({t.charge for t in training}),
        "spins": [0],
        "settings": settings_for_card(settings),
        "training": {
            "reference": [Path(source).name for source in folders],
            "molecules": len(training),
            "validation_molecules": len(validation),
            "molecules_per_element": {str(z): counts[z] for z in sorted(features)},
            "ridge": ridge,
            "iterations": ITERATIONS,
            "validation_loss": {level: round(loss, 6) for level, loss in losses.items()},
        },
        "licence": "Apache-2.0",
    }
    model = LinearAce(card, settings, features, _ranges(training, features, settings), weights)
    # Validation molecules chose the ridge: a benchmark must not use them either.
    return save_model(model, output, [molecule_key(t.smiles) for t in training + validation])


def _ranges(targets, features, settings):
    density, numbers, _ = densities(structures_of(targets), settings)
    ranges = {}
    for element, model in features.items():
        own = {l: a[numbers == element] for l, a in density.items()}
        singles, _, pairs = model.leading(own)
        invariants = np.concatenate([singles[0][:, :, 0], pairs[0][:, :, 0]], axis=1)
        scale = np.sqrt((invariants**2).mean(axis=0))
        edge = float(np.quantile(Range.distance(model, own, scale), 0.999))
        ranges[element] = Range(scale, edge)
    return ranges
