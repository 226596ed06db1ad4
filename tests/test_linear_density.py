"""The shipped linear density model: what is asked of every family, and what is its own."""

import shutil

import numpy as np
import pytest
from conftest import FORMAMIDE
from pyscf import gto
from safetensors.numpy import load_file

pytest.register_assert_rewrite("families")

from families import DATA, FamilyTests, predicted, rewritten, saved  # noqa: E402

from pyscf_mlguess.models import CHECKPOINTS, load_model  # noqa: E402

SHIPPED = "linear-ace-3"
ARCHIVED = [f"{SHIPPED}.format{number}.json" for number in (3, 4)]


class TestLinearDensity(FamilyTests):
    family = "linear-density"
    # The weights are those that ship with a card of format 5.
    archived = dict.fromkeys(ARCHIVED, CHECKPOINTS / f"{SHIPPED}.safetensors")
    tensor_kinds = ("singles", "pairs", "range", "unit", "coupling", "weights")
    optional_tensors = {"response"}

    @pytest.fixture
    def model(self):
        return load_model(SHIPPED)


@pytest.mark.parametrize("archive", ARCHIVED)
def test_older_formats_are_the_shipped_model_and_say_what_it_serves(archive, formamide, tmp_path):
    path = tmp_path / "old.safetensors"
    shutil.copy(CHECKPOINTS / f"{SHIPPED}.safetensors", path)
    shutil.copy(DATA / archive, path.with_suffix(".json"))
    old, new = load_model(path), load_model(SHIPPED)
    assert old.card.items() <= new.card.items() and new.card.keys() - old.card.keys() <= {"geometries_sha256"}
    assert len(old.responses) == len(new.responses) == 2
    for first, second in zip(predicted(old, formamide).blocks, predicted(new, formamide).blocks, strict=True):
        assert all(np.array_equal(first[l], second[l]) for l in first.keys() | second.keys())


def test_charge_reaches_the_prediction(formamide):
    cation = gto.M(atom=FORMAMIDE, basis="def2-svp", charge=1, spin=1, verbose=0)
    neutral, charged = (predicted(load_model(SHIPPED), mol).blocks for mol in (formamide, cation))
    assert all(not np.allclose(a[0], b[0]) for a, b in zip(neutral, charged))


def test_a_model_without_responses_loads(tmp_path):
    path = saved(load_model(SHIPPED), tmp_path / "bare.safetensors")
    kept = {name: array for name, array in load_file(path).items() if not name.startswith("response/")}
    assert load_model(rewritten(path, tensors=kept)).responses == ()
