"""Molecule files are read as written; the bad molecules of a file do not take the good ones with them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyscf_mlguess.benchmark.sets import load_set
from pyscf_mlguess.molecules.files import read_molecules
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.smiles import molecule_key
from pyscf_mlguess.molecules.xyz import MoleculeFileError, read_xyz, write_xyz

WATER = Molecule("water", ("O", "H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.757, 0.587), (0.0, -0.757, 0.587)))
OH = Molecule("OH", ("O", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.97)), multiplicity=2)
HELIUM = "1\nname={}\nHe 0 0 0\n"

TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters='"'), max_size=12)
COORDINATE = st.integers(-10**8, 10**8).map(lambda i: i / 10**6)
MOLECULE = st.builds(
    Molecule, name=TEXT, symbols=st.just(("Fe", "H")), positions=st.tuples(*[st.tuples(*[COORDINATE] * 3)] * 2),
    charge=st.sampled_from([-1, 1]), multiplicity=st.sampled_from([1, 3, 5]), smiles=TEXT, inchikey=TEXT, path=TEXT)


@settings(deadline=None, max_examples=50)
@given(molecules=st.lists(MOLECULE, min_size=1, max_size=3, unique_by=lambda molecule: molecule.name))
def test_xyz_round_trip(tmp_path_factory, molecules):
    path = tmp_path_factory.mktemp("xyz") / "set.xyz"
    write_xyz(path, molecules)
    assert read_xyz(path) == molecules
    assert read_molecules(path) == (molecules, [])


@pytest.mark.parametrize("text", ['a"b', "a\nb"])
def test_texts_that_would_break_the_comment_line_are_not_written(tmp_path, text):
    with pytest.raises(ValueError, match="comment line"):
        write_xyz(tmp_path / "set.xyz", [Molecule(text, WATER.symbols, WATER.positions)])


def test_plain_xyz_frames_are_named_after_the_file(tmp_path):
    (tmp_path / "two.xyz").write_text("2\n\nH 0 0 0\nh 0 0 0.74\n\n1\nhelium\nHE 0 0 0\n\n")
    molecules, errors = load_set(tmp_path / "two.xyz")
    assert [(m.name, m.symbols) for m in molecules] == [("two_1", ("H", "H")), ("two_2", ("He",))]
    assert not errors


@pytest.mark.parametrize("text, message", [
    ("", "no molecule"),
    ("two\n\n", "line 1: expected the number of atoms, found 'two'"),
    ("0\n\n", "line 1: a molecule of 0 atoms"),
    ("2\n\nHe 0 0 0\n", "line 3: the file ends within a molecule of 2 atoms"),
    ("1\n\nHe 0 0\n", "line 3: expected an element and three coordinates, found 'He 0 0'"),
    ("1\n\nXy 0 0 0\n", "line 3: unknown element 'Xy'"),
    ("1\n\nHe 0 0 zero\n", "line 3: expected a coordinate, found 'zero'"),
    ("1\n\nHe 0 0 nan\n", "line 3: a coordinate is not finite"),
    ("1\ncharge=one\nHe 0 0 0\n", "line 2: expected charge=, found 'one'"),
    ("1\n\nH 0 0 0\n", "line 2: 1 electrons cannot have multiplicity 1"),
    ("1\nmultiplicity=0\nHe 0 0 0\n", "line 2: 2 electrons cannot have multiplicity 0"),
])
@pytest.mark.parametrize("read", [read_xyz, read_molecules])
def test_a_file_without_a_good_molecule_raises(tmp_path, text, message, read):
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    with pytest.raises(MoleculeFileError, match="bad.xyz") as error:
        read(path)
    assert message in str(error.value)


@pytest.mark.parametrize("bad, line", [
    ("2\n\nHe 0 0 0\nHe 0 0 x\n", 7),
    ("two\n\nHe 0 0 0\n", 4),
    ("-1\n\nHe 0 0 0\n", 4),
    ("3\n\nHe 0 0 0\nHe 0 0 1\n", 8),  # an atom is missing
    ("1\n\nHe 0 0 0\nHe 0 0 1\n", 7),  # an atom too many: the frame itself is good
    ("9\n\nHe 0 0 0\n", 9),  # runs over the end of the file
    ("1\ncharge=1\nHe 0 0 0\n\n\n", 5),  # blank lines after it
    ("hello\n", 4),
])
def test_reading_goes_on_after_a_bad_frame(tmp_path, bad, line):
    path = tmp_path / "some.xyz"
    path.write_text(HELIUM.format("first") + bad + HELIUM.format("last"))
    molecules, (error,) = load_set(path)
    assert [m.name for m in molecules if not m.name.startswith("some_")] == ["first", "last"]
    assert str(error).startswith(f"{path}, line {line}: ")
    with pytest.raises(MoleculeFileError, match="some.xyz"):
        read_xyz(path)


@settings(deadline=None)
@given(text=st.lists(st.sampled_from(["1", "2", "", "He 0 0 0", "name=a", "H 0 0", "x", "²", "9" * 30])).map("\n".join))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "any.xyz"
    path.write_text(text, encoding="utf-8")
    try:
        molecules, errors = read_molecules(path)
    except MoleculeFileError:
        return
    assert molecules and all(isinstance(error, MoleculeFileError) for error in errors)


def test_the_second_molecule_of_a_name_is_an_error(tmp_path):
    path = tmp_path / "same.xyz"
    path.write_text(HELIUM.format("a") + HELIUM.format("a") + HELIUM.format("b"))
    molecules, (error,) = read_molecules(path)
    assert [m.name for m in molecules] == ["a", "b"]
    assert str(error) == f"{path}, line 5: the name 'a' occurs twice"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"1\n\nHe 0 0 0\n\x00"])
@pytest.mark.parametrize("suffix", ["xyz", "smi"])
def test_a_file_that_is_not_text(tmp_path, content, suffix):
    (tmp_path / f"bad.{suffix}").write_bytes(content)
    with pytest.raises(MoleculeFileError, match="not a text file"):
        read_molecules(tmp_path / f"bad.{suffix}")


def test_a_missing_file_names_the_shipped_sets():
    with pytest.raises(FileNotFoundError, match="qm9_size"):
        load_set("no_such_set")


def test_smiles_file(tmp_path):
    path = tmp_path / "list.smi"
    path.write_text("# SMILES and name\nO water\n\n[O-]C=O\tformate\tfurther\n[CH3]\nC1CC nonsense\n"
                    "[O][O] dioxygen\nN water\n")
    molecules, errors = load_set(path)
    assert [(m.name, m.charge, m.multiplicity, len(m.symbols)) for m in molecules] == [
        ("water", 0, 1, 3), ("formate", -1, 1, 4), ("list_5", 0, 2, 4), ("dioxygen", 0, 3, 2)]
    assert molecules[0].smiles == "O" and molecules[0].inchikey == "XLYOFNOQVPJJNP-UHFFFAOYSA-N"
    assert [str(error) for error in errors] == [f"{path}, line 6: RDKit cannot read the SMILES 'C1CC'",
                                                f"{path}, line 8: the name 'water' occurs twice"]
    assert read_molecules(path)[0] == molecules
    write_xyz(tmp_path / "list.xyz", molecules)
    assert read_xyz(tmp_path / "list.xyz") == molecules


@pytest.mark.parametrize("smiles", ["O.O", "CC(=O)[O-].O"])
def test_several_molecules_of_one_smiles_meet_in_a_hydrogen_bond(tmp_path, smiles):
    path = tmp_path / "pair.smi"
    path.write_text(smiles)
    ((pair,), _) = read_molecules(path)
    positions = np.array(pair.positions)
    distances = np.linalg.norm(positions[:, None] - positions, axis=2)
    oxygens = [i for i, symbol in enumerate(pair.symbols) if symbol == "O"]
    water = oxygens[-1]
    assert 2.3 < min(distances[water, i] for i in oxygens[:-1]) < 3.2
    assert distances[np.triu_indices(len(positions), 1)].min() > 0.9


def test_molecule_key_tells_molecules_and_charge_states_apart_but_not_stereoisomers():
    assert molecule_key("C[C@H](N)C(=O)O") == molecule_key("OC(=O)[C@H](N)C")
    assert molecule_key("F/C=C/F") == molecule_key("F/C=C\\F") != molecule_key("FC(F)=C")
    acid, anion = molecule_key("CC(=O)O"), molecule_key("CC(=O)[O-]")
    assert acid[:-1] == anion[:-1] and acid != anion


def test_core_potentials_come_with_def2():
    iodide = Molecule("I-", ("I",), ((0.0, 0.0, 0.0),), charge=-1)
    assert iodide.mol("def2-svp").nelectron == 26
    assert WATER.mol("def2-svp").nelectron == 10


def test_the_fingerprint_is_that_of_the_geometry_and_the_state():
    renamed = Molecule("other", OH.symbols, OH.positions, multiplicity=2, smiles="[OH]", inchikey="x", path="p")
    hydroxide = Molecule("OH", OH.symbols, OH.positions, charge=-1)
    assert renamed.fingerprint == OH.fingerprint != hydroxide.fingerprint
