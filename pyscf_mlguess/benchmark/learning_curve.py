"""Learning curves: what models trained on more molecules, or of larger size, gain.

The models of a results file are those that its guesses name by path (``ml-unrefined:<path>``, ``ml-density:<path>``);
how much each was trained on, and its loss on the validation molecules, stand in its card.  A loss is relative to that
of knowing nothing: free atoms for a density, no difference for a Fock matrix or exchange.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from pyscf_mlguess.benchmark.guesses import DENSITY_ALONE, UNREFINED, model_of
from pyscf_mlguess.benchmark.summary import Estimate, bootstrap, fock_builds, pairs_with_baseline
from pyscf_mlguess.models import load_model

_STYLES = {"small": ("#56B4E9", "s"), "medium": ("#009E73", "D"), "full": ("#D55E00", "o"),
           "network small": ("#F0E442", "v"), "network medium": ("#E69F00", "<"), "network full": ("#CC79A7", "^")}


@dataclass(frozen=True)
class Point:
    """One model.

    target: what it predicts.  size: one of ``_STYLES``.
    molecules, weights: what it was trained on, and how large its base level is.
    loss, corrected_loss: geometric means on the validation molecules and, of a density whose correction was learned,
    after that, on molecules that the first model had not seen; None where there is no correction.
    ratios: ratio of the sums of Fock builds, by guess ("ml-unrefined", "ml-density"), on ``runs`` molecules.
    """

    target: str
    size: str
    molecules: int
    weights: int
    loss: float
    corrected_loss: float | None
    runs: int
    ratios: dict[str, Estimate]


def points_of(rows: list[dict]) -> list[Point]:
    """One point per model named by path in ``rows``, by size and number of molecules.

    Raises ValueError where there is none, or one whose card does not tell what it was trained on, or where targets
    differ, whose losses cannot be compared.
    """
    by_model: dict[str, dict[str, list]] = {}
    for pairs in pairs_with_baseline(rows).values():
        guess = pairs[0][0]["guess"]
        model = model_of(guess)
        if model not in (None, "default"):
            by_model.setdefault(model, {})[guess.partition(":")[0]] = pairs
    if not by_model:
        raise ValueError("no model named by path (--guess ml:<path>) next to minao in these results")
    points = [_point(model, guesses) for model, guesses in by_model.items()]
    targets = {point.target for point in points}
    if len(targets) > 1:
        raise ValueError(f"models of the targets {', '.join(sorted(targets))} have no losses to compare; "
                         "draw one target")
    return sorted(points, key=lambda point: (list(_STYLES).index(point.size), point.molecules))


def _point(model, guesses):
    card = load_model(model).card
    training = card["training"]
    if "size" not in training:
        raise ValueError(f"the card of {model} does not tell its size; train it again")
    size = ("network " if card["family"] == "message-passing" else "") + training["size"]
    builds = {guess: np.array([[fock_builds(row) for row in pair] for pair in pairs])
              for guess, pairs in guesses.items()}
    ratios = {guess: bootstrap(*both.T)[0] for guess, both in builds.items()}
    corrected = list(training["responses"]["losses"].values())[-1] if "responses" in training else None
    return Point(card["target"], size, training["molecules"], training["weights"],
                 training["validation_loss"]["base"], corrected, max(map(len, guesses.values())), ratios)


def markdown(points: list[Point]) -> str:
    """The points as a table."""
    guesses = sorted({guess for point in points for guess in point.ratios})
    lines = [f"| size | weights | molecules | loss of the {points[0].target} | after its correction | "
             + " | ".join(f"{guess}, ratio of builds" for guess in guesses) + " |", "|---" * (5 + len(guesses)) + "|"]
    for point in points:
        ratios = [f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]" if (e := point.ratios.get(guess)) else "-"
                  for guess in guesses]
        corrected = "-" if point.corrected_loss is None else f"{point.corrected_loss:.4f}"
        lines.append(f"| {point.size} | {point.weights} | {point.molecules} | {point.loss:.4f} | {corrected} | "
                     f"{' | '.join(ratios)} |")
    return "\n".join(lines)


def draw_curve(points: list[Point]) -> str:
    """Loss (left) and ratio of Fock builds (right) against the number of training molecules, as SVG."""
    with matplotlib.rc_context({"font.size": 9.0, "svg.fonttype": "none", "svg.hashsalt": "pyscf-mlguess"}):
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for size, (colour, marker) in _STYLES.items():
            own = [point for point in points if point.size == size]
            if not own:
                continue
            molecules = [point.molecules for point in own]
            name = f"{size}, {own[-1].weights:,} weights"
            left.plot(molecules, [p.loss for p in own], marker + "-", color=colour, label=name)
            if corrected := [(p.molecules, p.corrected_loss) for p in own if p.corrected_loss is not None]:
                left.plot(*zip(*corrected), marker + ":", color=colour, mfc="white")
            for guess, dashes, face in ((UNREFINED, "-", colour), (DENSITY_ALONE, ":", "white")):
                have = [point for point in own if guess in point.ratios]
                values = [point.ratios[guess] for point in have]
                right.errorbar([p.molecules for p in have], [e.value for e in values],
                               yerr=[[e.value - e.low for e in values], [e.high - e.value for e in values]],
                               fmt=marker + dashes, color=colour, mfc=face, capsize=2, lw=1)
        with_correction = any(point.corrected_loss is not None for point in points)
        left.set(xscale="log", yscale="log", xlabel="training molecules", ylabel="loss, relative to knowing nothing",
                 title=points[0].target + (" (full) and after its correction (dotted)" if with_correction else ""))
        right.set(xscale="log", xlabel="training molecules", ylabel="Fock builds relative to minao",
                  title="ml-unrefined (full) and ml-density (dotted)" if with_correction else UNREFINED)
        left.legend(frameon=False)
        for axes in (left, right):
            axes.grid(color="#E6E6E6", lw=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        file = StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
