"""Which kind of density a basis gives: that of split-valence or of triple-zeta quality, or between."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.structure import element_numbers

_SPLIT_VALENCE, _TRIPLE_ZETA = "def2-svp", "def2-tzvp"
_LAST_ELEMENT = 86


def triple_zeta_share(mol: gto.Mole) -> float:
    """0 for a basis as large as def2-SVP or smaller, 1 as def2-TZVP or larger, linear in its size between."""
    numbers = [int(number) for number in element_numbers(mol) if 0 < number <= _LAST_ELEMENT]
    sizes = np.array([[basis_size(number, basis) for basis in (_SPLIT_VALENCE, _TRIPLE_ZETA)] for number in numbers])
    if not len(sizes):
        return 0.0
    small, large = sizes.sum(axis=0)
    real = [i for i in range(mol.natm) if not gto.is_ghost_atom(mol.atom_symbol(i))]
    first, last = mol.aoslice_by_atom(mol.ao_loc_nr(cart=False))[:, 2:].T
    return float(np.clip((np.sum((last - first)[real]) - small) / (large - small), 0.0, 1.0))


@lru_cache(maxsize=None)
def basis_size(number: int, basis: str) -> int:
    """Spherical functions of one atom; without the core where ``basis`` comes with a core potential."""
    shells = gto.basis.load(basis, ELEMENTS[number])
    return sum((2 * shell[0] + 1) * (len(shell[1 if not isinstance(shell[1], int) else 2]) - 1) for shell in shells)
