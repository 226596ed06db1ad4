"""Molecule files are read as written, and the shipped set is what it says."""

import h5py
import numpy as np
import pytest
from pyscf import gto

from pyscf_mlguess.benchmark.molecules import Molecule, MoleculeFileError, load_set, read_xyz, write_xyz

WATER = Molecule("water", ("O", "H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.757, 0.587), (0.0, -0.757, 0.587)))
OH = Molecule("OH", ("O", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.97)), multiplicity=2)


def test_xyz_round_trip(tmp_path):
    hydroxide = Molecule("OH-", OH.symbols, OH.positions, charge=-1, smiles="[OH-]")
    write_xyz(tmp_path / "set.xyz", [WATER, OH, hydroxide])
    assert read_xyz(tmp_path / "set.xyz") == [WATER, OH, hydroxide]


def test_plain_xyz_frames_are_named_after_the_file(tmp_path):
    (tmp_path / "two.xyz").write_text("2\n\nH 0 0 0\nh 0 0 0.74\n\n1\nhelium\nHE 0 0 0\n\n")
    assert [(m.name, m.symbols) for m in load_set(tmp_path / "two.xyz")] == [
        ("two_1", ("H", "H")), ("two_2", ("He",))]


@pytest.mark.parametrize("text, message", [
    ("", "no molecule"),
    ("two\n\n", "line 1: expected the number of atoms, found 'two'"),
    ("0\n\n", "line 1: a molecule of 0 atoms"),
    ("1\n\nHe 0 0 0\n2\n\nHe 0 0 0\n", "line 6: the file ends within a molecule of 2 atoms"),
    ("1\n\nHe 0 0\n", "line 3: expected an element and three coordinates, found 'He 0 0'"),
    ("1\n\nXy 0 0 0\n", "line 3: unknown element 'Xy'"),
    ("1\n\nHe 0 0 zero\n", "line 3: expected a coordinate, found 'zero'"),
    ("1\n\nHe 0 0 nan\n", "line 3: a coordinate is not finite"),
    ("1\ncharge=one\nHe 0 0 0\n", "line 2: expected charge=, found 'one'"),
    ("1\n\nH 0 0 0\n", "line 2: 1 electrons cannot have multiplicity 1"),
    ("1\nmultiplicity=0\nHe 0 0 0\n", "line 2: 2 electrons cannot have multiplicity 0"),
    ("1\nname=a\nHe 0 0 0\n1\nname=a\nHe 0 0 1\n", "the name 'a' occurs twice"),
])
def test_bad_xyz_names_file_and_line(tmp_path, text, message):
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    with pytest.raises(MoleculeFileError, match="bad.xyz") as error:
        load_set(path)
    assert message in str(error.value)


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "bad.xyz").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MoleculeFileError, match="not a text file"):
        read_xyz(tmp_path / "bad.xyz")


def test_a_missing_file_names_the_shipped_sets():
    with pytest.raises(FileNotFoundError, match="reference_unseen"):
        load_set("no_such_set")


def test_core_potentials_come_with_def2():
    iodide = Molecule("I-", ("I",), ((0.0, 0.0, 0.0),), charge=-1)
    assert iodide.mol("def2-svp").nelectron == 26
    assert WATER.mol("def2-svp").nelectron == 10


def test_the_shipped_molecules_are_unseen():
    pytest.importorskip("rdkit")
    from pyscf_mlguess.training.split import split_of

    molecules = load_set("reference_unseen")
    assert len(molecules) >= 50
    assert {split_of(molecule.smiles) for molecule in molecules} == {"test"}


def test_the_unseen_set_is_the_test_split_in_angstrom(tmp_path):
    pytest.importorskip("rdkit")
    from pyscf_mlguess.benchmark.unseen import write_unseen

    seen, unseen = "CCO", "NC(=O)C1CN1"
    with h5py.File(tmp_path / "reference.h5", "w") as file:
        for name, smiles in [("0", seen), ("1", unseen)]:
            group = file.create_group(name)
            group.attrs.update(smiles=smiles, charge=-1, spin=0)
            group["atomic_numbers"] = [8, 1]
            group["positions_bohr"] = gto.M(atom="O 0 0 0; H 0 0 0.97", charge=-1, verbose=0).atom_coords()
    write_unseen(tmp_path / "reference.h5", tmp_path / "unseen.xyz")
    (molecule,) = load_set(tmp_path / "unseen.xyz")
    assert (molecule.name, molecule.smiles, molecule.charge, molecule.symbols) == ("1", unseen, -1, ("O", "H"))
    assert np.allclose(molecule.positions, OH.positions, atol=1e-6)
