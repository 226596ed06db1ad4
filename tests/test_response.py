import numpy as np
import pytest
from conftest import ao_rotation

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.shells import irrep_indices
from pyscf_mlguess.structure import element_numbers


@pytest.fixture
def learned(formamide):
    """A random response for the elements of formamide."""
    rng = np.random.default_rng(5)
    numbers, layouts = element_numbers(formamide), irrep_indices(auxiliary_mole(formamide))
    return Response(0.4, {(int(z), l): rng.normal(size=(len(index), 2 * len(index)))
                     for z, layout in zip(numbers, layouts) for l, index in layout.items()})


def correction(mol, response, residual):
    auxmol = auxiliary_mole(mol)
    return response.correction(element_numbers(mol), auxmol, residual, auxmol.intor("int2c2e"))


def test_the_correction_turns_with_the_molecule(formamide, learned, rotation):
    turned = formamide.copy().set_geom_(formamide.atom_coords() @ rotation.T, unit="Bohr")
    residual = np.random.default_rng(6).normal(size=auxiliary_mole(formamide).nao)
    wigner = ao_rotation(auxiliary_mole(formamide), rotation)
    before, after = correction(formamide, learned, residual), correction(turned, learned, wigner @ residual)
    assert after == pytest.approx(wigner @ before, abs=1e-10 * np.abs(before).max())


def test_the_correction_does_not_depend_on_the_order_of_atoms(formamide, learned):
    order = [3, 0, 5, 1, 2, 4]
    atoms = [(formamide.atom_symbol(i), formamide.atom_coord(i)) for i in order]
    shuffled = formamide.copy()
    shuffled.build(atom=atoms, unit="Bohr")
    residual = np.random.default_rng(7).normal(size=auxiliary_mole(formamide).nao)
    slices = auxiliary_mole(formamide).aoslice_by_atom()[:, 2:]
    moved = np.concatenate([np.arange(*slices[i]) for i in order])
    found = correction(shuffled, learned, residual[moved])
    expected = correction(formamide, learned, residual)[moved]
    assert found == pytest.approx(expected, abs=1e-10 * np.abs(expected).max())


def test_elements_that_were_not_learned_take_the_plain_factor(formamide, learned):
    residual = np.random.default_rng(8).normal(size=auxiliary_mole(formamide).nao)
    assert correction(formamide, Response(0.3), residual) == pytest.approx(0.3 * residual)
    without = Response(0.4, {key: matrix for key, matrix in learned.matrices.items() if key[0] != 8})
    found = correction(formamide, without, residual)
    start, stop = auxiliary_mole(formamide).aoslice_by_atom()[1, 2:]
    assert np.array_equal(found[start:stop], 0.4 * residual[start:stop])
    assert np.array_equal(found[:start], correction(formamide, learned, residual)[:start])
