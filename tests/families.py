"""What is asked of every model family; its test class inherits ``FamilyTests`` and supplies a model."""

import copy
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ao_rotation
from pyscf import dft, gto
from safetensors.numpy import load_file, save

from pyscf_mlguess import energy
from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models import FAMILIES, ModelError, load_model, save_model
from pyscf_mlguess.models.base import CARD_FIELDS
from pyscf_mlguess.pipeline import initial_density_matrix
from pyscf_mlguess.predictions import AuxiliaryDensity
from pyscf_mlguess.routes.projection import reference_molecule
from pyscf_mlguess.structure import Structure

DATA = Path(__file__).parent / "data"
LEVEL = LevelOfTheory(0.25, 0.25, 0.0, 0.3)
AXES = {
    "exact exchange": lambda share: LevelOfTheory(share, share),
    "range separation": lambda share: LevelOfTheory(0.0, share, 0.3),
    "triple zeta": lambda share: LevelOfTheory(triple_zeta=share),
}
WRONG_LISTS = {"text": "1", "empty": [], "fractions": [0, 0.5], "an object": {"0": 0}, "null": None}


def predicted(model, mol, level=LEVEL):
    return model.predict(Structure.from_mol(mol), level)


def functions(prediction, mol):
    """The molecule in whose functions a prediction is."""
    return (auxiliary_mole(mol) if isinstance(prediction, AuxiliaryDensity)
            else reference_molecule(mol, prediction.basis))


def assembled(prediction, mol):
    """A prediction as an array: (naux,) of a density, (nref, nref) of a matrix."""
    return prediction.assemble(functions(prediction, mol))


def transformed(array, matrix):
    """A vector, or a matrix of two such indices, in other functions."""
    return matrix @ array if array.ndim == 1 else matrix @ array @ matrix.T


def left_alone(prediction, numbers):
    """Atoms of which a prediction says nothing."""
    if isinstance(prediction, AuxiliaryDensity):
        return [atom for atom, block in enumerate(prediction.blocks) if not block]
    silent = set(numbers) - prediction.blocks.onsite.keys()
    assert not any(silent & set(species) for species in prediction.blocks.pairs)
    return [atom for atom, number in enumerate(numbers) if number in silent]


def moved(mol, positions):
    """``mol`` with other positions (natm, 3), bohr."""
    new = mol.copy()
    new.set_geom_(positions, unit="Bohr")
    return new


def saved(model, path):
    """Weights and card of a model at ``path``; the model, which others share, keeps its card as it is."""
    own = copy.copy(model)
    own.card = dict(model.card)
    return save_model(own, path)


def rewritten(path, card=None, tensors=None):
    """The checkpoint at ``path`` with another card or other tensors; their hash fits."""
    card = json.loads(path.with_suffix(".json").read_text()) if card is None else card
    if tensors is not None:
        content = save(tensors)
        path.write_bytes(content)
        card["sha256"] = hashlib.sha256(content).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


class FamilyTests:
    """Tests of one family.

    A subclass sets ``family``, its name; ``archived``, {card in tests/data: weights}, one for every older format that
    still loads; ``axes``, the names in ``AXES`` that it has learned; ``tensor_kinds``, what stands before the first
    slash in the names of its tensors, and ``optional_tensors``, those of them that a model may lack; ``tolerance``, of
    symmetries, relative to the largest number in a prediction.  It defines the fixture ``model``.
    """

    family: str
    archived: dict[str, Path] = {}
    axes = tuple(AXES)
    tensor_kinds: tuple
    optional_tensors: set[str] = set()
    tolerance = 1e-9

    def pytest_generate_tests(self, metafunc):
        choices = {"card_field": sorted(CARD_FIELDS.keys() | FAMILIES[self.family].fields),
                   "tensor_kind": self.tensor_kinds, "axis": self.axes, "archive": sorted(self.archived)}
        for name in choices.keys() & set(metafunc.fixturenames):
            metafunc.parametrize(name, choices[name])

    @pytest.fixture
    def checkpoint(self, model, tmp_path):
        return saved(model, tmp_path / "copy.safetensors")

    def close(self, array):
        return pytest.approx(array, abs=self.tolerance * np.abs(array).max())

    def compared(self, prediction, mol):
        """The array in which levels of theory are compared."""
        return assembled(prediction, mol)

    # -- symmetries --

    @pytest.mark.parametrize("inverted", [False, True])
    def test_the_prediction_turns_with_the_molecule(self, model, formamide, rotation, inverted):
        matrix = -rotation if inverted else rotation
        turned = moved(formamide, formamide.atom_coords() @ matrix.T)
        before, after = predicted(model, formamide), predicted(model, turned)
        wigner = ao_rotation(functions(before, formamide), matrix)
        assert assembled(after, turned) == self.close(transformed(assembled(before, formamide), wigner))
        assert after.novelty == pytest.approx(before.novelty, rel=1e-6)

    def test_the_prediction_follows_a_permutation_of_atoms(self, model, formamide):
        order = [3, 0, 5, 1, 4, 2]
        shuffled = gto.M(atom=[formamide._atom[i] for i in order], unit="Bohr", basis="def2-svp", verbose=0)
        before, after = predicted(model, formamide), predicted(model, shuffled)
        slices = functions(before, formamide).aoslice_by_atom()[:, 2:]
        rows = np.concatenate([np.arange(*slices[atom]) for atom in order])
        expected = transformed(assembled(before, formamide), np.eye(len(rows))[rows])
        assert assembled(after, shuffled) == self.close(expected)
        assert after.novelty == pytest.approx(before.novelty[order], rel=1e-6)

    def test_the_prediction_does_not_change_under_translation(self, model, formamide):
        shifted = moved(formamide, formamide.atom_coords() + [3.0, -20.0, 0.7])
        expected = assembled(predicted(model, formamide), formamide)
        assert assembled(predicted(model, shifted), shifted) == self.close(expected)

    # -- what a prediction is --

    def test_the_same_molecule_gives_the_same_prediction(self, model, formamide):
        first, second = (predicted(model, formamide) for _ in range(2))
        assert np.array_equal(assembled(first, formamide), assembled(second, formamide))
        assert np.array_equal(first.novelty, second.novelty)

    def test_the_prediction_is_finite_float64_and_of_every_atom(self, model, formamide):
        prediction = predicted(model, formamide)
        array = assembled(prediction, formamide)
        assert array.dtype == np.float64 and np.isfinite(array).all() and array.any()
        assert prediction.atoms_not_finite() == [] and left_alone(prediction, [6, 8, 7, 1, 1, 1]) == []
        assert prediction.novelty.shape == (6,) and (prediction.novelty >= 0).all()

    def test_surroundings_unlike_any_in_training_are_novel(self, model, formamide):
        pressed = moved(formamide, formamide.atom_coords() * 0.35)
        assert predicted(model, pressed).novelty.max() > 1 > predicted(model, formamide).novelty.max()

    def test_an_unknown_element_leaves_its_atom_alone(self, model, formamide):
        assert 36 not in model.card["elements"]
        mol = gto.M(atom=[("Kr", (6.0, 1.0, -2.0)), *formamide._atom], unit="Bohr", basis="def2-svp", verbose=0)
        prediction = predicted(model, mol)
        assert left_alone(prediction, [36, 6, 8, 7, 1, 1, 1]) == [0]
        assert prediction.novelty.shape == (7,) and prediction.atoms_not_finite() == []

    def test_the_level_of_theory_changes_the_prediction_smoothly(self, model, formamide, axis):
        none, barely, half, more, full = (self.compared(predicted(model, formamide, AXES[axis](share)), formamide)
                                          for share in (0.0, 1e-6, 0.5, 0.5 + 1e-6, 1.0))
        change = np.abs(full - none).max()
        assert change > 1e-4 * np.abs(none).max()
        assert 0 < np.abs(barely - none).max() < 1e-4 * change and 0 < np.abs(more - half).max() < 1e-4 * change

    # -- energy --

    def test_energy_and_dipole_are_those_of_the_predicted_matrix(self, model, formamide):
        mf = dft.RKS(formamide, xc="pbe").density_fit()
        mf.grids.level = 0
        dm = initial_density_matrix(mf, model, checked=False)
        found = energy(mf, dm)
        assert found.energy == pytest.approx(mf.energy_tot(np.asarray(dm)), abs=1e-8)
        assert 0 < found.energy_error < np.inf and np.isfinite(found.dipole).all()

    # -- card and file --

    def test_the_card_has_every_field(self, model):
        family = FAMILIES[self.family]
        assert (CARD_FIELDS.keys() | family.fields) <= model.card.keys()
        assert (model.card["family"], model.card["format"]) == (self.family, family.format)
        assert json.loads(json.dumps(model.card)) == model.card

    def test_a_file_gives_the_same_prediction_bit_for_bit(self, model, checkpoint, formamide):
        back = load_model(checkpoint)
        first, second = predicted(model, formamide), predicted(back, formamide)
        assert np.array_equal(assembled(first, formamide), assembled(second, formamide))
        assert np.array_equal(first.novelty, second.novelty) and back.card.keys() == model.card.keys()

    def test_a_missing_card_field_is_named(self, checkpoint, card_field):
        card = json.loads(checkpoint.with_suffix(".json").read_text())
        del card[card_field]
        with pytest.raises(ModelError, match=f"lacks {card_field}"):
            load_model(rewritten(checkpoint, card))

    @pytest.mark.parametrize("field", ["elements", "charges", "spins"])
    @pytest.mark.parametrize("wrong", WRONG_LISTS)
    def test_wrong_types_in_the_card_are_named(self, checkpoint, field, wrong):
        card = json.loads(checkpoint.with_suffix(".json").read_text()) | {field: WRONG_LISTS[wrong]}
        with pytest.raises(ModelError, match=f"{field} must be a list of whole numbers"):
            load_model(rewritten(checkpoint, card))

    def test_a_missing_kind_of_tensors_is_an_error(self, checkpoint, tensor_kind):
        tensors = load_file(checkpoint)
        rest = {name: array for name, array in tensors.items() if name.split("/")[0] != tensor_kind}
        assert len(rest) < len(tensors)
        with pytest.raises(ModelError, match="do not fit the card"):
            load_model(rewritten(checkpoint, tensors=rest))

    def test_every_kind_of_tensors_is_needed_or_named_as_one_that_is_not(self, model):
        needed = {kind if isinstance(kind, str) else kind.values[0] for kind in self.tensor_kinds}
        assert {name.split("/")[0] for name in model.tensors()} - self.optional_tensors == needed

    def test_formats_of_no_version_are_refused(self, checkpoint):
        card = json.loads(checkpoint.with_suffix(".json").read_text())
        for number in (0, FAMILIES[self.family].oldest - 1, FAMILIES[self.family].format + 1):
            with pytest.raises(ModelError, match=f"format {number} of family '{self.family}' is not known"):
                load_model(rewritten(checkpoint, card | {"format": number}))

    def test_every_older_format_is_archived(self):
        formats = {json.loads((DATA / name).read_text())["format"] for name in self.archived}
        assert formats == set(range(FAMILIES[self.family].oldest, FAMILIES[self.family].format))

    def test_old_files_still_load(self, model, archive, formamide, tmp_path):
        path = tmp_path / "old.safetensors"
        shutil.copy(self.archived[archive], path)
        shutil.copy(DATA / archive, path.with_suffix(".json"))
        old = load_model(path)
        self.test_the_card_has_every_field(old)
        prediction = predicted(old, formamide)
        assert np.isfinite(assembled(prediction, formamide)).all() and prediction.novelty.shape == (6,)
