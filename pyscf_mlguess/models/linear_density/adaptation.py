"""Labels of one's own -> a model that corrects another one: ``mlguess train --start``.

The correction is fitted to what the start leaves of the labels' densities.  Its ridge draws it to zero, and the model
to the start.  Where every label holds an element that the start does not know, the correction is one of these elements
and of what is near them, and other molecules keep the start's prediction, bit for bit.  Else geometries that the start
was trained on are rehearsed: there the correction is to predict nothing, in the metric of an average atom.  So the
start's own molecules hold it where their surroundings are like those of the labels, and nothing does where they are
not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models import FAMILIES, available, checkpoint, load_model, save_model, trained_on
from pyscf_mlguess.models.geometries import read_geometries
from pyscf_mlguess.models.linear_density.features import AceSettings
from pyscf_mlguess.models.linear_density.fit import AXES, ITERATIONS, Fit
from pyscf_mlguess.models.linear_density.model import LinearDensity, settings_for_card
from pyscf_mlguess.models.linear_density.training import SIZES, learned_elements
from pyscf_mlguess.molecules.label import identity, merge, molecule_of
from pyscf_mlguess.molecules.label_files import read_labels
from pyscf_mlguess.molecules.smiles import molecule_key
from pyscf_mlguess.molecules.split import subset
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.dataset import load_targets, structures_of
from pyscf_mlguess.training.solver import Weights, solve
from pyscf_mlguess.training.targets import BASE, Target, prepare_metrics

log = logging.getLogger(__name__)

# The ridge is the one with which molecules that were left out, a quarter at a time, are predicted best.
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 4
# So many of the start's geometries stand for all.
_REHEARSED = 400
_LEVELS = {"base": LevelOfTheory(), "exact_exchange": LevelOfTheory(1.0, 1.0),
           "triple_zeta": LevelOfTheory(triple_zeta=1.0)}


def adapt(labels: Iterable[str | Path], output: str | Path, cache: str | Path, start: str | Path = "default",
          jobs: int = 2, size: str = "full", molecules: int | None = None, progress: bool = True) -> Path:
    """Train a correction of a linear density model on label files; write weights and card.

    start: name or path of the model, or of one that takes its density from it.  The rest is as in ``train``.

    No molecule is kept from training; the ridge and the losses in the card come from leaving out molecules in turn.
    Elements of too few molecules stay as the start has them.  Returns the path of the ``.safetensors``, which holds the
    start, too, unless that ships with the package.  Raises ValueError for a start of another family, an unknown size
    and labels too few.
    """
    if size not in SIZES:
        raise ValueError(f"unknown size {size!r}; there are {', '.join(SIZES)}")
    start, name = _linear_density(start)
    chosen = _chosen(labels, molecules)
    prepare_metrics(chosen, cache, jobs, progress)
    settings, keep = SIZES[size]
    settings = AceSettings(**settings_for_card(settings) | {
        "elements": tuple(sorted({int(z) for label in chosen for z in label.numbers}))})
    targets = [_what_is_left(target, start) for target in load_targets(cache, chosen, progress)]
    elements, left_out = learned_elements(targets, settings, "stays as in the start")
    new = tuple(sorted(set(elements) - set(start.card["elements"])))
    if new and _all_hold_unknown_elements(chosen, start):
        settings = replace(settings, only_near=new)
        targets = [target for target in targets if np.isin(target.label.numbers, new).any()]
    fit, problem = Fit.prepared(targets, settings, keep, elements, np.float64)
    geometries = read_geometries(checkpoint(name), start.card["geometries_sha256"])
    rehearsed = {} if settings.only_near else _rehearsed(fit, geometries)
    ridge, losses = _best_ridge(fit, targets, rehearsed, progress)
    fit.weights["base"] = solve(problem, ridge, ITERATIONS, progress, rehearsed)
    fit.learn_axes(targets, ridge, progress, rehearsed)
    before = start.card
    shipped = name in available()
    card = {
        "format": FAMILIES["linear-density"].format,
        "name": Path(output).stem,
        "family": "linear-density",
        "target": before["target"],
        "auxbasis": before["auxbasis"],
        "elements": sorted({*before["elements"], *elements}),
        "elements_learned": sorted(elements),
        "levels": before["levels"] | {axis: AXES[axis] for axis in fit.weights if axis != "base"},
        "basis": before["basis"],
        "charges": sorted({*before["charges"], *(target.label.charge for target in targets)}),
        "spins": before["spins"],
        "settings": settings_for_card(settings),
        "training": {
            "labels": [Path(source).name for source in labels],
            "geometries": len(targets),
            "molecules": len({identity(target.label) for target in targets}),
            "elements_left_out": left_out,
            "size": size,
            "weights": fit.size,
            "ridge": ridge,
            "iterations": ITERATIONS,
            "validation_loss": {"start": round(losses["start"], 6), "base": round(losses["base"], 6)},
        },
        "start": name if shipped else before,
        "licence": "Apache-2.0",
    } | ({"start_sha256": before["sha256"]} if shipped else {})
    model = fit.model(card, targets, start.responses)
    model.start = start
    # A list that is not complete would be worse than none.
    keys = trained_on(name) and trained_on(name) | {
        molecule_key(target.label.smiles) for target in targets if target.label.smiles}
    return save_model(model, output, keys or (), geometries + structures_of(targets))


def _linear_density(name):
    """The linear density model that is meant, and its name or path."""
    model = load_model(name)
    name = available()[0] if name == "default" else name
    if model.density is not None:
        model, name = model.density, model.card["density"]
    if not isinstance(model, LinearDensity):
        raise ValueError(f"--start wants a linear density model or one that takes its density from it; {name} is of "
                         f"the family {model.card['family']}")
    if "geometries_sha256" not in model.card:
        raise ValueError(f"{name} does not tell the geometries that it was trained on: train it again")
    return model, name


def _chosen(paths, molecules):
    known = merge(*(read_labels(path, orbitals=False) for path in paths))
    known = [label for label in known if str(BASE) in label.coefficients]
    if molecules:
        kept = subset(map(identity, known), molecules)
        known = [label for label in known if identity(label) in kept]
    found = len(set(map(identity, known)))
    if found < _FOLDS:
        raise ValueError(f"labels with {BASE} of {found} molecules; at least {_FOLDS} are needed: label more")
    return known


def _all_hold_unknown_elements(labels, start):
    return not any(np.isin(label.numbers, start.card["elements"]).all() for label in labels)


def _what_is_left(target: Target, start: LinearDensity) -> Target:
    """``target`` less what the start predicts at each level."""
    auxmol, [structure] = auxiliary_mole(molecule_of(target.label).mol(BASE.basis)), structures_of([target])
    for axis, level in _LEVELS.items():
        name = AXES.get(axis, str(BASE))
        if name in target.difference:
            target.difference[name] = target.difference[name] - start.predict(structure, level).assemble(auxmol)
    return target


def _rehearsed(fit: Fit, geometries: list[Structure]) -> Weights:
    """What ``solve`` wants of the geometries that the start was trained on."""
    usable = [s for s in geometries if fit.features.keys() & set(s.numbers.tolist())]
    chosen = [usable[i] for i in np.random.default_rng(0).permutation(len(usable))[:_REHEARSED]]
    share = len(usable) / max(len(chosen), 1)
    return {key: share * (rows.T @ rows).astype(float) for key, rows in fit.design_of(chosen).features.items()}


def _best_ridge(fit, targets, rehearsed, progress):
    """The ridge, and the geometric means of the losses that the start and the corrected start have on what was left
    out."""
    groups = sorted(set(map(identity, (target.label for target in targets))))
    fold_of = {group: number % _FOLDS for number, group in enumerate(np.random.default_rng(0).permutation(groups))}
    logarithms = dict.fromkeys(("start", *RIDGES), 0.0)
    for fold in range(_FOLDS):
        seen, left = ([t for t in targets if (fold_of[identity(t.label)] == fold) == out] for out in (False, True))
        problem, check = fit.problem(seen), fit.design(left)
        for trial in logarithms:
            trained = {} if trial == "start" else solve(problem, trial, ITERATIONS, False, rehearsed)
            fit.weights["base"] = trained
            logarithms[trial] += len(left) / len(targets) * np.log(fit.loss(check, left))
    losses = {trial: float(np.exp(value)) for trial, value in logarithms.items()}
    best = min(RIDGES, key=losses.get)
    log.info("loss of molecules left out, of free atoms: start %.5f; by ridge %s", losses["start"],
             ", ".join(f"{ridge:g}: {losses[ridge]:.5f}" for ridge in RIDGES))
    if not losses[best] < losses["start"]:
        log.warning("the labels do not improve the start: more of them, or others, are needed")
    return best, {"start": losses["start"], "base": losses[best]}

