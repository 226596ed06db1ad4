"""The registry: names, hashes, cards, formats; what a family's models are, ``families`` tests."""

import hashlib
import json
import shutil
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from pyscf_mlguess import models
from pyscf_mlguess.models import CHECKPOINTS, ModelError, available, load_model, save_model, trained_on
from pyscf_mlguess.models.base import Family
from pyscf_mlguess.structure import Structure


@pytest.fixture
def copy(tmp_path):
    """A private copy of a shipped checkpoint."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(CHECKPOINTS / ("linear-ace-3" + suffix), tmp_path / ("copy" + suffix))
    return tmp_path / "copy.safetensors"


def change_card(path, **changes):
    """The card beside ``path`` with other fields; None leaves one out."""
    card = json.loads(path.with_suffix(".json").read_text()) | changes
    card = {key: value for key, value in card.items() if value is not None}
    path.with_suffix(".json").write_text(json.dumps(card))


def test_shipped_checkpoints_load_are_small_and_cached():
    for name in available():
        assert load_model(name) is load_model(name)
        assert (CHECKPOINTS / f"{name}.safetensors").stat().st_size < 10e6
        assert load_model(name).card["name"] == name
        assert trained_on(name)
    assert load_model() is load_model(available()[0])


def test_the_index_names_every_shipped_checkpoint_and_its_hash():
    index = json.loads((CHECKPOINTS / "index.json").read_text())
    assert set(index) == {path.stem for path in CHECKPOINTS.glob("*.safetensors") if ".geometries" not in path.name}
    for name, digest in index.items():
        assert hashlib.sha256((CHECKPOINTS / f"{name}.safetensors").read_bytes()).hexdigest() == digest


def test_a_copy_loads_by_path(copy, water):
    first, second = (load_model(n).predict(Structure.from_mol(water)).blocks for n in ("linear-ace-3", copy))
    assert all(np.array_equal(a[l], b[l]) for a, b in zip(first, second) for l in a)
    assert trained_on(copy) is None


def test_one_changed_bit_is_refused(copy):
    content = bytearray(copy.read_bytes())
    content[-5] ^= 1
    copy.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256"):
        load_model(copy)


def test_truncated_weights_are_refused(copy):
    copy.write_bytes(copy.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="SHA-256"):
        load_model(copy)


def test_shipped_weights_are_pinned_by_the_package(copy, monkeypatch):
    # Weights and card changed together do not pass for the shipped model.
    monkeypatch.setattr(models, "CHECKPOINTS", copy.parent)
    (copy.parent / "index.json").write_text(json.dumps({"copy": "0" * 64}))
    with pytest.raises(ModelError, match="the package's index"):
        load_model("copy")


def test_truncated_weights_with_a_matching_hash_are_a_clear_error(copy):
    copy.write_bytes(copy.read_bytes()[:-1000])
    change_card(copy, sha256=hashlib.sha256(copy.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match="do not fit"):
        load_model(copy)


@pytest.mark.parametrize("change, message", [
    ({"format": 2}, r"format 2 of family 'linear-density' .*\(formats 3 to 5\); train the model again"),
    ({"format": 99}, "format 99"), ({"format": "5"}, "format 5 of family"),
    ({"family": "oracle"}, "'oracle' is not known .*linear-density"), ({"elements": None}, "lacks elements"),
    ({"sha256": None}, "lacks sha256"), ({"family": None, "format": None}, "lacks family, format"),
    ({"family": ["linear-density"]}, r"family \['linear-density'\] is not known"),
])
def test_cards_that_are_not_understood_are_refused(copy, change, message):
    change_card(copy, **change)
    with pytest.raises(ModelError, match=message):
        load_model(copy)


def test_missing_things_are_named(copy, tmp_path):
    with pytest.raises(ModelError, match="no model is called 'best'; shipped are"):
        load_model("best")
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors"):
        load_model(tmp_path / "nowhere.safetensors")
    copy.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match="no card"):
        load_model(copy)
    copy.with_suffix(".json").write_text("{not json")
    with pytest.raises(ModelError, match="not valid JSON"):
        load_model(copy)
    copy.with_suffix(".json").write_text("[]")
    with pytest.raises(ModelError, match="no JSON object"):
        load_model(copy)


@pytest.fixture
def toy_family(monkeypatch):
    """A family of formats 2 to 4, whose models list the upgrades that they went through."""

    class Model:
        responses, density = (), None

        def __init__(self, card, tensors):
            self.card, self._tensors = card, tensors

        def tensors(self):
            return self._tensors

        @classmethod
        def from_tensors(cls, card, tensors):
            return cls(card, {"numbers": tensors["numbers"]})

        @staticmethod
        def upgrade(card, tensors):
            card = card | {"format": card["format"] + 1, "upgrades": [*card.get("upgrades", []), card["format"]]}
            return card, {"numbers": tensors["numbers"] + 1}

    module = ModuleType("toy_family")
    module.Model = Model
    monkeypatch.setitem(sys.modules, "toy_family", module)
    family = Family("toy_family", format=4, oldest=2, fields=frozenset({"upgrades"}))
    monkeypatch.setitem(models.FAMILIES, "toy", family)
    return Model


def test_old_formats_are_lifted_one_by_one(toy_family, tmp_path):
    card = {"format": 2, "family": "toy", "name": "toy", "target": "nothing", "elements": [1], "charges": [0],
            "spins": [0], "levels": {}, "licence": "none"}
    path = save_model(toy_family(card, {"numbers": np.arange(3.0)}), tmp_path / "toy.safetensors", ["KEY", "KEY"])
    model = load_model(path)
    assert model.card["format"] == 4 and model.card["upgrades"] == [2, 3]
    assert np.array_equal(model.tensors()["numbers"], [2.0, 3.0, 4.0])
    assert trained_on(path) == {"KEY"}


def test_families_are_imported_when_a_model_of_theirs_is_loaded():
    script = """
import sys
import pyscf_mlguess.models as models
families = [family.module for family in models.FAMILIES.values()]
assert not {"torch", "e3nn"} & set(sys.modules)
assert not [name for name in sys.modules if name.startswith(tuple(families))]
models.load_model()
assert "pyscf_mlguess.models.linear_density" in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
