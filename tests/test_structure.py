import numpy as np
import pytest
from pyscf import gto

from pyscf_mlguess.structure import Structure, pairs


def cloud(natm, seed=0):
    rng = np.random.default_rng(seed)
    return Structure(rng.choice([1, 6, 8], natm), rng.normal(scale=3.0, size=(natm, 3)), 0, np.arange(natm))


@pytest.mark.parametrize("cutoff", [0.1, 3.0, 6.0, np.inf])
def test_pairs_are_all_within_the_cutoff_in_order(cutoff):
    structure = cloud(25)
    found = pairs(structure, cutoff)
    distances = np.linalg.norm(structure.positions[:, None] - structure.positions, axis=2)
    first, second = np.nonzero((distances <= cutoff) & ~np.eye(25, dtype=bool))
    assert np.array_equal(found.first, first) and np.array_equal(found.second, second)
    assert structure.positions[first] + found.vectors == pytest.approx(structure.positions[second], abs=1e-14)
    assert found.distances == pytest.approx(distances[first, second], abs=1e-14)


def test_reverse_is_the_same_pair_from_the_other_side():
    found = pairs(cloud(25), 5.0)
    assert len(found) > 50
    assert np.array_equal(found.first[found.reverse], found.second)
    assert np.array_equal(found.second[found.reverse], found.first)
    assert np.array_equal(found.vectors[found.reverse], -found.vectors)


def test_the_cutoff_itself_is_within_and_in_bohr():
    mol = gto.M(atom="O 0 0 0; Ghost-H 0 0 1; H 0 0 2; H 0 0 5", unit="Bohr", basis="sto-3g", verbose=0)
    found = pairs(Structure.from_mol(mol), 3.0)
    assert list(zip(found.first, found.second)) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert np.array_equal(found.vectors[:2], [[0, 0, 2.0], [0, 0, -2.0]])


@pytest.mark.parametrize("natm", [0, 1])
def test_no_pairs_without_two_atoms(natm):
    found = pairs(cloud(natm), np.inf)
    assert len(found) == 0 and found.vectors.shape == (0, 3) and found.distances.shape == (0,)
