"""Training, validation and test molecules, told apart by the molecule and not by its entry."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdkit.Chem import Mol

SPLITS = ("train", "validation", "test")
_SHARE = 20  # one molecule in twenty each for test and validation


def parse_smiles(smiles: str) -> Mol:
    """The RDKit molecule of a SMILES, hydrogens implicit.

    Raises ValueError where RDKit is not installed or cannot read the SMILES.
    """
    try:
        from rdkit import Chem, rdBase
    except ModuleNotFoundError:
        raise ValueError("SMILES are read by RDKit, which is not installed: "
                         "pip install 'pyscf-mlguess[train]'") from None
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    if mol is None or mol.GetNumAtoms() == 0:
        raise ValueError(f"RDKit cannot read the SMILES {smiles!r}")
    return mol


def canonical_smiles(smiles: str) -> str:
    """RDKit's canonical SMILES without stereochemistry: conformers and stereoisomers count as one molecule.

    Raises ValueError as ``parse_smiles``.
    """
    mol = parse_smiles(smiles)
    from rdkit import Chem

    return Chem.MolToSmiles(mol, isomericSmiles=False)


def molecule_key(smiles: str) -> str:
    """The InChIKey without stereochemistry, which tells whether a model was trained on a molecule.

    Conformers, stereoisomers and most tautomers share it; charge states that differ by protons differ in the last
    letter. Empty where InChI cannot represent the molecule. Raises ValueError as ``parse_smiles``.
    """
    mol = parse_smiles(smiles)
    from rdkit import Chem, rdBase

    Chem.RemoveStereochemistry(mol)
    with rdBase.BlockLogs():
        return Chem.MolToInchiKey(mol)


def split_of(smiles: str) -> str:
    """'test', 'validation' or 'train', fixed for all time by a hash of the canonical SMILES."""
    digest = hashlib.sha256(canonical_smiles(smiles).encode()).digest()
    return {0: "test", 1: "validation"}.get(int.from_bytes(digest[:4], "big") % _SHARE, "train")
