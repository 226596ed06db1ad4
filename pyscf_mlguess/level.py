"""The level of theory of a calculation, as far as a model may know it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS
from pyscf.scf import hf

from pyscf_mlguess.structure import element_numbers

_SPLIT_VALENCE, _TRIPLE_ZETA = "def2-svp", "def2-tzvp"
_LAST_ELEMENT = 86


@dataclass(frozen=True)
class LevelOfTheory:
    """What a density depends on besides the molecule; the default: a semilocal functional, split-valence basis.

    short_range_exchange, long_range_exchange: shares of exact exchange (0 to 1) at small and large distances, equal
        for a global hybrid.  omega: where one goes over into the other (1/bohr), 0 for a global hybrid.
    triple_zeta: 0 for a basis as large as def2-SVP or smaller, 1 as def2-TZVP or larger, linear in its size between.
    """

    short_range_exchange: float = 0.0
    long_range_exchange: float = 0.0
    omega: float = 0.0
    triple_zeta: float = 0.0

    @classmethod
    def of(cls, mf: hf.SCF) -> "LevelOfTheory":
        """That of an SCF object; Hartree-Fock has all of the exact exchange."""
        numint = getattr(mf, "_numint", None)
        if numint is None:
            return cls(1.0, 1.0, 0.0, triple_zeta_share(mf.mol))
        omega, long_range, short_range = map(float, numint.rsh_and_hybrid_coeff(mf.xc, mf.mol.spin))
        return cls(short_range, long_range if omega else short_range, omega, triple_zeta_share(mf.mol))

    @property
    def exact_exchange(self) -> float:
        """The larger of the two shares."""
        return max(self.short_range_exchange, self.long_range_exchange)

    @property
    def is_semilocal(self) -> bool:
        """Whether no exact exchange is in it."""
        return self.exact_exchange == 0


def triple_zeta_share(mol: gto.Mole) -> float:
    """``LevelOfTheory.triple_zeta`` of the basis of ``mol``."""
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
