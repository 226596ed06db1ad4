"""What a guess leaves of the memory: freed pages go back to the system, and PySCF holds its integrals as it would have.

PySCF keeps the two-electron integrals in memory where these and the resident size of the process stay below 0.95 of
``mf.max_memory``; otherwise it computes them anew for every Fock matrix.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from pyscf import lib
from pyscf.scf import hf

# The share of max_memory that PySCF lets integrals and process take: that of ``hf.SCF._is_mem_enough``.
_PYSCF_SHARE = 0.95


def free_mb(mf: hf.SCF) -> float:
    """MB that ``mf.max_memory`` leaves, next to the two-electron integrals where PySCF means to keep them."""
    if _will_hold_integrals(mf):
        free = _PYSCF_SHARE * mf.max_memory - lib.current_memory()[0] - mf.mol.nao**4 / 1e6  # PySCF's own estimate
    else:
        free = mf.max_memory - lib.current_memory()[0]
    return max(0.0, free)


def give_back() -> None:
    """Return what the C library holds of freed memory to the system; nothing where it is not glibc."""
    if (trim := _malloc_trim()) is not None:
        trim(0)


@contextmanager
def integrals_stay(mf) -> Iterator[None]:
    """Where ``mf`` would have kept its two-electron integrals in memory before the block, it does so after it.

    Freed memory is given back; if what the block still holds (weights of a model, a tensor) would change PySCF's mind,
    the integrals are made here, where it looks for them.
    """
    wanted = _will_hold_integrals(mf)
    try:
        yield
    finally:
        give_back()
        if wanted and mf._eri is None and not mf._is_mem_enough():
            mf._eri = mf.mol.intor("int2e", aosym="s8")


def holds_integrals(mf: hf.SCF) -> bool:
    """Whether PySCF has its two-electron integrals in memory or is going to."""
    return not getattr(mf, "with_df", None) and (mf._eri is not None or mf._is_mem_enough())


def _will_hold_integrals(mf):
    return isinstance(mf, hf.SCF) and mf._eri is None and holds_integrals(mf)


@lru_cache(maxsize=None)
def _malloc_trim():
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
