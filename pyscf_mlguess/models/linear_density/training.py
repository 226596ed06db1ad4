"""Labels -> trained linear model: the whole of ``mlguess train``."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.density_fitting.auxiliary_basis import AUXBASIS
from pyscf_mlguess.models import FAMILIES, save_model
from pyscf_mlguess.models.linear_density.features import AceSettings
from pyscf_mlguess.models.linear_density.fit import AXES, ITERATIONS, Fit
from pyscf_mlguess.models.linear_density.model import SERVED_SPINS, settings_for_card
from pyscf_mlguess.molecules.label import identity, merge
from pyscf_mlguess.molecules.label_files import read_labels
from pyscf_mlguess.molecules.smiles import molecule_key
from pyscf_mlguess.molecules.split import split_of, subset
from pyscf_mlguess.training.dataset import load_targets, structures_of
from pyscf_mlguess.training.responses import learn_responses
from pyscf_mlguess.training.solver import solve
from pyscf_mlguess.training.targets import BASE, Target, prepare_metrics

log = logging.getLogger(__name__)

# Elements of fewer training molecules than this stay free atoms; in small training sets, of fewer than that share.
FEWEST_MOLECULES, FEWEST_SHARE = 15, 0.25
RIDGES = (3e-4, 6e-4, 1e-3, 2e-3)
# While the largest ridge is the best, as for small training sets, larger ones are tried: so many times it, up to there.
RIDGE_STEP, LARGEST_RIDGE = 5, 10.0
# Sizes of the representation: settings, and leading features of correlation order one, two and above that are kept.
SIZES = {
    "small": (AceSettings(radial=6, channels=(7, 6, 5, 4, 3), invariants=5, factors=20, charge_features=10),
              (40, 80, 80)),
    "medium": (AceSettings(radial=8, channels=(10, 9, 7, 6, 4), invariants=8, factors=30), (60, 160, 160)),
    "full": (AceSettings(), (80, 300, 300)),
}
# Molecules kept from the first model, to learn the responses from its errors on them.
UNSEEN = 300
_FEWEST = 4


def train(labels: Iterable[str | Path], output: str | Path, cache: str | Path, jobs: int = 2, size: str = "full",
          molecules: int | None = None, progress: bool = True) -> Path:
    """Train a linear ACE model on label files; write weights and card.

    cache: folder for metrics, reused and resumed.  output: the ``.safetensors`` to write.  size: one of ``SIZES``.
    molecules: train on so many only; smaller subsets are parts of larger ones.

    Molecules whose SMILES fall into the validation or test split (``split_of``) are not trained on.  A first model,
    trained without ``UNSEEN`` molecules, chooses the ridge (lowest geometric mean of the validation losses) and shows
    the errors from which the responses are learned; the second is trained on all.  Elements of too few molecules stay
    free atoms, and responses that do not lower the loss are left out; both are logged.
    Returns the path of the ``.safetensors``.  Raises ValueError for an unknown size and for labels too few.
    """
    if size not in SIZES:
        raise ValueError(f"unknown size {size!r}; there are {', '.join(SIZES)}")
    chosen = dict(zip(("train", "validation"), labels_with_densities(labels, molecules)))
    for part in chosen.values():
        prepare_metrics(part, cache, jobs, progress)
    training, validation = (load_targets(cache, part, progress) for part in chosen.values())
    elements, left_out = learned_elements(training, SIZES[size][0])
    smiles = {target.label.smiles for target in training}
    unseen = subset(smiles, min(UNSEEN, len(smiles) // 4))
    seen = [target for target in training if target.label.smiles not in unseen]
    first, ridge = _first_model(seen, validation, size, elements, progress)
    held = [index for index, target in enumerate(training) if target.label.smiles in unseen]
    model = first.model({"name": "first", "auxbasis": AUXBASIS}, training)
    responses, losses = learn_responses(model, [chosen["train"][i] for i in held], [training[i] for i in held], jobs,
                                        progress)
    log.info("losses: %s", ", ".join(f"{name} {loss:.6f}" for name, loss in losses.items()))
    responses, losses = _helpful(responses, losses)
    fit, problem = Fit.prepared(training, *SIZES[size], elements)
    fit.weights["base"] = solve(problem, ridge, ITERATIONS, progress=progress)
    fit.learn_axes(training, ridge, progress)
    check = fit.design(validation)
    validated = {axis: fit.loss(check, validation, axis) for axis in fit.weights}
    if not validated["base"] < 1:
        log.warning("the predicted density, before its responses, is no better than free atoms on the validation "
                    "molecules (loss %.2f of theirs): the model needs more labels", validated["base"])
    card = {
        "format": FAMILIES["linear-density"].format,
        "name": Path(output).stem,
        "family": "linear-density",
        "target": "electron density relative to free atoms",
        "auxbasis": AUXBASIS,
        "elements": sorted(fit.features),
        "levels": {"base": str(BASE)} | {axis: AXES[axis] for axis in fit.weights if axis != "base"},
        "basis": BASE.basis,
        "charges": sorted({t.label.charge for t in training}),
        "spins": SERVED_SPINS,
        "settings": settings_for_card(fit.settings),
        "training": {
            "labels": [Path(source).name for source in labels],
            "geometries": len(training),
            "molecules": len({t.label.smiles for t in training}),
            "geometries_of": {axis: sum(level in t.difference for t in training) for axis, level in AXES.items()},
            "validation_geometries": len(validation),
            "molecules_per_element": {str(z): n for z, n in sorted(_counts(training).items()) if z in fit.features},
            "elements_left_out": left_out,
            "size": size,
            "weights": fit.size,
            "ridge": ridge,
            "iterations": ITERATIONS,
            "validation_loss": {axis: round(loss, 6) for axis, loss in validated.items() if loss is not None},
            "responses": {"geometries": len(held), "losses": {name: round(loss, 6) for name, loss in losses.items()}},
        },
        "licence": "Apache-2.0",
    }
    # Validation molecules chose the ridge: a benchmark must not use them either.
    return save_model(fit.model(card, training, responses), output,
                      [molecule_key(t.label.smiles) for t in training + validation], structures_of(training))


def labels_with_densities(paths: Iterable[str | Path], molecules: int | None = None) -> tuple[list, list]:
    """Those of label files to train on, and to validate with.

    molecules: train on so many only; smaller subsets are parts of larger ones.  Raises ValueError for too few.
    """
    known = merge(*(read_labels(path, orbitals=False) for path in paths))
    known = [label for label in known if str(BASE) in label.coefficients]
    split = {label.smiles: split_of(label.smiles) for label in known}
    chosen = {part: [label for label in known if split[label.smiles] == part] for part in ("train", "validation")}
    if molecules:
        kept = subset({label.smiles for label in chosen["train"]}, molecules)
        chosen["train"] = [label for label in chosen["train"] if label.smiles in kept]
    for part, fewest in (("train", _FEWEST), ("validation", 1)):
        if len({label.smiles for label in chosen[part]}) < fewest:
            raise ValueError(f"{len(chosen[part])} geometries with {BASE} fall into the {part} split of these labels; "
                             f"training needs at least {fewest} molecules there: label more (a molecule's SMILES "
                             "decides about its split)")
    return chosen["train"], chosen["validation"]


def learned_elements(training: list[Target], settings: AceSettings,
                     otherwise: str = "stays a free atom") -> tuple[list[int], dict[str, str]]:
    """Elements that the model learns, and of the others why not, {symbol: reason}.

    otherwise: what becomes of these, for the log.  Raises ValueError where no element is left.
    """
    counts, molecules = _counts(training), len({identity(t.label) for t in training})
    needed = min(FEWEST_MOLECULES, math.ceil(FEWEST_SHARE * molecules))
    left_out = {}
    for element, count in sorted(counts.items()):
        if element not in settings.elements:
            left_out[ELEMENTS[element]] = f"{count} training molecules, but not one of the representation's elements"
        elif count < needed:
            left_out[ELEMENTS[element]] = f"{count} training molecules, {needed} needed"
    for symbol, reason in left_out.items():
        log.warning("%s %s: %s", symbol, otherwise, reason)
    elements = [element for element in counts if ELEMENTS[element] not in left_out]
    if not elements:
        raise ValueError(f"no element is in enough of the {molecules} training molecules: "
                         + "; ".join(f"{symbol}: {reason}" for symbol, reason in left_out.items()))
    return elements, left_out


def _first_model(training, validation, size, elements, progress):
    """The fit of the ridge with the lowest validation loss, and that ridge."""
    fit, problem = Fit.prepared(training, *SIZES[size], elements)
    check, trials, waiting = fit.design(validation), {}, list(RIDGES)
    while waiting:
        ridge = waiting.pop(0)
        fit.weights["base"] = solve(problem, ridge, ITERATIONS, progress=progress)
        trials[ridge] = fit.loss(check, validation), fit.weights["base"]
        log.info("ridge %g: validation loss %.5f of free atoms", ridge, trials[ridge][0])
        best = min(trials, key=lambda r: trials[r][0])
        if not waiting and best == max(trials) < LARGEST_RIDGE:
            waiting.append(best * RIDGE_STEP)
    fit.weights["base"] = trials[best][1]
    return fit, best


def _helpful(responses, losses):
    """The responses up to the first one that does not lower the loss, and the losses without the others."""
    values = list(losses.values())
    count = next((step for step in range(len(responses)) if not values[step + 1] < values[step]), len(responses))
    if count < len(responses):
        log.warning("%d of %d responses are left out: more would not lower the loss", len(responses) - count,
                    len(responses))
    return responses[:count], dict(list(losses.items())[: count + 1])


def _counts(targets):
    """Molecules, not geometries, that hold each element."""
    return Counter(z for z, _ in {(z, identity(t.label)) for t in targets for z in t.label.numbers.tolist()})
