"""The sets on which states and convergence are compared are what their README says."""

import json

import numpy as np
import pytest
from pyscf.data.elements import ELEMENTS
from scipy.spatial.distance import pdist

from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.sets import load_set, search
from pyscf_mlguess.benchmark.sets.atoms import atoms
from pyscf_mlguess.benchmark.sets.broken_symmetry import broken_symmetry
from pyscf_mlguess.benchmark.sets.complexes import complexes
from pyscf_mlguess.benchmark.sets.difficult import candidates, other_levels

METALS = set(ELEMENTS[21:31]) | set(ELEMENTS[39:49]) | set(ELEMENTS[72:81])
SIZES = {"broken_symmetry": (55, 14), "atoms": (36, 1), "nitric_oxide": (1, 2), "trimethyltin": (1, 13)}


@pytest.mark.parametrize("stem", SIZES)
def test_set(stem):
    molecules, errors = load_set(stem)
    count, largest = SIZES[stem]
    assert not errors and len({molecule.name for molecule in molecules}) == len(molecules) == count
    for molecule in molecules:
        assert molecule.name.split() == [molecule.name]
        assert len(molecule.symbols) <= largest
        assert len(molecule.symbols) == 1 or pdist(molecule.positions).min() > 0.7
        assert molecule.mol("def2-svp").multiplicity == molecule.multiplicity


def test_files_are_what_the_code_makes():
    assert load_set("atoms")[0] == atoms()
    assert load_set("broken_symmetry")[0] == broken_symmetry()
    for stem, molecule in other_levels().items():
        assert load_set(stem)[0] == [molecule]


def test_known_failures_are_in_broken_symmetry():
    found = {molecule.name: molecule for molecule in load_set("broken_symmetry")[0]}
    assert set(found) >= set(
        "p_benzyne LiH_5A HF_2.2A ethylene_90deg benzene_cation FeCl2_quintet TiO_triplet Ti_triplet "
        "cyclobutadiene_square H2_3A H2_3.5A H2_5A N2_2.8A O_triplet CoH_triplet".split())
    for name, distance in {"LiH_5A": 5.0, "HF_2.2A": 2.2, "H2_3.5A": 3.5, "N2_2.8A": 2.8}.items():
        assert np.allclose(pdist(found[name].positions), distance)
    assert len(set(np.round(pdist(found["cyclobutadiene_square"].positions[:4]), 4))) == 2


def test_ground_states_of_the_atoms():
    # NIST Atomic Spectra Database.
    assert "".join(str(atom.multiplicity) for atom in load_set("atoms")[0]) == "212123432121234321212347654321234321"


def test_candidates_are_all_different():
    molecules = list(candidates())
    assert len({molecule.name for molecule in molecules}) == len({m.fingerprint for m in molecules}) == len(molecules)
    for molecule in molecules:
        assert len(molecule.symbols) == 1 or pdist(molecule.positions).min() > 0.9


def test_difficult_holds_many_kinds():
    difficult = load_set("difficult")[0]
    known = {molecule.name: molecule for molecule in candidates()}
    assert len(difficult) >= 40 and all(known[molecule.name] == molecule for molecule in difficult)
    kinds = [("metal" if METALS & set(m.symbols) else "organic", min(len(m.symbols), 3), m.multiplicity > 1)
             for m in difficult]
    assert {kind for kind in kinds if kind[0] == "metal"} == {("metal", n, o) for n in (1, 2, 3) for o in (True, False)}
    assert len([kind for kind in kinds if kind[0] == "organic"]) >= 8


def test_the_default_does_not_converge_a_molecule_of_difficult():
    square = next(molecule for molecule in load_set("difficult")[0] if molecule.name == "H4_square_2A")
    row = search.run(square, search.DEFAULT)
    assert not row["converged"] and row["gradient"] > 0.1


def test_complexes_of_the_set_elements_are_those_of_the_code():
    shipped = {molecule.name: molecule for molecule in load_set("elements")[0]}
    for molecule in complexes():
        assert molecule == shipped[molecule.name]


def test_a_search_keeps_what_does_not_converge_and_runs_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "_PROTOCOL", Protocol(basis="sto-3g", grid_level=0, max_cycle=4))
    monkeypatch.setattr(search, "_FILE", tmp_path / "difficult.xyz")
    found = {molecule.name: molecule for molecule in load_set("broken_symmetry")[0]}
    hydrogen, water = found["H2_3A"], found["water_both_OH2A"]
    results = tmp_path / "results.jsonl"
    for _ in range(2):
        search.search(results, [hydrogen, water], search.DEFAULT)
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert [row["name"] for row in rows] == ["H2_3A", "water_both_OH2A"]
    assert [row["converged"] for row in rows] == [True, False]
    assert search.unconverged(results, [hydrogen, water]) == [water]
