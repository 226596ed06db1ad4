import json
import shutil

import numpy as np
import pytest

from pyscf_mlguess import models
from pyscf_mlguess.models import CHECKPOINTS, ModelError, available, load_model


@pytest.fixture
def copy(tmp_path):
    """A private copy of the default checkpoint."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(CHECKPOINTS / (available()[0] + suffix), tmp_path / ("copy" + suffix))
    return tmp_path / "copy.safetensors"


def test_shipped_checkpoints_load_are_small_and_cached():
    for name in available():
        assert load_model(name) is load_model(name)
        assert (CHECKPOINTS / f"{name}.safetensors").stat().st_size < 10e6
        assert load_model(name).card["name"] == name
    assert load_model() is load_model(available()[0])


def test_a_copy_loads_by_path(copy, water):
    from pyscf_mlguess.structure import Structure

    first, second = (load_model(n).predict(Structure.from_mol(water)).blocks for n in ("default", copy))
    assert all(np.array_equal(a[l], b[l]) for a, b in zip(first, second) for l in a)


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
    import hashlib

    copy.write_bytes(copy.read_bytes()[:-1000])
    card = json.loads(copy.with_suffix(".json").read_text())
    card["sha256"] = hashlib.sha256(copy.read_bytes()).hexdigest()
    copy.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="do not fit"):
        load_model(copy)


@pytest.mark.parametrize("change, message", [({"format": 99}, "format 99"), ({"family": "oracle"}, "oracle"),
                                             ({"elements": None}, "lacks elements")])
def test_cards_that_are_not_understood_are_refused(copy, change, message):
    card = json.loads(copy.with_suffix(".json").read_text()) | change
    card = {key: value for key, value in card.items() if value is not None}
    copy.with_suffix(".json").write_text(json.dumps(card))
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
