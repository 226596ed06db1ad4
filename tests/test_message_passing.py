"""Small message-passing networks: what is asked of every family, and what is their own."""

import json
import subprocess
import sys
from functools import lru_cache

import numpy as np
import pytest
from conftest import FORMAMIDE, ao_rotation
from pyscf import gto

pytest.register_assert_rewrite("families")
torch = pytest.importorskip("torch")
pytest.importorskip("e3nn")

from families import FamilyTests, assembled, functions, moved, predicted, rewritten, saved, transformed  # noqa: E402
from small_message_passing import SETTINGS, trained  # noqa: E402
from small_pair_blocks import labels  # noqa: E402

from pyscf_mlguess.level import LevelOfTheory  # noqa: E402
from pyscf_mlguess.models import ModelError, load_model, trained_on  # noqa: E402
from pyscf_mlguess.models.message_passing.model import channels_of  # noqa: E402
from pyscf_mlguess.models.message_passing.network import build  # noqa: E402
from pyscf_mlguess.predictions import AuxiliaryDensity, DensityBlocks, FockBlocks  # noqa: E402
from pyscf_mlguess.structure import Structure  # noqa: E402

HYBRID = LevelOfTheory(0.25, 0.25)


def in_double_precision(model):
    """The same network in float64, its couplings and harmonics too, without the linear model, which is rounded."""
    network = build(model.network.settings, model.network.elements, channels_of(model.card), model.network.axes,
                    dtype=torch.float64)
    network.load_state_dict(model.network.state_dict())
    return type(model)(model.card, network, model.surroundings, None, model.density)


@lru_cache(maxsize=None)
def speaking(target, linear):
    """The trained model, whose readouts may be zero still, with others."""
    model, random = load_model(trained(target, linear)), np.random.default_rng(1)
    tensors = {name: array + random.normal(size=array.shape).astype(array.dtype) if "/readouts." in name
               and ".weights." in name else array for name, array in model.tensors().items()}
    return type(model).from_tensors(model.card, tensors)


class MessagePassingTests(FamilyTests):
    family = "message-passing"
    axes = ("exact exchange",)
    tensor_kinds = ("network", "surroundings")
    tolerance = 1e-5
    target: str
    prediction: type
    linear = True

    @pytest.fixture
    def model(self):
        return speaking(self.target, self.linear)

    def test_the_target_says_what_is_predicted(self, model, formamide):
        assert model.card["target"] == self.target
        assert type(predicted(model, formamide, HYBRID)) is self.prediction

    def test_in_double_precision_symmetry_is_exact(self, model, formamide, rotation):
        model = in_double_precision(model)
        first = predicted(model, formamide)
        for matrix in (rotation, -rotation):
            turned = moved(formamide, formamide.atom_coords() @ matrix.T)
            expected = transformed(assembled(first, formamide), ao_rotation(functions(first, formamide), matrix))
            error = np.abs(assembled(predicted(model, turned), turned) - expected).max()
            assert error < 1e-10 * np.abs(expected).max()

    def test_what_it_was_trained_on_is_beside_it(self, model):
        path = trained(self.target, self.linear)
        own = set(path.with_suffix(".trained_on.txt").read_text().split())
        assert len(own) == len({label.smiles for label in labels()}) and own <= trained_on(path)
        assert model.linear is None or trained_on(model.card["linear"]) <= trained_on(path)

    def test_charge_reaches_the_prediction(self, model, formamide):
        cation = gto.M(atom=FORMAMIDE, basis="def2-svp", charge=1, spin=1, verbose=0)
        first, second = (model.corrections(Structure.from_mol(mol), {"base": 1.0}) for mol in (formamide, cation))
        for element, table in first.onsite.items():
            assert not np.allclose(table[0, 1, 1], second.onsite[element][0, 1, 1], rtol=1e-3, atol=0)

    def test_it_is_smooth_where_atoms_come_into_reach(self, model):
        for distance in (SETTINGS.cutoff, SETTINGS.reach):
            near, far = (self.pulled_apart(model, distance + step) for step in (-1e-3, 1e-3))
            assert np.abs(near - far).max() < 1e-4 * np.abs(near).max()

    def test_blocks_of_pairs_vanish_smoothly_at_the_reach(self, model):
        if self.target == "density":
            return
        bonded, before, just = (np.abs(self.pair(model, distance)).max() for distance in
                                (2.0, SETTINGS.reach - 0.1, SETTINGS.reach - 0.01))
        # Three derivatives vanish there, too.
        assert 0 < just < 2e-3 * before < 1e-4 * bonded and not self.pair(model, SETTINGS.reach + 0.01).size

    @staticmethod
    def pair(model, distance):
        atoms = Structure(np.array([1, 8]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]]), 0, np.arange(2))
        table = model.corrections(atoms, {"base": 1.0}).pairs.get((1, 8), {})
        return np.concatenate([np.zeros(0), *(values.ravel() for values in table.values())])

    def pulled_apart(self, model, distance):
        mol = gto.M(atom=[("O", (0, 0, 0)), ("H", (0, 0, 1.8)), ("H", (1.7, 0, -0.6)), ("H", (0, -distance, 0))],
                    unit="Bohr", charge=1, basis="def2-svp", verbose=0)
        found = model.corrections(Structure.from_mol(mol), {"base": 1.0})
        return np.concatenate([table[key].ravel() for table in found.onsite.values() for key in table])

    def test_torch_and_its_random_numbers_stay_as_they_were(self, model, formamide):
        import e3nn

        def state():
            return (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
                    torch.initial_seed(), torch.random.get_rng_state().sum().item(),
                    dict(e3nn.get_optimization_defaults()))

        before = state()
        type(model).from_tensors(model.card, model.tensors())
        predicted(model, formamide)
        assert state() == before


class TestDensityMatrix(MessagePassingTests):
    target, prediction = "density matrix", DensityBlocks


class TestFockMatrixAlone(MessagePassingTests):
    target, prediction = "fock matrix", FockBlocks
    linear = False

    def test_pairs_are_symmetric_under_exchange(self, model):
        """A turn by 180 degrees that exchanges the two hydrogen atoms exchanges the blocks (i, j) and (j, i)."""
        mol = gto.M(atom="H 0.1 0.76 0.59; H -0.1 -0.76 0.59; O 0 0 0", basis="def2-svp", verbose=0)
        found = predicted(in_double_precision(model), mol)
        turn = ao_rotation(functions(found, mol), np.diag([-1.0, -1.0, 1.0]))[:5, :5]
        block = assembled(found, mol)[:5, 5:10]
        assert np.abs(block - block.T).max() > 1e-4  # it has an antisymmetric part
        assert turn @ block @ turn.T == pytest.approx(block.T, abs=1e-10)


class TestExchange(MessagePassingTests):
    target, prediction = "exchange", FockBlocks
    axes = ("exact exchange", "range separation")

    def compared(self, prediction, mol):
        """Without any exchange the density is alone, and has no blocks."""
        return np.zeros((1, 1)) if isinstance(prediction, AuxiliaryDensity) else assembled(prediction, mol)


class TestDensity(MessagePassingTests):
    target, prediction = "density", AuxiliaryDensity


def test_another_linear_model_than_that_of_training_is_refused(tmp_path):
    path = saved(load_model(trained("fock matrix")), tmp_path / "copy.safetensors")
    card = json.loads(path.with_suffix(".json").read_text()) | {"linear_sha256": "0" * 64}
    with pytest.raises(ModelError, match="corrects a model .* with the SHA-256 0000.*; put the former back"):
        load_model(rewritten(path, card))


def test_without_torch_a_network_says_what_is_missing():
    path = trained("fock matrix", False)
    code = (f"import sys; sys.modules['torch'] = None; from pyscf_mlguess.models import *\n"
            f"try: load_model({str(path)!r})\nexcept ModelError as error: print(error)")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "is a network, which needs torch: install the extra 'network'" in told


def test_other_families_import_no_torch():
    code = ("import sys; from pyscf_mlguess.models import load_model; load_model('exchange-1'); "
            "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("number", [8, 36])
def test_an_atom_alone_needs_no_neighbours(number):
    atom = Structure(np.array([number]), np.zeros((1, 3)), 0, np.arange(1))
    blocks = speaking("fock matrix", False).predict(atom).blocks
    assert set(blocks.onsite) == {number} & {8} and not blocks.pairs
