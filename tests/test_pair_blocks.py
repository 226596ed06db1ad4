"""Small models of pair blocks, of all three targets: what is asked of every family, and what is their own."""

import json

import numpy as np
import pytest
from conftest import FORMAMIDE
from oracles import molecule
from pyscf import dft, gto, scf

pytest.register_assert_rewrite("families")

from families import FamilyTests, assembled, predicted, rewritten  # noqa: E402
from small_pair_blocks import SETTINGS, labels, trained  # noqa: E402

from pyscf_mlguess import pipeline, routes  # noqa: E402
from pyscf_mlguess.cheap.problem import CheapProblem  # noqa: E402
from pyscf_mlguess.level import LevelOfTheory  # noqa: E402
from pyscf_mlguess.models import ModelError, load_model, trained_on  # noqa: E402
from pyscf_mlguess.models.pair_blocks import model as family  # noqa: E402
from pyscf_mlguess.predictions import AuxiliaryDensity, DensityBlocks, FockBlocks  # noqa: E402
from pyscf_mlguess.routes.density_matrix import MOST_ELECTRONS_MISSING, SMALLEST_GAP  # noqa: E402
from pyscf_mlguess.structure import Structure  # noqa: E402
from pyscf_mlguess.training.matrix_labels import AXES, DENSITY_MODEL  # noqa: E402

METHANETHIOL = "S 0 0 0; C 0 0 1.82; H 0 1.33 -0.2; H 1.02 -0.5 2.2; H -0.9 -0.5 2.2; H 0 1.05 2.2"
HYBRID, LONG_RANGE = LevelOfTheory(0.25, 0.25), LevelOfTheory(0.0, 0.5, 0.2)


class PairBlocksTests(FamilyTests):
    family = "pair-blocks"
    axes = ("exact exchange",)
    tensor_kinds = ("singles", "doubles", "extent", "bonds", "unit", "weights")
    target: str
    prediction: type

    @pytest.fixture
    def model(self):
        return load_model(trained(self.target))

    def test_the_target_says_what_is_predicted(self, model, formamide):
        assert model.card["target"] == self.target and model.weights.keys() == AXES[self.target].keys()
        prediction = predicted(model, formamide, HYBRID)
        assert type(prediction) is self.prediction and prediction.basis == "def2-svp"

    def test_charge_reaches_the_prediction(self, model, formamide):
        cation = molecule(FORMAMIDE, charge=1, spin=1)
        first, second = (assembled(predicted(model, mol), mol) for mol in (formamide, cation))
        assert not np.allclose(first, second)

    def test_a_file_keeps_no_order(self, model, formamide):
        tensors = model.tensors()
        shuffled = {name: tensors[name] for name in np.random.default_rng(1).permutation(list(tensors))}
        back = family.PairBlocks.from_tensors(model.card, shuffled)
        assert np.array_equal(assembled(predicted(back, formamide), formamide),
                              assembled(predicted(model, formamide), formamide))

    def test_atoms_beyond_the_reach_have_blocks_of_their_own(self, model, formamide):
        shift = np.array([0.0, 0.0, SETTINGS.reach + 8.0])
        atoms = formamide._atom + [(symbol, np.add(position, shift)) for symbol, position in formamide._atom]
        both = gto.M(atom=atoms, unit="Bohr", basis="def2-svp", verbose=0)
        once, twice = (assembled(predicted(model, mol), mol) for mol in (formamide, both))
        assert twice == self.close(np.kron(np.eye(2), once))

    def test_features_made_in_parts_are_the_same(self, model, formamide, monkeypatch):
        expected = assembled(predicted(model, formamide), formamide)
        monkeypatch.setattr(family, "_CHUNK", 1)
        assert assembled(predicted(model, formamide), formamide) == self.close(expected)

    def test_a_pair_of_elements_that_was_not_learned_has_no_block(self, model):
        assert [6, 6] not in model.card["training"]["pairs"]
        ethane = gto.M(atom="C 0 0 0; C 0 0 1.5; H 1 0 -.4; H -.5 .9 -.4; H -.5 -.9 -.4; H -1 0 1.9; H .5 .9 1.9; "
                            "H .5 -.9 1.9", basis="def2-svp", verbose=0)
        matrix, n = assembled(predicted(model, ethane), ethane), 14
        assert not matrix[:n, n : 2 * n].any() and matrix[:n, :n].any() and matrix[:n, 2 * n :].any()

    @pytest.mark.parametrize("xc", ["pbe", "pbe0", "hf"])
    def test_a_molecule_of_the_training_set_gets_a_better_guess_than_minao_s(self, model, xc):
        mol = molecule(FORMAMIDE)
        mf = (scf.RHF(mol) if xc == "hf" else dft.RKS(mol, xc=xc)).density_fit()
        if xc != "hf":
            mf.grids.level = 0
        dm = pipeline.initial_density_matrix(mf, model, corrected=False)
        minao, learned = (mf.energy_tot(each) for each in (mf.get_init_guess(key="minao"), dm))
        mf.kernel(dm0=dm)
        assert mf.converged and 0 < learned - mf.e_tot < 0.1 * abs(minao - mf.e_tot)

    def test_a_cheap_problem_that_will_refine_it_lends_its_integrals(self, model):
        mf = scf.RHF(molecule(FORMAMIDE)).density_fit()
        cheap = CheapProblem(mf)
        dm = pipeline.initial_density_matrix(mf, model, cheap=cheap)
        minao, learned = (mf.energy_tot(each) for each in (mf.get_init_guess(key="minao"), dm))
        assert cheap.iterations == 0
        if model.density is not None:
            # The cheap problem has exact exchange itself: the start is the density's alone.
            alone = pipeline.initial_density_matrix(mf, model.density, cheap=cheap)
            assert np.asarray(dm) == pytest.approx(np.asarray(alone), abs=1e-10)
            return
        mf.kernel(dm0=dm)
        assert 0 < learned - mf.e_tot < 0.1 * abs(minao - mf.e_tot)

    def test_other_bases_and_open_shells_are_served(self, model):
        radical = scf.UHF(molecule("C 0 0 0; H 0 1.08 0; H .935 -.54 0.1; H -.935 -.54 0", "6-31g", spin=1))
        dm = pipeline.initial_density_matrix(radical, model)
        assert np.einsum("sij,ji->s", dm, radical.get_ovlp()) == pytest.approx([5, 4], abs=1e-8)

    def test_what_it_was_trained_on_is_beside_it(self, model):
        path = trained(self.target)
        own = set(path.with_suffix(".trained_on.txt").read_text().split())
        assert len(own) == len({label.smiles for label in labels()})
        # So is what the density was trained on.
        assert trained_on(path) == own | (trained_on(DENSITY_MODEL) if self.target == "exchange" else set())
        assert model.card["training"]["validation_geometries"] == 2


class TestDensityMatrix(PairBlocksTests):
    target, prediction = "density matrix", DensityBlocks

    def test_electrons_are_those_of_the_molecule(self, model, formamide):
        _, report = routes.density_matrix(scf.RHF(formamide), predicted(model, formamide, LevelOfTheory(1.0, 1.0)))
        assert abs(report.electrons_missing) < MOST_ELECTRONS_MISSING / 2 * 6
        # Fifteen geometries: occupations are noisy, and still the gate takes them.
        assert report.occupation_gap > 1.5 * SMALLEST_GAP and report.objection() is None
        assert model.responses == ()

    def test_an_element_that_it_does_not_know_keeps_what_free_atoms_give(self, model):
        mol = molecule("S 0 0 0; H 0 0.96 0.93; H 0 -0.96 0.93")
        dm, report = routes.density_matrix(scf.RHF(mol), predicted(model, mol))
        assert np.trace(dm @ mol.intor("int1e_ovlp")) == pytest.approx(18, abs=1e-8) and report.objection() is None
        assert not assembled(predicted(model, mol), mol)[:18].any()


class FockMatrixTests(PairBlocksTests):
    """Of targets whose predictions are differences between Fock matrices."""

    prediction = FockBlocks

    def test_an_element_that_it_does_not_know_has_no_difference(self, model):
        mol = molecule(METHANETHIOL)
        assert 16 not in model.card["block_elements"]
        dm, report = routes.density_matrix(scf.RHF(mol), predicted(model, mol, HYBRID))
        assert np.trace(dm @ mol.intor("int1e_ovlp")) == pytest.approx(26, abs=1e-8) and not report.notes


class TestFockMatrix(FockMatrixTests):
    target = "fock matrix"

    def test_the_difference_is_from_free_atoms(self, model, formamide):
        density = predicted(model, formamide).density
        assert density.blocks == [{}] * 6 and model.responses == ()

    def test_ions_are_judged_by_their_gap_alone(self, model):
        ammonium = molecule("N 0 0 0; H .59 .59 .59; H -.59 -.59 .59; H -.59 .59 -.59; H .59 -.59 -.59", charge=1)
        mf = dft.RKS(ammonium, xc="pbe").density_fit()
        mf.grids.level = 0
        minao = mf.energy_tot(mf.get_init_guess(key="minao"))
        learned = mf.energy_tot(pipeline.initial_density_matrix(mf, model))
        mf.kernel()
        assert 0 < learned - mf.e_tot < 0.1 * abs(minao - mf.e_tot)


class TestExchange(FockMatrixTests):
    target = "exchange"
    axes = ("exact exchange", "range separation")

    def compared(self, prediction, mol):
        # A functional without exact exchange has no difference: its density is all.
        return np.zeros((mol.nao,) * 2) if isinstance(prediction, AuxiliaryDensity) else assembled(prediction, mol)

    def test_a_charged_molecule_has_its_own_density_and_exchange(self, model, formamide):
        cation = molecule(FORMAMIDE, charge=1, spin=1)
        first, second = (predicted(model, mol, HYBRID) for mol in (formamide, cation))
        assert not np.allclose(assembled(first, formamide), assembled(second, cation))
        assert not np.allclose(assembled(first.density, formamide), assembled(second.density, cation))

    def test_a_semilocal_functional_gets_the_density_alone(self, model, formamide):
        density = load_model(DENSITY_MODEL)
        for first, second in zip(predicted(model, formamide, LevelOfTheory(triple_zeta=0.4)).blocks,
                                 predicted(density, formamide, LevelOfTheory(triple_zeta=0.4)).blocks, strict=True):
            assert all(np.array_equal(first[l], second[l]) for l in first.keys() | second.keys())
        mf = dft.RKS(formamide, xc="pbe")
        first, second = (pipeline.initial_density_matrix(mf, each) for each in (model, density))
        assert np.asarray(first) == pytest.approx(np.asarray(second), abs=1e-12)
        assert model.responses == density.responses and len(model.responses) == 2

    def test_the_density_is_the_level_s_own(self, model, formamide):
        density = predicted(load_model(DENSITY_MODEL), formamide, HYBRID)
        prediction = predicted(model, formamide, HYBRID)
        assert assembled(prediction.density, formamide) == pytest.approx(assembled(density, formamide), abs=0)
        assert (prediction.novelty >= density.novelty).all()
        # Of an element without blocks, the density alone has something to say.
        thiol = molecule(METHANETHIOL)
        alone, whole = (predicted(each, thiol, HYBRID).novelty for each in (load_model(DENSITY_MODEL), model))
        assert whole[0] == alone[0] > 0 and model.card["elements"] != model.card["block_elements"]

    def test_global_hybrids_have_a_share_that_does_not_see_the_range(self, model, formamide):
        quarter, half, whole = (assembled(predicted(model, formamide, LevelOfTheory(share, share, omega)), formamide)
                                for share, omega in ((0.25, 0.0), (0.5, 0.4), (1.0, 0.0)))
        # With b of the base level's exchange and d of what Hartree-Fock's differs by: s b + s^2 d.
        difference = whole - 2 * half
        assert quarter == self.close(half / 2 - difference / 8)

    def test_long_range_exchange_is_what_it_is_more(self, model, formamide):
        def exchange(*level):
            return assembled(predicted(model, formamide, LevelOfTheory(*level)), formamide)

        alone, more = exchange(0.0, 0.5, 0.2), exchange(0.0, 0.5, 0.3)
        assert np.abs(alone).max() > 1e-3
        # Beyond the range separations that were learned, in proportion to omega.
        assert more == self.close(1.5 * alone)
        # What Hartree-Fock's exchange differs by goes with the larger share, 0.75 instead of 0.25.
        difference = 2 * (exchange(1.0, 1.0) - 2 * exchange(0.5, 0.5))
        assert exchange(0.25, 0.75, 0.2) - alone == self.close(exchange(0.25, 0.25) + 0.25 * 0.5 * difference)

    def test_short_range_exchange_alone_lacks_the_long_range(self, model, formamide):
        screened, whole, rest = (assembled(predicted(model, formamide, LevelOfTheory(*level)), formamide)
                                 for level in ((0.25, 0.0, 0.11), (0.25, 0.25), (0.0, 0.25, 0.11)))
        assert screened == self.close(whole - rest)

    def test_long_range_exchange_that_was_not_learned_keeps_its_stand_in(self, model, formamide):
        weights = {axis: each for axis, each in model.weights.items() if not axis.startswith("long_range")}
        without = family.PairBlocks(model.card, model.settings, model.atoms, model.pairs, model.ranges, weights,
                                    model.density)
        assert isinstance(predicted(without, formamide, LONG_RANGE), AuxiliaryDensity)
        first, second = (assembled(predicted(without, formamide, level), formamide)
                         for level in (LevelOfTheory(0.25, 0.5, 0.2), LevelOfTheory(0.25, 0.5, 0.4)))
        assert first == pytest.approx(second, abs=1e-12) and first.any()

    def test_a_density_that_is_not_there_is_named(self, model, checkpoint):
        card = json.loads(checkpoint.with_suffix(".json").read_text()) | {"density": "none"}
        with pytest.raises(ModelError, match="no model is called 'none'"):
            load_model(rewritten(checkpoint, card))


def test_blocks_need_no_structure_of_several_atoms():
    atom = Structure(np.array([8]), np.zeros((1, 3)), 0, np.arange(1))
    for target in ("density matrix", "fock matrix"):
        prediction = load_model(trained(target)).predict(atom)
        assert prediction.blocks.pairs == {} and prediction.atoms_not_finite() == []
