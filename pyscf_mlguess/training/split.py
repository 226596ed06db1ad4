"""Training, validation and test molecules, told apart by the molecule and not by its entry."""

from __future__ import annotations

import hashlib

_SHARE = 20  # one molecule in twenty each for test and validation


def canonical_smiles(smiles: str) -> str:
    """RDKit's canonical SMILES without stereochemistry: conformers and stereoisomers count as one molecule."""
    from rdkit import Chem

    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise ValueError(f"RDKit cannot read the SMILES {smiles!r}")
    return Chem.MolToSmiles(mol, isomericSmiles=False)


def split_of(smiles: str) -> str:
    """'test', 'validation' or 'train', fixed for all time by a hash of the canonical SMILES."""
    digest = hashlib.sha256(canonical_smiles(smiles).encode()).digest()
    return {0: "test", 1: "validation"}.get(int.from_bytes(digest[:4], "big") % _SHARE, "train")
