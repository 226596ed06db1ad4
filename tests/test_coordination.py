"""Compounds whose geometries RDKit's force fields do not know."""

import sys

import numpy as np
import pytest

from pyscf_mlguess.molecules import coordination
from pyscf_mlguess.molecules.coordination import coordinated
from pyscf_mlguess.molecules.xyz import read_xyz


def distances(molecule, element):
    """From the first atom to those of ``element``, angstrom, sorted."""
    from_centre = np.linalg.norm(np.subtract(molecule.positions, molecule.positions[0]), axis=1)
    return np.sort(from_centre[[symbol == element for symbol in molecule.symbols]])


def test_every_part_coordinates_with_its_first_atom():
    molecule = coordinated("[Mg](C)Br.O(C)C.NC", "a Grignard reagent")
    assert molecule.name == "a Grignard reagent" and molecule.smiles == "[Mg](C)Br.O(C)C.NC"
    assert len(molecule.symbols) == 1 + 4 + 1 + 9 + 7 and molecule.inchikey
    assert 2.0 < distances(molecule, "O")[0] < 2.3 and 2.0 < distances(molecule, "N")[0] < 2.5
    assert 2.0 < distances(molecule, "C")[0] < 2.3 and 2.3 < distances(molecule, "Br")[0] < 2.7


def test_geometries_can_be_made_again():
    first, again = (np.array(coordinated("[Li]Cl.O", "x").positions) for _ in range(2))
    assert np.abs(first - again).max() < 1e-4  # threads add up in any order


@pytest.mark.parametrize("smiles, charge, length", [
    ("[Ge](F)F", 0, (1.6, 1.9)), ("F[Xe]F", 0, (1.8, 2.1)), ("[Al-](F)(F)(F)F", -1, (1.6, 1.8))])
def test_unusual_valences_are_closed_shells(smiles, charge, length):
    molecule = coordinated(smiles, "x")
    assert (molecule.multiplicity, molecule.charge) == (1, charge)
    positions = np.array(molecule.positions)
    centre = next(i for i, symbol in enumerate(molecule.symbols) if symbol != "F")
    bonds = np.delete(np.linalg.norm(positions - positions[centre], axis=1), centre)
    assert (length[0] < bonds).all() and (bonds < length[1]).all()


def test_a_cation_alone_is_surrounded():
    molecule = coordinated("[Ca+2].O.O.O.O", "calcium")
    assert molecule.charge == 2
    assert ((1.9 < distances(molecule, "O")) & (distances(molecule, "O") < 2.6)).all()


def test_a_list_with_bad_lines(tmp_path, capsys):
    (tmp_path / "list.smi").write_text("[Na]O.O base\nnonsense\n[Li]C\n")
    coordination.main([str(tmp_path / "list.smi"), "--output", str(tmp_path / "found.xyz")])
    assert [molecule.name for molecule in read_xyz(tmp_path / "found.xyz")] == ["base", "list_3"]
    told = capsys.readouterr().out
    assert "list_2: RDKit cannot read the SMILES 'nonsense'" in told and "2 molecules, 1 lost" in told


def test_without_tblite(monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(ValueError, match=r"tblite.*install the extra 'train'"):
        coordinated("[Li]C", "x")


def test_what_does_not_relax_is_named(monkeypatch):
    monkeypatch.setattr(coordination, "_RELAXED", (1e-9, 1))
    with pytest.raises(ValueError, match=r"'\[Li\]C' is not relaxed after 1 steps"):
        coordinated("[Li]C", "x")


def test_a_compound_that_falls_apart_is_named():
    with pytest.raises(ValueError, match=r"the bond .* of 'O=\[Xe\]\(F\)\(F\)\(F\)F' is broken"):
        coordinated("O=[Xe](F)(F)(F)F", "x")
