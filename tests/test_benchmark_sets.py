"""The shipped sets are what their README says."""

from collections import Counter

import numpy as np
import pytest
from pyscf.data.elements import ELEMENTS
from pyscf.data.nist import BOHR
from pyscf.data.radii import COVALENT
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula
from scipy.spatial.distance import pdist

from pyscf_mlguess.benchmark.sets import load_set

SIZES = {"qm9_size": 50, "drug_like": 30, "ions": 20, "radicals": 20, "elements": 20, "distorted": 20, "path": 20,
         "main_group": 32, "multiply_charged": 28, "large": 10, "steps": 40, "small_drugs": 14, "natural_products": 2}
ATOMS = {"drug_like": (26, 60), "ions": (3, 25), "radicals": (3, 20), "distorted": (7, 15), "large": (80, 200),
         "small_drugs": (16, 31), "natural_products": (113, 168)}


@pytest.fixture(params=SIZES)
def stem(request):
    return request.param


def test_set(stem):
    molecules, errors = load_set(stem)
    assert not errors and len(molecules) == SIZES[stem]
    smallest, largest = ATOMS.get(stem, (1, 40))
    for molecule in molecules:
        assert molecule.name.split() == [molecule.name]
        assert molecule.smiles and len(molecule.inchikey) == 27
        assert smallest <= len(molecule.symbols) <= largest
        assert pdist(molecule.positions).min() > 0.6
        mol = molecule.mol("def2-svp")
        assert (mol.charge, mol.multiplicity) == (molecule.charge, molecule.multiplicity)


def test_keys_and_charges_are_those_of_the_smiles(stem):
    from pyscf_mlguess.molecules.smiles import molecule_key, parse_smiles

    for molecule in load_set(stem)[0]:
        mol = Chem.AddHs(parse_smiles(molecule.smiles))
        assert molecule_key(molecule.smiles) == molecule.inchikey
        assert Chem.GetFormalCharge(mol) == molecule.charge
        assert Counter(atom.GetSymbol() for atom in mol.GetAtoms()) == Counter(molecule.symbols)


def test_elements_of_the_sets():
    found = {stem: {symbol for molecule in load_set(stem)[0] for symbol in molecule.symbols} for stem in SIZES}
    assert found["qm9_size"] == set("H C N O F P S Cl".split())
    assert found["drug_like"] == set("H C N O F P S Cl Br".split())
    assert found["elements"] >= set("B Si Se Br I".split())
    assert len(found["elements"] & set(ELEMENTS[21:31])) >= 8
    heavy = set("Li Na K Rb Cs Be Mg Ca Sr Ba Al Ga In Tl Ge Sn Pb As Sb Bi Se Te At Xe".split())
    assert heavy <= found["main_group"] <= heavy | set("H C N O F S Cl Br".split())


def test_relaxed_compounds_are_still_those_of_their_smiles():
    from pyscf_mlguess.molecules.smiles import parse_smiles

    for molecule in load_set("main_group")[0] + load_set("multiply_charged")[0]:
        mol = Chem.AddHs(parse_smiles(molecule.smiles))
        # In the file each part has its hydrogens behind it.  What coordinates does so with its first atom.
        parts = Chem.GetMolFrags(mol)
        place = {atom: number for number, atom in enumerate(np.concatenate(parts).tolist())}
        assert [mol.GetAtomWithIdx(atom).GetSymbol() for atom in place] == list(molecule.symbols)
        bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()]
        for pair in bonds + [(0, part[0]) for part in parts[1:]]:
            radii = sum(COVALENT[mol.GetAtomWithIdx(i).GetAtomicNum()] for i in pair) * BOHR
            length = np.linalg.norm(np.subtract(*(molecule.positions[place[i]] for i in pair)))
            assert 0.75 < length / radii < 1.4, (molecule.name, pair)


def test_multiply_charged_is_of_closed_shells_and_of_charges_that_no_label_has():
    molecules = load_set("multiply_charged")[0]
    assert Counter(molecule.charge for molecule in molecules) == {2: 13, -2: 11, -3: 2, 3: 2}
    assert {molecule.multiplicity for molecule in molecules} == {1}


def test_heavy_atoms_of_qm9_size():
    assert {sum(s != "H" for s in m.symbols) for m in load_set("qm9_size")[0]} == {7, 8, 9}


def test_ions_and_radicals():
    ions = load_set("ions")[0]
    assert {molecule.charge for molecule in ions} == {-2, -1, 0, 1, 2}
    assert all("+" in m.smiles and "-" in m.smiles for m in ions if m.charge == 0)  # zwitterions
    assert Counter(m.multiplicity for m in load_set("radicals")[0]) == {2: 15, 3: 5}


def test_any_leading_part_of_drug_like_spans_the_sizes():
    sizes = [len(molecule.symbols) for molecule in load_set("drug_like")[0]]
    for count in (10, 20):
        assert abs(np.mean(sizes[:count]) - np.mean(sizes)) < 5


def test_frames_of_a_path_are_neighbours_in_order():
    frames = load_set("path")[0]
    assert list(Counter(frame.path for frame in frames).values()) == [10, 10]
    assert [frame.path for frame in frames] == sorted((frame.path for frame in frames))
    for frame, after in zip(frames, frames[1:]):
        if frame.path == after.path:
            assert frame.symbols == after.symbols
            assert np.linalg.norm(pdist(frame.positions) - pdist(after.positions)) < 3.0
    assert not any(molecule.path for molecule in load_set("large")[0])


def test_steps_are_as_a_scanner_meets_them():
    frames = load_set("steps")[0]
    first_ten = [molecule.name for molecule in load_set("small_drugs")[0][:10]]
    assert first_ten == list(dict.fromkeys(frame.path for frame in frames))
    moved = [np.linalg.norm(np.subtract(after.positions, frame.positions), axis=1) / BOHR
             for frame, after in zip(frames, frames[1:]) if frame.path == after.path]
    assert len(moved) == 30
    assert 0.01 < np.mean(np.concatenate(moved)) < 0.02 and max(map(np.max, moved)) < 0.1


def test_ten_small_drugs_hold_three_of_thirty_atoms_and_ten_are_of_twenty():
    sizes = [len(molecule.symbols) for molecule in load_set("small_drugs")[0]]
    assert sum(size >= 30 for size in sizes[:10]) == 3 and sum(size <= 20 for size in sizes) == 10


def test_formulas_of_the_natural_products():
    from pyscf_mlguess.benchmark.sets.training_molecules import sum_formula

    assert {m.name: sum_formula(m.symbols) for m in load_set("natural_products")[0]} == {
        "taxol": "C47H51NO14", "valinomycin": "C54H90N6O18"}


def test_large_is_sorted_by_size():
    sizes = [len(molecule.symbols) for molecule in load_set("large")[0]]
    assert sizes == sorted(sizes)


def test_formulas_are_written_as_rdkit_writes_them():
    from pyscf_mlguess.benchmark.sets.training_molecules import sum_formula
    from pyscf_mlguess.molecules.smiles import parse_smiles

    for stem in ("ions", "elements", "qm9_size"):
        for molecule in load_set(stem)[0]:
            assert sum_formula(molecule.symbols, molecule.charge) == CalcMolFormula(parse_smiles(molecule.smiles))


def test_training_molecules_are_recognised(tmp_path):
    from pyscf_mlguess.benchmark.sets.training_molecules import TrainingMolecules

    by_name = {m.name: m for stem in ("qm9_size", "ions", "elements") for m in load_set(stem)[0]}
    (tmp_path / "list.smi").write_text(f"{by_name['2-nitrothiophene'].smiles}\t0\n")
    (tmp_path / "list.xyz").write_text(
        "5\ncharge=0 multiplicity=1 name=XYZ001\nV 0 0 0\nCl 0 0 2\nCl 0 2 0\nCl 2 0 0\nO -2 0 0\n"
        '3\ncharge=1 multiplicity=1 name="O=[N+]=O/0"\nO 0 0 1\nN 0 0 0\nO 0 0 -1\n')
    training = TrainingMolecules(tmp_path, [])
    assert {name for name, molecule in by_name.items() if molecule in training} == {
        "2-nitrothiophene", "vanadium_oxytrichloride"} | ({"nitronium"} & set(by_name))
