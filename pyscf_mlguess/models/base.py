"""What is asked of a model, whatever its family, and of the card that says what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.predictions import Prediction
from pyscf_mlguess.structure import Structure

Tensors = dict[str, np.ndarray]


class ModelError(ValueError):
    """A checkpoint that cannot be trusted or read."""


class Model(Protocol):
    """A trained model.

    card: what it is and what it serves, JSON-serialisable; ``CARD_FIELDS`` and those of its family.
    responses: what it has learned about how the density answers to its predictions, for the density route; or ().
    density: the model that its predictions take the density from, if that is another one; it stands in alone for spins
        that the card does not list.
    """

    card: dict
    responses: tuple[Response, ...]
    density: Model | None

    def predict(self, structure: Structure, level: LevelOfTheory = LevelOfTheory()) -> Prediction:
        """The prediction for a molecule; what a level of theory means for it is the family's business."""

    def tensors(self) -> Tensors:
        """Everything but the card as named arrays, for a safetensors file."""

    @classmethod
    def from_tensors(cls, card: dict, tensors: Tensors) -> "Model":
        """The inverse of ``tensors``; raises KeyError where one is missing."""

    @staticmethod
    def upgrade(card: dict, tensors: Tensors) -> tuple[dict, Tensors]:
        """A card and tensors of an older format of the family, one format newer."""


# What every card must tell; the gate reads elements, charges and spins.
CARD_FIELDS = {
    "format": "number of the family's layout of card and weights",
    "family": "name of the family",
    "name": "name of the model",
    "target": "what is predicted",
    "elements": "atomic numbers that it knows",
    "charges": "total charges that it serves",
    "spins": "numbers of unpaired electrons that it serves",
    "levels": "levels of theory that it was trained on",
    "licence": "licence of the weights",
    "sha256": "SHA-256 of the weights",
}


@dataclass(frozen=True)
class Family:
    """A model family as the registry knows it.

    module: where its class ``Model`` is, imported when a model of it is loaded.
    format: of the cards and weights that it writes; oldest: the oldest that ``Model.upgrade`` still lifts.
    fields: what its cards must tell beyond ``CARD_FIELDS``.
    """

    module: str
    format: int
    oldest: int
    fields: frozenset[str]
