"""Features of atoms and of pairs of atoms: symmetries, and what they are where neighbours end."""

import numpy as np
import pytest
from conftest import irrep_rotation
from small_pair_blocks import KEPT, SETTINGS

from pyscf_mlguess.block_irreps import BlockBasis
from pyscf_mlguess.blocks import Sites
from pyscf_mlguess.couplings import clebsch_gordan
from pyscf_mlguess.models.pair_blocks.design import Sources, fit_features
from pyscf_mlguess.models.pair_blocks.features import (
    LMAX,
    bond_functions,
    charges,
    couple,
    densities,
    site_parts,
)
from pyscf_mlguess.structure import Structure

ELEMENTS = (1, 6, 7, 8)


def cluster(seed, natm=12, charge=1):
    rng = np.random.default_rng(seed)
    return Structure(rng.choice(ELEMENTS, natm), rng.normal(scale=3.0, size=(natm, 3)), charge, np.arange(natm))


@pytest.fixture(scope="module")
def features():
    """Fitted to random clusters."""
    sources = Sources([cluster(seed) for seed in range(16)], SETTINGS)
    found = fit_features(sources, BlockBasis.of(ELEMENTS, "sto-3g"), *KEPT, progress=False)
    assert found.atoms.keys() == set(ELEMENTS) and len(found.pairs) == 10
    return found


def of_atoms(features, structure):
    """{element: {(l, parity): (natm, n, 2l+1)}}."""
    density, charge, found = densities([structure], SETTINGS), charges([structure]), {}
    for element, atoms in Sites.of(structure, SETTINGS.reach).atoms.items():
        parts = site_parts(features.atoms[element], {l: a[atoms] for l, a in density.items()}, charge[atoms])
        found[element] = {key: np.concatenate(values, axis=1) for key, values in parts.items()}
    return found


def of_pairs(features, structure, turned=False):
    """{(species, exchange): {(l, parity): (npairs, n, 2l+1)}}; ``turned``: with the second atom first."""
    density, charge, found = densities([structure], SETTINGS), charges([structure]), {}
    sites = Sites.of(structure, SETTINGS.reach)
    coupled = {z: features.atoms[z].coupled({l: a[atoms] for l, a in density.items()})
               for z, atoms in sites.atoms.items()}
    for species, which in sites.species_pairs.items():
        first, second = ({l: a[np.searchsorted(sites.atoms[z], atoms[which])] for l, a in coupled[z].items()}
                         for z, atoms in zip(species, (sites.pairs.first, sites.pairs.second)))
        vectors = sites.pairs.vectors[which]
        given = (second, first, -vectors) if turned else (first, second, vectors)
        for exchange in (1, -1) if species[0] == species[1] else (0,):
            parts = features.pairs[species].parts(*given, charge[sites.pairs.first[which]], exchange)
            found[species, exchange] = {key: np.concatenate(values, axis=1) for key, values in parts.items()}
    return found


@pytest.mark.parametrize("kind", [of_atoms, of_pairs])
@pytest.mark.parametrize("proper, inverted", [(True, False), (False, True), (True, True)])
def test_features_rotate_and_invert(kind, proper, inverted, features, rotation):
    structure, matrix = cluster(99, 8), rotation if proper else np.eye(3)
    moved = structure.positions @ matrix.T * (-1 if inverted else 1) + [1.0, -2.0, 0.5]
    before, after = (kind(features, Structure(structure.numbers, positions, 1, structure.atoms))
                     for positions in (structure.positions, moved))
    assert before.keys() == after.keys()
    for place, irreps in before.items():
        assert {(l, parity) for l in range(LMAX + 1) for parity in (1, -1)} - irreps.keys() <= {(0, -1)}
        for (l, parity), values in irreps.items():
            expected = values @ irrep_rotation(l, matrix).T * (parity if inverted else 1)
            largest = np.abs(expected).max()
            assert largest > 0 and after[place][l, parity] == pytest.approx(expected, abs=1e-9 * largest)


def test_exchange_of_two_atoms_of_one_element_gives_the_sign(features):
    forth, back = (of_pairs(features, cluster(99, 8), turned) for turned in (False, True))
    seen = set()
    for (species, exchange), irreps in forth.items():
        for key, values in irreps.items():
            if exchange:
                assert back[species, exchange][key] == pytest.approx(exchange * values, abs=1e-12)
                seen.add(exchange)
    assert seen == {1, -1}


def test_a_permutation_of_atoms_permutes_features(features):
    structure = cluster(99, 8)
    order = np.random.default_rng(2).permutation(len(structure))
    shuffled = Structure(structure.numbers[order], structure.positions[order], 1, structure.atoms)
    before, after = of_atoms(features, structure), of_atoms(features, shuffled)
    for element, irreps in before.items():
        own = np.flatnonzero(structure.numbers == element)
        rows = [list(own).index(order[atom]) for atom in np.flatnonzero(shuffled.numbers == element)]
        for key, values in irreps.items():
            assert after[element][key] == pytest.approx(values[rows], abs=1e-10 * max(np.abs(values).max(), 1.0))


@pytest.mark.parametrize("first, second", [(6, 8), (6, 6)])
def test_features_of_a_pair_end_smoothly_at_the_reach(first, second, features):
    def largest(distance):
        # A third atom, so that there is more than the bond.
        positions = np.array([[0, 0, 0], [0, 0, distance], [0.9, 0.3, -1.6]])
        structure = Structure(np.array([first, second, 1]), positions, 1, np.arange(3))
        return max(np.abs(values).max() for (species, _), irreps in of_pairs(features, structure).items()
                   if species == (first, second) for values in irreps.values())

    near, nearer = largest(SETTINGS.reach - 2e-2), largest(SETTINGS.reach - 1e-2)
    # As the third power: with two derivatives.
    assert near / nearer == pytest.approx(8, rel=0.05) and 0 < near < 1e-5 * largest(4.0)


def test_radial_functions_of_the_bond_are_zero_with_two_derivatives_at_the_reach():
    step = 1e-3
    values = bond_functions(SETTINGS.reach - step * np.arange(3), SETTINGS)
    assert values.shape == (3, SETTINGS.bond_radial) and np.abs(values[0]).max() < 1e-15
    assert np.abs(values).max() < 10 * step**3


def test_an_atom_without_neighbours_has_invariants_alone(features):
    alone = Structure(np.array([6, 8]), np.array([[0, 0, 0], [0, 0, SETTINGS.reach + 1.0]]), 0, np.arange(2))
    assert of_pairs(features, alone) == {}
    for density in densities([alone], SETTINGS).values():
        assert not density.any()
    for irreps in of_atoms(features, alone).values():
        assert all(not values.any() for (l, parity), values in irreps.items() if (l, parity) != (0, 1))
        assert np.isfinite(irreps[0, 1]).all() and irreps[0, 1][0, -1, 0] == 1


@pytest.mark.parametrize("first, second", [(1, 6), (7, 7)])
def test_an_isolated_pair_has_only_tensors_along_the_bond(first, second, features):
    structure = Structure(np.array([first, second]), np.array([[0, 0, 0], [0, 0, 2.1]]), 0, np.arange(2))
    for (_, exchange), irreps in of_pairs(features, structure).items():
        for (l, parity), values in irreps.items():
            along = np.arange(2 * l + 1) == l
            assert np.abs(values[:, :, ~along]).max(initial=0.0) < 1e-12
            # Two atoms of one element have a centre of inversion: what exchange does, inversion does.
            none = parity != (-1) ** l or exchange * parity == -1
            assert (np.abs(values).max() < 1e-12) == none


@pytest.mark.parametrize("l1, l2, l", [(0, 2, 2), (1, 1, 1), (2, 1, 3), (2, 2, 4), (3, 2, 2)])
def test_products_are_those_of_clebsch_gordan(l1, l2, l):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(5, 3, 2 * l1 + 1)), rng.normal(size=(5, 2, 2 * l2 + 1))
    expected = np.einsum("iam,ibn,mnk->iabk", first, second, clebsch_gordan(l1, l2, l))
    found = couple(first, second, l1, l2, l)
    assert found == pytest.approx(expected.reshape(5, 6, 2 * l + 1), abs=1e-13)
    if l1 == l2:
        # Why one triangle of channels is enough, and of odd l without its diagonal.
        square = couple(first, first, l1, l1, l).reshape(5, 3, 3, -1)
        assert square == pytest.approx((-1) ** l * square.transpose(0, 2, 1, 3), abs=1e-13)


def test_no_product_of_two_densities_is_always_zero(features):
    density = densities([cluster(99, 8)], SETTINGS)
    atom = features.atoms[6]
    for values in atom.products(atom.leading_singles(density)).values():
        assert np.abs(values).max(axis=(0, 2)).min() > 1e-12 * np.abs(values).max()


def test_no_charge_no_charge_features(features):
    charged, neutral = (of_atoms(features, cluster(99, 8, charge)) for charge in (1, 0))
    assert any(not np.allclose(charged[z][key], neutral[z][key]) for z in charged for key in charged[z])
    twice = of_atoms(features, cluster(99, 8, 2))
    for element, irreps in neutral.items():
        for key, values in irreps.items():
            assert twice[element][key] - values == pytest.approx(2 * (charged[element][key] - values), abs=1e-12)
