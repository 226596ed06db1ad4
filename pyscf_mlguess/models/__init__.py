"""Model families and their checkpoints: `load_model` is the way in.

A checkpoint is a safetensors file with a JSON card of the same stem beside it, which
names the family and carries the SHA-256 of the weights.  The weights that ship with the
package are also pinned in ``checkpoints/index.json``, default first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from pyscf_mlguess.extras import how_to_install
from pyscf_mlguess.models.base import CARD_FIELDS, Family, Model, ModelError
from pyscf_mlguess.models.geometries import write_geometries
from pyscf_mlguess.structure import Structure

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
FAMILIES = {
    "linear-density": Family("pyscf_mlguess.models.linear_density", format=5, oldest=3,
                             fields=frozenset({"auxbasis", "settings"})),
    "pair-blocks": Family("pyscf_mlguess.models.pair_blocks", format=1, oldest=1,
                          fields=frozenset({"basis", "block_elements", "settings", "density"})),
    "message-passing": Family("pyscf_mlguess.models.message_passing", format=1, oldest=1,
                              fields=frozenset({"basis", "block_elements", "settings", "axes", "density", "linear",
                                                "linear_sha256"})),
}
# What families were called in older formats.
_FORMER_NAMES = {"linear-ace": "linear-density"}


def available() -> list[str]:
    """Names of the shipped models, the default first."""
    return list(_index())


def _index() -> dict[str, str]:
    return json.loads((CHECKPOINTS / "index.json").read_text())


def load_model(name: str | Path = "default") -> Model:
    """A model by shipped name or by path to its ``.safetensors``, read once per process.

    Raises ModelError (a ValueError) for a name that does not exist and for weights or cards that are
    damaged or do not belong together, FileNotFoundError for a missing file.
    """
    return _load(*_path(name))


def checkpoint(name: str | Path = "default") -> Path:
    """The file of weights of a model; raises as ``load_model``, but for files that are not there."""
    return _path(name)[0]


def _path(name: str | Path) -> tuple[Path, str | None]:
    """The file of a model, and its pinned SHA-256 if it is a shipped one."""
    index = _index()
    if str(name) == "default":
        name = next(iter(index))
    if str(name) in index:
        return CHECKPOINTS / f"{name}.safetensors", index[str(name)]
    path = Path(name).expanduser()
    if path.suffix != ".safetensors":
        raise ModelError(f"no model is called {str(name)!r}; shipped are {', '.join(index)}, "
                         "and a path must end in .safetensors")
    return path.resolve(), None


def trained_on(name: str | Path = "default") -> frozenset[str] | None:
    """InChIKeys (without stereochemistry) of the molecules that a model was trained on; None if it does not tell.

    Those of the models that it takes the density from and that it corrects are among them.
    """
    path = _path(name)[0]
    listed = path.with_suffix(".trained_on.txt")
    if not listed.is_file():
        return None
    card, found = read_card(path), frozenset(listed.read_text().split())
    for field in ("density", "linear"):
        others = trained_on(card[field]) if card.get(field) else frozenset()
        if others is None:
            return None
        found |= others
    return found


def named_model(card: dict, field: str) -> Model | None:
    """The model whose name or path a card gives in ``field``, with its SHA-256 beside it; None where it names none.

    Raises ModelError for a model that is not the one meant, and as ``load_model``.
    """
    if card[field] is None:
        return None
    model = load_model(card[field])
    if model.card["sha256"] != card[f"{field}_sha256"]:
        raise ModelError(f"{card['name']} corrects a model {card[field]} with the SHA-256 {card[f'{field}_sha256']}, "
                         f"the one there has {model.card['sha256']}; put the former back, or train again")
    return model


@lru_cache(maxsize=8)
def _load(path: Path, pinned: str | None):
    from safetensors import SafetensorError
    from safetensors.numpy import load

    card = read_card(path)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    for expected, source in ((pinned, "the package's index"), (card.get("sha256"), "its card")):
        if expected is not None and digest != expected:
            raise ModelError(f"{path}: SHA-256 of the weights is {digest}, {source} says {expected}; "
                             "the file is damaged or was changed, fetch it again")
    try:
        tensors, family = load(content), _family(card)
        cls = _class(family, path)
        while card["format"] < family.format:
            card, tensors = cls.upgrade(card, tensors)
        _check_fields(card, family, path)
        return cls.from_tensors(card, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: weights do not fit the card ({type(error).__name__}: {error})") from error


def _class(family: Family, path: Path):
    try:
        return import_module(family.module).Model
    except ModuleNotFoundError as error:
        raise ModelError(f"{path} is a network, which needs {error.name}: {how_to_install('network')}") from error


def _family(card: dict) -> Family:
    return FAMILIES[_FORMER_NAMES.get(card["family"], card["family"])]


def read_card(path: Path) -> dict:
    """The card beside a checkpoint, checked for what tells how to read it."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    card_path = path.with_suffix(".json")
    if not card_path.is_file():
        raise FileNotFoundError(f"{path} has no card: {card_path} is missing")
    try:
        card = json.loads(card_path.read_text())
    except json.JSONDecodeError as error:
        raise ModelError(f"{card_path} is not valid JSON: {error}") from error
    if not isinstance(card, dict):
        raise ModelError(f"{card_path} holds no JSON object")
    _require(card, {"format", "family", "sha256"}, card_path)
    name = str(card["family"])
    name = _FORMER_NAMES.get(name, name)
    if name not in FAMILIES:
        raise ModelError(f"{card_path}: the family {card['family']!r} is not known to this version "
                         f"(families: {', '.join(FAMILIES)})")
    family = FAMILIES[name]
    if card["format"] not in range(family.oldest, family.format + 1):
        raise ModelError(f"{card_path}: format {card['format']} of family {name!r} is not known to this version "
                         f"(formats {family.oldest} to {family.format}); train the model again or use another version")
    return card


def _check_fields(card: dict, family: Family, path: Path) -> None:
    """Every field is there, and of a kind that the gate can read."""
    card_path = path.with_suffix(".json")
    _require(card, CARD_FIELDS.keys() | family.fields, card_path)
    for field in ("elements", "charges", "spins"):
        values = card[field]
        if not (isinstance(values, list) and values and all(isinstance(value, int) for value in values)):
            raise ModelError(f"{card_path}: {field} must be a list of whole numbers, not {values!r}")


def _require(card, fields, card_path):
    missing = fields - card.keys()
    if missing:
        raise ModelError(f"{card_path} lacks {', '.join(sorted(missing))}")


def save_model(model, path: str | Path, molecules: Iterable[str] = (), geometries: Iterable[Structure] = ()) -> Path:
    """Write weights and card (with their SHA-256) to ``path`` (.safetensors) and its .json.

    molecules: InChIKeys of the training molecules, written beside them for ``trained_on``.
    geometries: what they were trained on, for who learns more from other labels.
    """
    from safetensors.numpy import save

    path = Path(path)
    content = save(model.tensors())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    model.card["sha256"] = hashlib.sha256(content).hexdigest()
    if geometries:
        model.card["geometries_sha256"] = write_geometries(path, geometries)
    path.with_suffix(".json").write_text(json.dumps(model.card, indent=1) + "\n")
    if molecules:
        path.with_suffix(".trained_on.txt").write_text("\n".join(sorted(set(molecules))) + "\n")
    return path
