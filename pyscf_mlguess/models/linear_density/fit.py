"""What is fitted to a training set: features, the design made of them, and weights by axis of the level of theory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pyscf_mlguess.models.linear_density.compression import fold
from pyscf_mlguess.models.linear_density.design import fit_all_features, fit_contractions, in_chunks, make_design
from pyscf_mlguess.models.linear_density.features import AceFeatures, AceSettings
from pyscf_mlguess.models.linear_density.model import LinearDensity, leading_invariants
from pyscf_mlguess.models.novelty import Range
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.dataset import make_problem, structures_of
from pyscf_mlguess.training.solver import Design, Problem, Weights, geometric_mean, solve
from pyscf_mlguess.training.targets import BASE, Target

ITERATIONS = 60
# Differences from the base level that a model learns, each from the molecules that have both levels.
AXES = {"exact_exchange": "hf/def2-svp", "triple_zeta": "pbe/def2-tzvp"}


@dataclass
class Fit:
    """Features fitted to a training set, its design, and weights on the features that the solver sees.

    contractions: from all features to those, {element: {l: Contraction}}.  weights: {axis: {(element, l): array}}.
    precision: of what is solved; double, in twice the memory, for corrections.
    """

    settings: AceSettings
    features: dict[int, AceFeatures]
    contractions: dict
    weights: dict[str, Weights] = field(default_factory=dict)
    precision: type = np.float32

    @classmethod
    def prepared(cls, targets: list[Target], settings: AceSettings, keep: tuple[int, int, int],
                 elements: Iterable[int], precision: type = np.float32) -> tuple[Fit, Problem]:
        """Without weights yet, and the problem whose solution are those of the base level.

        keep: leading features of correlation order one, two and above.
        """
        structures = structures_of(targets)
        features = {z: f for z, f in fit_all_features(structures, settings).items() if z in elements}
        contractions = fit_contractions(structures, features, settings, keep)
        fit = cls(settings, features, contractions, precision=precision)
        return fit, fit.problem(targets)

    @property
    def size(self) -> int:
        """Number of weights of the base level."""
        return sum(w.size for w in self.weights["base"].values())

    def design(self, targets: list[Target]) -> Design:
        return self.design_of(structures_of(targets))

    def design_of(self, structures: list[Structure]) -> Design:
        return make_design(structures, self.features, self.settings, self.contractions)

    def problem(self, targets: list[Target], level: str = str(BASE), relative_to: str = "") -> Problem:
        """As ``make_problem``, in this precision."""
        design = self.design(targets)
        features = {key: rows.astype(self.precision, copy=False) for key, rows in design.features.items()}
        problem = make_problem(targets, Design(features, design.indices, design.offsets), level, relative_to)
        return Problem(problem.design, problem.target.astype(self.precision, copy=False), problem.metrics)

    def learn_axes(self, targets: list[Target], ridge: float, progress: bool = True,
                   rehearsed: Weights | None = None) -> None:
        """The differences of the other levels from the base level, each from the targets that have it, if any."""
        for axis, level in AXES.items():
            if having := [target for target in targets if level in target.difference]:
                problem = self.problem(having, level=level, relative_to=str(BASE))
                self.weights[axis] = solve(problem, ridge, ITERATIONS, progress, rehearsed)

    def loss(self, check: Design, targets: list[Target], axis: str = "base") -> float | None:
        """Geometric mean of the losses of ``targets``, over those of free atoms at the base level; None where no label
        has the level.

        check: the design of all of ``targets``.
        """
        level = AXES.get(axis, str(BASE))
        having = [target for target in targets if level in target.difference]
        if not having:
            return None
        design = check if len(having) == len(targets) else self.design(having)
        error = sum(design.predict(self.weights[part]) for part in {"base", axis})
        problem = make_problem(having, design, level)
        problem.target = problem.target - error
        return geometric_mean(problem.losses({}))

    def model(self, card: dict, targets: list[Target], responses: Iterable = ()) -> LinearDensity:
        """The model, whose weights act on all features.  targets: those whose surroundings are not novel to it."""
        weights = {axis: {(z, l): fold(w, self.contractions[z][l]) for (z, l), w in weights.items()}
                   for axis, weights in self.weights.items()}
        return LinearDensity(card, self.settings, self.features, self._ranges(targets), weights, tuple(responses))

    def _ranges(self, targets):
        found = {element: [] for element in self.features}
        for density, numbers, _ in in_chunks(structures_of(targets), self.settings):
            for element, model in self.features.items():
                if (own := numbers == element).any():
                    found[element].append(leading_invariants(model, {l: a[own] for l, a in density.items()}))
        return {element: Range.of(np.concatenate(parts)) for element, parts in found.items()}
