import numpy as np
import pytest
from pyscf import gto

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.density_fitting.free_atoms import free_atom, free_atom_coefficients
from pyscf_mlguess.density_fitting.metric import function_integrals


@pytest.mark.parametrize("number, core", [(1, 0), (6, 0), (17, 0), (26, 0), (53, 28), (53, 0), (79, 60)])
def test_free_atoms_hold_their_valence_electrons(number, core):
    mol = gto.M(atom=gto.mole._symbol(number), basis="sto-3g" if number < 50 else "def2-svp",
                ecp={} if core == 0 else "def2-svp", spin=None, verbose=0)
    auxmol = auxiliary_mole(mol)
    assert function_integrals(auxmol) @ free_atom(number, mol.atom_nelec_core(0)) == pytest.approx(
        number - mol.atom_nelec_core(0), abs=1e-8)


def test_ghosts_carry_nothing():
    mol = gto.M(atom="O 0 0 0; H 0 0 1; H 0 1 0; Ghost-O 0 0 3", basis="def2-svp", verbose=0)
    auxmol = auxiliary_mole(mol)
    assert auxmol.natm == 3
    assert DensityFitting(mol, auxmol).charges @ free_atom_coefficients(auxmol) == pytest.approx(10.0)


def test_beyond_the_auxiliary_basis_is_a_clear_error():
    with pytest.raises(ValueError, match="element 92"):
        auxiliary_mole(gto.M(atom="U", basis={"U": [[0, [1.0, 1.0]]]}, spin=None, verbose=0))


def test_all_electron_heavy_atom_gets_its_core():
    light = gto.M(atom="I", basis={"I": gto.basis.load("def2-svp", "I")}, ecp="def2-svp", spin=1, verbose=0)
    heavy = gto.M(atom="I", basis={"I": gto.basis.load("ano", "I")}, spin=1, verbose=0)
    assert len(free_atom(53, 0)) > len(free_atom(53, 28))
    assert np.isclose(function_integrals(auxiliary_mole(heavy)) @ free_atom_coefficients(auxiliary_mole(heavy)), 53)
    assert np.isclose(function_integrals(auxiliary_mole(light)) @ free_atom_coefficients(auxiliary_mole(light)), 25)


SULFIDE = "C 0 0 0; S 0 0 1.6; H 0 0.9 -0.6; H 0 -0.9 -0.6"


@pytest.mark.parametrize("basis, smaller", [
    ("def2-svp", "CHH"), ("6-31g**", "CHH"), ("cc-pvdz", "CHH"), ("sto-3g", "CHH"),
    ("def2-tzvp", ""), ("def2-svpd", ""), ("6-31++g**", "")])
def test_changes_take_fewer_functions_where_orbitals_are_few(basis, smaller):
    mol = gto.M(atom=SULFIDE, basis=basis, verbose=0)
    whole, changes = (auxiliary_mole(mol, changes).aoslice_by_atom() for changes in (False, True))
    counts = np.array([whole[:, 3] - whole[:, 2], changes[:, 3] - changes[:, 2]])
    assert "".join(mol.atom_pure_symbol(i) for i in np.flatnonzero(counts[1] < 0.8 * counts[0])) == smaller
    assert not (counts[1] > counts[0]).any()


def test_atoms_of_one_element_may_differ_in_their_functions_for_changes():
    mol = gto.M(atom="C1 0 0 0; C2 0 0 1.2; ghost-C2 0 0 4", basis={"C1": "def2-svp", "C2": "def2-tzvp"}, verbose=0)
    small, large = np.diff(auxiliary_mole(mol, changes=True).aoslice_by_atom()[:, 2:]).ravel()
    assert small < large == auxiliary_mole(mol).nao / 2
