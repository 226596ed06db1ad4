"""The shipped linear density models: what is asked of every family, and what is their own."""

import shutil

import numpy as np
import pytest
from conftest import FORMAMIDE
from pyscf import dft, gto
from safetensors.numpy import load_file

pytest.register_assert_rewrite("families")

from families import DATA, FamilyTests, predicted, rewritten, saved  # noqa: E402

from pyscf_mlguess.benchmark.sets import load_set  # noqa: E402
from pyscf_mlguess.density_fitting.fitting import DensityFitting  # noqa: E402
from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients  # noqa: E402
from pyscf_mlguess.models import CHECKPOINTS, ModelError, load_model  # noqa: E402

SHIPPED = "linear-ace-3"
# Each corrects the one before.
CORRECTED = ["linear-ace-4", "linear-ace-5"]
BEFORE = dict(zip(CORRECTED, [SHIPPED, *CORRECTED]))
ARCHIVED = [f"{SHIPPED}.format{number}.json" for number in (3, 4)]


class TestLinearDensity(FamilyTests):
    family = "linear-density"
    # The weights are those that ship with a card of format 5.
    archived = dict.fromkeys(ARCHIVED, CHECKPOINTS / f"{SHIPPED}.safetensors")
    tensor_kinds = ("singles", "pairs", "range", "unit", "coupling", "weights")
    optional_tensors = {"response"}

    @pytest.fixture(params=[SHIPPED, *CORRECTED])
    def model(self, request):
        return load_model(request.param)


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


@pytest.mark.parametrize("name, corrected", [("qm9_size", "linear-ace-4"), ("ions", "linear-ace-4"),
                                             ("drug_like", "linear-ace-4"), ("radicals", "linear-ace-5"),
                                             ("main_group", "linear-ace-5")])
def test_what_was_known_before_is_predicted_as_before(name, corrected):
    """So that what was measured of the former model holds for this one."""
    for molecule in load_set(name)[0][:4]:
        first, second = (predicted(load_model(model), molecule.mol("def2-svp"))
                         for model in (BEFORE[corrected], corrected))
        assert np.array_equal(first.novelty, second.novelty)
        for before, after in zip(first.blocks, second.blocks, strict=True):
            assert all(np.array_equal(before[l], after[l]) for l in before.keys() | after.keys())


@pytest.mark.parametrize("name", CORRECTED)
def test_a_shipped_start_is_named_and_must_be_the_one_meant(name, tmp_path):
    path, model = tmp_path / "copy.safetensors", load_model(name)
    for suffix in (".safetensors", ".json"):
        shutil.copy((CHECKPOINTS / name).with_suffix(suffix), path.with_suffix(suffix))
    assert model.start is load_model(BEFORE[name]) and not any(key.startswith("start/") for key in load_file(path))
    message = f"corrects a model {BEFORE[name]} with the SHA-256 0000.*; put the former back"
    with pytest.raises(ModelError, match=message):
        load_model(rewritten(path, model.card | {"start_sha256": "0" * 64}))


@pytest.mark.parametrize("name, benchmark_set, compound", [
    ("linear-ace-4", "main_group", "selenomethionine"), ("linear-ace-4", "main_group", "phenylthallium_dichloride"),
    ("linear-ace-4", "main_group", "triethylgallium"), ("linear-ace-5", "elements", "nickel_tetracarbonyl"),
    ("linear-ace-5", "elements", "iron_pentacarbonyl"), ("linear-ace-5", "elements", "ferrocene")])
def test_elements_are_learned(name, benchmark_set, compound):
    """The density of compounds that were not trained on is nearer to the SCF's than with free atoms, threefold."""
    [molecule] = [m for m in load_set(benchmark_set)[0] if m.name.startswith(compound)]
    mol = molecule.mol("def2-svp")
    fitting = DensityFitting(mol)
    mf = dft.RKS(mol, xc="pbe").density_fit()
    mf.grids.level = 0
    solution = fitting.fit(mf.run().make_rdm1())

    def error(model):
        difference = predicted(load_model(model), mol).assemble(fitting.auxmol)
        wrong = free_atom_coefficients(fitting.auxmol) + difference - solution
        return np.sqrt(wrong @ fitting.metric.matrix @ wrong)

    assert error(name) < error(BEFORE[name]) / 3
