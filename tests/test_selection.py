import pytest

from pyscf_mlguess.models.linear_density.features import AceSettings
from pyscf_mlguess.molecules.label import Label
from pyscf_mlguess.molecules.smiles import conformer, molecule_from_conformer
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.selection import choose

SETTINGS = AceSettings(elements=(1, 6, 7, 8), radial=5, channels=(5, 4, 4, 3, 3), invariants=3, factors=8)


def molecule(smiles):
    return molecule_from_conformer(conformer(smiles), smiles, smiles)


def label(smiles):
    structure = Structure.from_mol(molecule(smiles).mol("sto-3g"))
    return Label(smiles, smiles, 0, structure.numbers, structure.positions, {})


@pytest.fixture(scope="module")
def alkanes():
    return [label("C" * n) for n in range(1, 7)] + [label("CO"), label("CN"), label("CCO")]


def test_new_chemistry_comes_before_what_is_known(alkanes):
    candidates = [molecule(smiles) for smiles in ("CCCC", "N#CC=O", "CCCCC")]
    assert choose(candidates, alkanes, 1, SETTINGS, progress=False)[0].smiles == "N#CC=O"


def test_two_of_a_kind_are_not_taken_one_after_the_other(alkanes):
    candidates = [molecule(smiles) for smiles in ("N#CC=O", "O=CC#N", "C1=CN1")]
    chosen = choose(candidates, alkanes, 3, SETTINGS, progress=False)
    assert len(chosen) == 3 and {chosen[0].smiles, chosen[1].smiles} != {"N#CC=O", "O=CC#N"}
    assert choose(candidates, alkanes, 2, SETTINGS, progress=False) == chosen[:2]
