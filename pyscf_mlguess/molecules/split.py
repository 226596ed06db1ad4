"""Training, validation and test molecules, told apart by the molecule and not by its entry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pyscf_mlguess.molecules.smiles import canonical_smiles

_SHARE = 20  # one molecule in twenty each for test and validation


def split_of(smiles: str) -> str:
    """'test', 'validation' or 'train', fixed for all time by a hash of the canonical SMILES."""
    digest = hashlib.sha256(canonical_smiles(smiles).encode()).digest()
    return {0: "test", 1: "validation"}.get(int.from_bytes(digest[:4], "big") % _SHARE, "train")


def subset(smiles: Iterable[str], count: int) -> set[str]:
    """``count`` of the molecules, picked by a hash: what a smaller count takes, a larger one takes, too."""
    return set(sorted(set(smiles), key=lambda text: hashlib.sha256(text.encode()).digest())[:count])
