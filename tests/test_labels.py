"""A label is the fit of a converged density, and what has none is an error with its reason."""

from dataclasses import replace

import numpy as np
import pytest
from pyscf import dft
from scipy.spatial.distance import pdist, squareform

from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients
from pyscf_mlguess.labels.calculation import (
    LabelError,
    calculate,
    displaced,
    label_of_orbitals,
    stretched,
)
from pyscf_mlguess.molecules.label import Label, Level, molecule_of
from pyscf_mlguess.molecules.label_files import read_labels, write_labels
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.orbital_files import level_of_orbitals

PBE = Level("pbe", "def2-svp")
WATER = Molecule("water", ("O", "H", "H"), ((0.0, 0.0, 0.1), (0.0, 0.757, 0.587), (0.0, -0.757, 0.587)), smiles="O")
FLUORIDE = Molecule("HF", ("H", "F"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.92)), smiles="F")


def converged(molecule, basis="def2-svp"):
    mf = dft.RKS(molecule.mol(basis), xc="pbe").density_fit()
    mf.grids.level = 1
    return mf.run(conv_tol=1e-10)


def relative_error(coefficients, dm, mol):
    """Coulomb energy of the error over that of the free atoms' error."""
    fitting = DensityFitting(mol)
    exact = fitting.fit(np.asarray(dm))

    def energy(vector):
        return vector @ fitting.metric.matrix @ vector

    return energy(coefficients - exact) / energy(free_atom_coefficients(fitting.auxmol) - exact)


@pytest.fixture(scope="module")
def entry():
    """Converged orbitals of water as a reference file holds them."""
    mf = converged(WATER)
    orbitals = mf.mo_coeff[:, mf.mo_occ > 0]
    return Label("water", "O", 0, mf.mol.atom_charges(), mf.mol.atom_coords(), {},
                 orbitals={"pbe/def2-svp": orbitals})


@pytest.mark.parametrize("method, molecule, limit", [("cheap", WATER, 1e-5), ("scf", FLUORIDE, 1e-9)])
def test_a_label_is_the_fit_of_the_converged_density(method, molecule, limit):
    label = calculate(molecule, [PBE], method)
    mf = converged(molecule)
    assert relative_error(label.coefficients["pbe/def2-svp"], mf.make_rdm1(), mf.mol) < limit
    assert label.gradients["pbe/def2-svp"] < 2e-3
    assert (label.name, label.smiles, label.charge) == (molecule.name, molecule.smiles, 0)
    assert label.numbers.tolist() == mf.mol.atom_charges().tolist()
    assert label.positions == pytest.approx(mf.mol.atom_coords(), abs=1e-6) and label.positions.dtype == np.float32


@pytest.mark.parametrize("method", ["cheap", "scf"])
def test_stored_orbitals_give_the_density_and_its_fit_back(method, tmp_path):
    write_labels(tmp_path / "labels.h5", [calculate(WATER, [PBE, Level("hf", "sto-3g")], method, orbitals=True)])
    (label,) = read_labels(tmp_path / "labels.h5")
    assert label.orbitals.keys() == label.coefficients.keys()
    for level, orbitals in label.orbitals.items():
        mol = molecule_of(label).mol(Level.parse(level).basis)
        dm = 2 * orbitals.astype(float) @ orbitals.T.astype(float)
        ovlp = mol.intor("int1e_ovlp")
        assert orbitals.dtype == np.float32 and orbitals.shape == (mol.nao, 5)
        assert np.vdot(dm, ovlp) == pytest.approx(mol.nelectron, abs=1e-5)
        assert dm @ ovlp @ dm == pytest.approx(2 * dm, abs=1e-5)
        assert relative_error(label.coefficients[level], dm, mol) < 1e-9
    assert calculate(FLUORIDE, [Level("hf", "sto-3g")], method).orbitals == {}


def test_several_levels_and_the_geometry_that_was_stored():
    label = calculate(WATER, [PBE, Level("hf", "def2-svp"), Level("hf", "sto-3g")])
    assert list(label.coefficients) == ["pbe/def2-svp", "hf/def2-svp", "hf/sto-3g"]
    # Further levels start from a label's positions and must find the same ones again.
    again = calculate(molecule_of(label), [Level("hf", "sto-3g")])
    assert np.array_equal(again.positions, label.positions)
    assert again.coefficients["hf/sto-3g"] == pytest.approx(label.coefficients["hf/sto-3g"], abs=1e-4)


@pytest.mark.parametrize("molecule, reason", [
    (Molecule("methyl", ("C", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 1.1)), 0, 2), "multiplicity 2"),
    (replace(FLUORIDE, positions=((0.0, 0.0, 0.0), (0.0, 0.0, 0.01))), "on top of each other"),
    (Molecule("proton", ("H",), ((0.0, 0.0, 0.0),), 1), "0 electrons"),
])
def test_what_cannot_be_labelled_has_a_reason(molecule, reason):
    with pytest.raises(LabelError, match=reason):
        calculate(molecule, [PBE])


def test_a_level_that_does_not_converge_is_named(monkeypatch):
    monkeypatch.setattr("pyscf_mlguess.labels.calculation._CHEAP_GRADIENT", 1e-14)
    with pytest.raises(LabelError, match="hf/sto-3g: the cheap problem stopped at a gradient of"):
        calculate(FLUORIDE, [Level("hf", "sto-3g")])


def test_noise_belongs_to_the_molecule():
    moved = displaced(WATER, 0.05)
    assert moved == displaced(WATER, 0.05) and moved.fingerprint != WATER.fingerprint
    steps = np.subtract(moved.positions, WATER.positions)
    assert 0.01 < np.abs(steps).max() < 0.2
    assert displaced(WATER, 0.0).fingerprint == WATER.fingerprint
    assert np.subtract(displaced(WATER, 0.1).positions, WATER.positions) == pytest.approx(2 * steps)


ETHANE = Molecule("ethane", tuple("CCHHHHHH"), (
    (0.0, 0.0, 0.76), (0.0, 0.0, -0.76), (1.02, 0.0, 1.16), (-0.51, 0.88, 1.16), (-0.51, -0.88, 1.16),
    (-1.02, 0.0, -1.16), (0.51, 0.88, -1.16), (0.51, -0.88, -1.16)))
THREE_RING = Molecule("three-membered ring", tuple("CCC"), ((0.0, 0.0, 0.0), (1.4, 0.0, 0.0), (0.7, 1.2, 0.0)))


def test_one_bond_outside_rings_is_stretched_and_nothing_else_changes():
    before, after = (squareform(pdist(m.positions)) for m in (ETHANE, stretched(ETHANE, 0.2)))
    ratio = (after / np.where(before, before, 1))[np.triu(before < 1.8, 1) & (before > 0)]
    bonds = ratio[ratio > 0]
    assert sum(bonds > 1.19) == 1 and bonds.max() == pytest.approx(1.2)
    assert sum(np.isclose(bonds, 1.0, atol=1e-12)) >= 6
    assert stretched(ETHANE, 0.0) is ETHANE and stretched(THREE_RING, 0.2) is THREE_RING
    shares = [np.abs(np.subtract(stretched(ETHANE, x).positions, ETHANE.positions)).max() for x in (0.1, 0.3)]
    assert shares[1] == pytest.approx(3 * shares[0])


def test_level_parse():
    assert Level.parse(" PBE/def2-SVP ") == PBE and str(PBE) == "pbe/def2-svp"
    for text in ("pbe", "/def2-svp", "pbe/", ""):
        with pytest.raises(ValueError, match="not functional/basis"):
            Level.parse(text)


def test_orbitals_are_fitted_without_an_scf(entry):
    label = label_of_orbitals(entry)
    orbitals = entry.orbitals["pbe/def2-svp"]
    dm = 2 * orbitals @ orbitals.T
    assert relative_error(label.coefficients["pbe/def2-svp"], dm, WATER.mol("def2-svp")) < 1e-10
    assert label.gradients == label.orbitals == {} and (label.name, label.smiles) == ("water", "O")
    (kept,) = label_of_orbitals(entry, keep=True).orbitals.values()
    assert kept.dtype == np.float32 and kept == pytest.approx(orbitals, abs=1e-6)
    assert level_of_orbitals("HF", "Def2-SVP") == Level("hf", "def2-svp")
    assert level_of_orbitals("pbe_def2-tzvp", "def2-svp") == Level("pbe", "def2-tzvp")


def test_orbitals_of_another_basis_or_molecule_are_noticed(entry):
    with pytest.raises(LabelError, match="pbe/sto-3g: orbitals of 24 basis functions, where the basis has 7"):
        label_of_orbitals(replace(entry, orbitals={"pbe/sto-3g": entry.orbitals["pbe/def2-svp"]}))
    with pytest.raises(LabelError, match="pbe/def2-svp: the orbitals hold 10.000 electrons, not 8"):
        label_of_orbitals(replace(entry, charge=2))
