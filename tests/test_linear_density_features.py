"""Equivariance of the features and of the whole model, on random contractions and weights."""

import numpy as np
import pytest
from conftest import ao_rotation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyscf import gto
from scipy.spatial.transform import Rotation

from pyscf_mlguess.density_fitting.auxiliary_basis import AUXBASIS, auxiliary_mole
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models.linear_density.design import fit_all_features
from pyscf_mlguess.models.linear_density.features import AceSettings, neighbour_density
from pyscf_mlguess.models.linear_density.model import LinearDensity, settings_for_card
from pyscf_mlguess.models.novelty import Range
from pyscf_mlguess.predictions import AuxiliaryDensity
from pyscf_mlguess.shells import irrep_indices
from pyscf_mlguess.structure import Structure

SETTINGS = AceSettings(elements=(1, 6, 7, 8), radial=4, channels=(4, 3, 3, 2, 2), invariants=3, factors=6,
                       charge_features=2)


@pytest.fixture(scope="module")
def model():
    """Random weights on features fitted to random clusters."""
    rng = np.random.default_rng(5)
    clusters = [Structure(rng.choice([1, 6, 7, 8], 12), rng.normal(scale=3.0, size=(12, 3)), 0, np.arange(12))
                for _ in range(8)]
    features = fit_all_features(clusters, SETTINGS)
    weights = {axis: {} for axis in ("base", "exact_exchange", "triple_zeta")}
    for element, own in features.items():
        density = {l: a[:1] for l, a in neighbour_density(clusters[0], SETTINGS).items()}
        sizes = {l: a.shape[1] for l, a in own(density, np.zeros(1)).items()}
        atom = gto.M(atom=[(int(element), (0, 0, 0))], basis=AUXBASIS, spin=None, verbose=0)
        for l, index in irrep_indices(atom)[0].items():
            for axis in weights:
                weights[axis][element, l] = rng.normal(size=(len(index), sizes[l]))
    ranges = {element: Range(np.ones(f.settings.leading_singles), 1.0) for element, f in features.items()}
    for element, own in features.items():
        ranges[element] = Range(np.ones(len(own.singles[0].matrix) + len(own.pairs[0].matrix)), 1.0)
    card = {"name": "random", "family": "linear-density", "format": 5, "auxbasis": AUXBASIS,
            "elements": sorted(features), "levels": dict.fromkeys(weights, ""), "settings": settings_for_card(SETTINGS)}
    return LinearDensity(card, SETTINGS, features, ranges, weights)


def coefficients(model, mol):
    level = LevelOfTheory(0.2, 0.2, triple_zeta=0.3)
    return model.predict(Structure.from_mol(mol), level).assemble(auxiliary_mole(mol))


def moved(mol, positions):
    new = mol.copy()
    new.set_geom_(positions, unit="Bohr")
    return new


def test_prediction_rotates_with_the_molecule(model, formamide, rotation):
    positions = formamide.atom_coords(unit="Bohr")
    for matrix in (rotation, -np.eye(3), -rotation):
        found = coefficients(model, moved(formamide, positions @ matrix.T + [1.0, -2.0, 0.5]))
        expected = ao_rotation(auxiliary_mole(formamide), matrix) @ coefficients(model, formamide)
        assert found == pytest.approx(expected, abs=1e-10 * np.abs(expected).max())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_any_cluster_rotates(model, seed):
    rng = np.random.default_rng(seed)
    natm = int(rng.integers(2, 9))
    numbers, positions = rng.choice([1, 6, 7, 8], natm), rng.normal(scale=3.0, size=(natm, 3))
    matrix = Rotation.random(random_state=seed).as_matrix()
    first, second = (model.predict(Structure(numbers, r, 1, np.arange(natm)), LevelOfTheory(0.5, 0.5))
                     for r in (positions, positions @ matrix.T))
    mol = gto.M(atom=list(zip(map(int, numbers), positions)), unit="Bohr", basis="sto-3g", spin=None, verbose=0)
    auxmol = auxiliary_mole(mol)
    expected = ao_rotation(auxmol, matrix) @ first.assemble(auxmol)
    assert second.assemble(auxmol) == pytest.approx(expected, abs=1e-9 * max(np.abs(expected).max(), 1.0))


def test_prediction_follows_a_permutation_of_atoms(model, formamide):
    order = [3, 0, 5, 1, 4, 2]
    shuffled = gto.M(atom=[formamide._atom[i] for i in order], unit="Bohr", basis="def2-svp", verbose=0)
    first = model.predict(Structure.from_mol(formamide))
    second = model.predict(Structure.from_mol(shuffled))
    for i, j in enumerate(order):
        for l, block in second.blocks[i].items():
            assert block == pytest.approx(first.blocks[j][l], abs=1e-9 * np.abs(block).max())


def test_unknown_elements_and_lone_atoms_stay_free(model):
    silane = gto.M(atom="Si 0 0 0; H 1 1 1; H -1 -1 1; H -1 1 -1; H 1 -1 -1", basis="def2-svp", verbose=0)
    blocks = model.predict(Structure.from_mol(silane)).blocks
    assert blocks[0] == {} and set(blocks[1]) == {0, 1, 2}
    atom = gto.M(atom="He", basis="def2-svp", verbose=0)
    assert model.predict(Structure.from_mol(atom)).blocks == [{}]


def test_charge_reaches_the_prediction(model, water):
    cation = water.copy()
    cation.charge = 1
    assert not np.allclose(coefficients(model, water), coefficients(model, cation))


def test_tensors_and_back(model, formamide):
    tensors = model.tensors()
    # A file keeps no order.
    shuffled = {name: tensors[name] for name in np.random.default_rng(1).permutation(list(tensors))}
    back = LinearDensity.from_tensors(model.card, shuffled)
    first, second = coefficients(model, formamide), coefficients(back, formamide)
    # Stored in single precision.
    assert second == pytest.approx(first, abs=1e-5 * np.abs(first).max())


def test_assemble_and_split_are_inverse(model, formamide):
    auxmol = auxiliary_mole(formamide)
    prediction = model.predict(Structure.from_mol(formamide))
    vector = np.random.default_rng(0).normal(size=auxmol.nao)
    assert prediction.split(AUXBASIS, vector, auxmol).assemble(auxmol) == pytest.approx(vector, abs=0)
    free = AuxiliaryDensity.free_atoms(formamide.natm)
    assert not free.assemble(auxmol).any() and free.atoms_not_finite() == [] and not free.novelty.any()
    with pytest.raises(ValueError, match="6 atoms"):
        prediction.assemble(auxiliary_mole(gto.M(atom="H 0 0 0; H 0 0 1", verbose=0)))


def test_features_are_finite_far_beyond_and_at_the_cutoff():
    pair = Structure(np.array([6, 6]), np.array([[0, 0, 0], [0, 0, SETTINGS.cutoff - 1e-9]]), 0, np.arange(2))
    far = Structure(np.array([6, 6]), np.array([[0, 0, 0], [0, 0, 50.0]]), 0, np.arange(2))
    for l, block in neighbour_density(pair, SETTINGS).items():
        assert np.abs(block).max() < 1e-12
        assert not neighbour_density(far, SETTINGS)[l].any()
