"""Linear equivariant model of the electron density on Atomic Cluster Expansion features."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models import named_model
from pyscf_mlguess.models.linear_density.features import (
    AceFeatures,
    AceSettings,
    Contraction,
    nearness,
    neighbour_density,
)
from pyscf_mlguess.models.novelty import Range
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.models.whole_numbers import to_whole_numbers
from pyscf_mlguess.predictions import AuxiliaryDensity
from pyscf_mlguess.structure import Structure

# Trained on closed shells, but measured on doublets and triplets: the benchmark's radicals take 0.83 of minao's cycles.
SERVED_SPINS = [0, 1, 2]


def leading_invariants(features: AceFeatures, density: dict[int, np.ndarray]) -> np.ndarray:
    """Those that tell how novel atoms are, of mean zero in training, (natm, n)."""
    singles, _, pairs = features.leading(density)
    return np.concatenate([singles[0][:, :, 0], pairs[0][:, :, 0]], axis=1)


@dataclass
class LinearDensity:
    """One linear map per element, l and axis of the level of theory from features to coefficients.

    card: what the model is, a JSON-serialisable dict.
    features: {element: AceFeatures}; ranges: {element: Range}.
    weights: {axis: {(element, l): (n_l, nfeatures)}}.  The axis "base" is the density of a semilocal functional in a
        split-valence basis; "exact_exchange" and "triple_zeta" are the differences of Hartree-Fock's and of a
        triple-zeta basis' density from it, of which a level takes its share.
    responses: what the model knows about densities that are not self-consistent, step by step.
    start: the model that this one corrects; what both predict is added.  The card holds its card, and the tensors its
        own, or, where it ships with the package, its name and "start_sha256".
    """

    card: dict
    settings: AceSettings
    features: dict[int, AceFeatures]
    ranges: dict[int, Range]
    weights: dict[str, dict[tuple[int, int], np.ndarray]]
    responses: tuple[Response, ...] = ()
    start: LinearDensity | None = None
    density = None

    def predict(self, structure: Structure, level: LevelOfTheory = LevelOfTheory()) -> AuxiliaryDensity:
        """The density relative to free atoms, interpolated in the shares of exact exchange and triple zeta (0 to 1).

        An atom is as novel as to the one of the two models that knows it better.
        """
        own = self._predict(structure, level)
        if self.start is None:
            return own
        before = self.start.predict(structure, level)
        blocks = [{l: sum(part[l] for part in (first, second) if l in part) for l in first.keys() | second.keys()}
                  for first, second in zip(before.blocks, own.blocks)]
        novelty = np.full(len(structure), np.inf)
        for elements, part in ((self.start.card["elements"], before), (list(self.features), own)):
            novelty = np.where(np.isin(structure.numbers, elements), np.minimum(novelty, part.novelty), novelty)
        return AuxiliaryDensity(own.auxbasis, blocks, np.where(np.isfinite(novelty), novelty, 0.0))

    def _predict(self, structure, level):
        density, near = neighbour_density(structure, self.settings), nearness(structure, self.settings)
        charge = np.full(len(structure), structure.charge / max(len(structure), 1))
        blocks: list[dict[int, np.ndarray]] = [{} for _ in range(len(structure))]
        novelty = np.where(near > 0, 0.0, np.inf)  # where nothing is added, nothing is known either
        mixed = [(1.0, "base"), (level.exact_exchange, "exact_exchange"), (level.triple_zeta, "triple_zeta")]
        mixed = [(share, self.weights[axis]) for share, axis in mixed if share and axis in self.weights]
        for element, features in self.features.items():
            atoms = np.flatnonzero((structure.numbers == element) & (near > 0))
            if len(atoms) == 0:
                continue
            own = {l: a[atoms] for l, a in density.items()}
            novelty[atoms] = self.ranges[element].novelty(leading_invariants(features, own))
            for l, values in features(own, charge[atoms]).items():
                if (element, l) not in self.weights["base"]:
                    continue
                matrix = sum(share * weights[element, l] for share, weights in mixed if (element, l) in weights)
                for atom, block in zip(atoms, np.matmul(matrix, values) * near[atoms, None, None]):
                    blocks[atom][l] = block
        return AuxiliaryDensity(self.card["auxbasis"], blocks, novelty)

    def tensors(self) -> dict[str, np.ndarray]:
        """Everything but the card as named arrays.

        Weights in 16-bit whole numbers of each column's unit, which costs half a percent of the loss; contractions in
        half precision, which they have been rounded to before anything was learned; the rest in single precision.
        """
        couplings = next(iter(self.features.values())).couplings
        named = {f"coupling/{l1}/{l2}/{l}": c for (l1, l2, l), c in couplings.items()}
        for element, features in self.features.items():
            for kind in ("singles", "pairs"):
                for l, contraction in getattr(features, kind).items():
                    named[f"{kind}/{element}/{l}/matrix"] = contraction.matrix
                    if l == 0:
                        named[f"{kind}/{element}/{l}/mean"] = contraction.mean
            named[f"range/{element}/scale"] = self.ranges[element].scale
            named[f"range/{element}/edge"] = np.array([self.ranges[element].edge])
        for step, response in enumerate(self.responses):
            named[f"response/{step}/factor"] = np.array([response.factor])
            named |= {f"response/{step}/{element}/{l}": m for (element, l), m in response.matrices.items()}
        named = {name: np.ascontiguousarray(array, np.float16 if name.endswith("/matrix") else np.float32)
                 for name, array in named.items()}
        for axis, weights in self.weights.items():
            for (element, l), matrix in weights.items():
                name = f"{axis}/{element}/{l}"
                named[f"weights/{name}"], named[f"unit/{name}"] = to_whole_numbers(matrix)
        if self.start is not None and "start_sha256" not in self.card:
            named |= {f"start/{name}": array for name, array in self.start.tensors().items()}
        return named

    @classmethod
    def from_tensors(cls, card: dict, tensors: dict[str, np.ndarray]) -> "LinearDensity":
        """The inverse of ``tensors``; raises KeyError when one is missing."""
        before = {name.removeprefix("start/"): array for name, array in tensors.items() if name.startswith("start/")}
        if "start_sha256" in card:
            start = named_model(card, "start")
        else:
            start = cls.from_tensors(card["start"], before) if card.get("start") else None
        tensors = {name: array.astype(float) for name, array in tensors.items() if not name.startswith("start/")}
        settings = AceSettings(**{key: tuple(v) if isinstance(v, list) else v for key, v in card["settings"].items()})
        # The order of products follows that of the couplings, and a file keeps no order.
        couplings = {tuple(map(int, name.split("/")[1:])): tensors[name]
                     for name in sorted(tensors) if name.startswith("coupling/")}
        learned = card["elements"] if start is None else card["elements_learned"]
        features = {element: AceFeatures(settings, couplings) for element in learned}
        for element, own in features.items():
            for kind in ("singles", "pairs"):
                for l in range(settings.lmax + 1):
                    matrix = tensors[f"{kind}/{element}/{l}/matrix"]
                    mean = tensors.get(f"{kind}/{element}/{l}/mean", np.zeros(matrix.shape[1]))
                    getattr(own, kind)[l] = Contraction(matrix, mean)
        ranges = {element: Range(tensors[f"range/{element}/scale"], float(tensors[f"range/{element}/edge"][0]))
                  for element in features}
        weights: dict = {axis: {} for axis in card["levels"]}
        responses: dict[int, Response] = {}
        for name, array in tensors.items():
            kind, _, key = name.partition("/")
            if kind == "weights":
                axis, element, l = key.split("/")
                weights[axis][int(element), int(l)] = array * tensors[f"unit/{key}"]
            elif name.endswith("/factor"):
                responses[int(key.split("/")[0])] = Response(float(array[0]))
        for name, array in tensors.items():
            if name.startswith("response/") and not name.endswith("/factor"):
                step, element, l = map(int, name.split("/")[1:])
                responses[step].matrices[element, l] = array
        for kind, found in (("coupling", couplings), ("weights/base", weights["base"])):
            if not found:
                raise KeyError(kind)
        steps = tuple(responses[step] for step in sorted(responses))
        return cls(card, settings, features, ranges, weights, steps, start)

    @staticmethod
    def upgrade(card: dict, tensors: dict[str, np.ndarray]) -> tuple[dict, dict[str, np.ndarray]]:
        """The weights are the same in all formats.

        Format 3 said what was trained on, not what is served; 4 knew neither features near some elements alone nor a
        start by its name.
        """
        if card["format"] == 3:
            card = card | {"family": "linear-density", "spins": SERVED_SPINS}
        return card | {"format": card["format"] + 1}, tensors


def settings_for_card(settings: AceSettings) -> dict:
    """Settings as they stand in a card."""
    return asdict(settings)
