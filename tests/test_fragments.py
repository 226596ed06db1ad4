"""Fragments are molecules in their own right: nothing that belongs together is cut."""

import random

import pytest
from command_line import assert_clear_error, mlguess
from rdkit import Chem

from pyscf_mlguess.benchmark.sets import load_set
from pyscf_mlguess.labels.fragments import random_fragment
from pyscf_mlguess.molecules.smiles import molecule_key
from pyscf_mlguess.molecules.split import split_of

DRUG = "CCN(CC)CCOC(=O)c1ccc(NC(=O)C2CCCC2)cc1[N+](=O)[O-]"
INDOLE = "c1ccc2[nH]ccc2c1CCO"
METHYLPYRROLE = "Cn1cccc1CCO"


def fragments(smiles, heavy_atoms, count=200):
    """Distinct fragments from ``count`` draws, as molecules."""
    rng = random.Random(5)
    found = {random_fragment(smiles, heavy_atoms, rng) for _ in range(count)}
    return {text: Chem.MolFromSmiles(text) for text in found if text}


def has(mol, smarts):
    return mol.HasSubstructMatch(Chem.MolFromSmarts(smarts))


@pytest.mark.parametrize("heavy_atoms", [(1, 4), (4, 9), (7, 7), (5, 14)])
def test_sizes_are_respected(heavy_atoms):
    sizes = {mol.GetNumAtoms() for mol in fragments(DRUG, heavy_atoms).values()}
    assert sizes and heavy_atoms[0] <= min(sizes) and max(sizes) <= heavy_atoms[1]
    assert random_fragment(DRUG, (60, 70), random.Random(0)) is None
    assert random_fragment("c1ccccc1", (2, 4), random.Random(0)) is None


def test_fragments_are_connected_closed_shells_without_stereochemistry():
    found = fragments("C[C@H](N)/C=C/c1ccccc1", (2, 9)) | fragments(DRUG, (3, 12))
    assert len(found) > 30
    for text, mol in found.items():
        assert not set(".@/\\") & set(text)
        assert not any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
        assert text == Chem.MolToSmiles(mol)


def test_the_generator_alone_decides():
    def draw(seed):
        rng = random.Random(seed)
        return [random_fragment(DRUG, (3, 10), rng) for _ in range(20)]

    assert draw(1) == draw(1) != draw(2)


def test_rings_and_multiple_bonds_stay_whole():
    for mol in fragments(DRUG, (1, 14)).values():
        rings = sorted(map(len, mol.GetRingInfo().AtomRings()))
        assert set(rings) <= {5, 6}
        assert all(len(ring) == 5 or has(mol, "c1ccccc1") for ring in mol.GetRingInfo().AtomRings())
    (naphthalene,) = fragments("c1ccc2ccccc2c1", (10, 10)).values()
    assert naphthalene.GetNumAtoms() == 10
    for mol in fragments("CCC#CCC=CCC(C)=O", (1, 6)).values():
        for partners in ("[CX2]", "[CX3;!$(C=O)]"):
            assert len(mol.GetSubstructMatches(Chem.MolFromSmarts(partners))) in (0, 2)
        assert has(mol, "[#8]") == has(mol, "C=O")


def test_nitro_groups_stay_whole():
    for mol in fragments(DRUG, (1, 14)).values():
        assert has(mol, "[N+](=O)[O-]") == has(mol, "[N+]") == has(mol, "[O-]")
        assert Chem.GetFormalCharge(mol) == 0


def test_carboxylates_stay_whole():
    found = {random_fragment("CCNCC(=O)[O-]", (2, 5), random.Random(seed)) for seed in range(60)} - {None}
    acids = {smiles for smiles in found if "=O" in smiles}
    assert len(acids) > 1 and all("[O-]" in smiles for smiles in acids)


def test_charged_atoms_keep_their_charge():
    found = fragments("CC[N+](C)(C)CCO", (1, 6))
    assert "[NH4+]" in found and any(has(mol, "[N+](C)(C)C") for mol in found.values())
    for mol in found.values():
        assert Chem.GetFormalCharge(mol) == has(mol, "[#7]")


def test_aromatic_nitrogen_keeps_or_gets_its_hydrogen():
    indoles = [mol for mol in fragments(INDOLE, (8, 10)).values() if has(mol, "n")]
    assert indoles and all(has(mol, "[nH]1ccc2ccccc12") for mol in indoles)
    bare = fragments(METHYLPYRROLE, (5, 7))
    assert "c1cc[nH]c1" in bare and any(has(mol, "Cn1cccc1") for mol in bare.values())


def test_a_list_of_fragments_holds_what_may_be_trained_on(tmp_path):
    paracetamol = load_set("paracetamol")[0][0].smiles
    (tmp_path / "large.smi").write_text(f"{DRUG} drug\n{INDOLE}\nCC(=O)Nc1ccc(O)cc1CC[NH2+]CC[NH3+]\n")
    (tmp_path / "known.smi").write_text("CCO ethanol\n")
    result = mlguess("fragments", tmp_path / "large.smi", "--output", tmp_path / "all.smi", "--heavy-atoms", "2,12",
                     "--exclude", tmp_path / "known.smi", "--count", 60)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in (tmp_path / "all.smi").read_text().splitlines()]
    assert f"wrote {len(lines)} fragments" in result.output and 10 < len(lines) <= 60
    keys = [molecule_key(smiles) for smiles, _ in lines]
    assert len(set(keys)) == len(keys) and not {molecule_key("CCO"), molecule_key(paracetamol)} & set(keys)
    for smiles, _ in lines:
        assert split_of(smiles) == "train" and 2 <= Chem.MolFromSmiles(smiles).GetNumAtoms() <= 12
        assert abs(Chem.GetFormalCharge(Chem.MolFromSmiles(smiles))) <= 1

    again = mlguess("fragments", tmp_path / "large.smi", "--output", tmp_path / "few.smi", "--count", 3)
    assert again.exit_code == 0 and len((tmp_path / "few.smi").read_text().splitlines()) == 3


def test_bad_lines_are_skipped_and_told(tmp_path):
    (tmp_path / "good.smi").write_text(f"{DRUG} drug\n{INDOLE}\n")
    (tmp_path / "mixed.smi").write_text(f"{DRUG} drug\nC1CC broken\n# no comment\n{INDOLE}\n")
    (tmp_path / "known.smi").write_text("nonsense\nCCO ethanol\n")
    good = mlguess("fragments", tmp_path / "good.smi", "--output", tmp_path / "a.smi", "--count", 5)
    mixed = mlguess("fragments", tmp_path / "mixed.smi", "--output", tmp_path / "b.smi", "--count", 5,
                    "--exclude", tmp_path / "known.smi")
    assert good.exit_code == 0 and mixed.exit_code == 1, mixed.output
    assert f"skipped: {tmp_path / 'mixed.smi'}, line 2: RDKit cannot read the SMILES 'C1CC'" in mixed.output
    assert f"skipped: {tmp_path / 'known.smi'}, line 1: RDKit cannot read the SMILES 'nonsense'" in mixed.output
    assert "wrote 5 fragments" in mixed.output
    assert (tmp_path / "b.smi").read_text() == (tmp_path / "a.smi").read_text().replace(" a", " b")


def test_fragments_of_nothing_are_an_error(tmp_path):
    (tmp_path / "bad.smi").write_text("nonsense\n")
    (tmp_path / "empty.smi").write_text("\n")
    for name, message, options in (("bad", "cannot read the SMILES", ()), ("empty", "no SMILES", ()),
                                   ("bad", "--heavy-atoms '9,3'", ("--heavy-atoms", "9,3"))):
        assert_clear_error(mlguess("fragments", tmp_path / f"{name}.smi", "--output", tmp_path / "out.smi", *options),
                           message)
