"""Work in blocks, a Python thread each, with linear algebra in one thread.

The threads of BLAS wait busily for the next product: they get in the way of PySCF's own, and gain nothing where
products are small.  The number of threads is PySCF's (``lib.num_threads()``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from pyscf import lib
from threadpoolctl import ThreadpoolController

_Item, _Result = TypeVar("_Item"), TypeVar("_Result")


@contextmanager
def single_blas() -> Iterator[None]:
    """Linear algebra of NumPy and SciPy in one thread while the block runs.

    Where several threads of the process are inside, the first one sets and restores it (threadpoolctl's rule).
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


def in_threads(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """``function`` of every item, in order; functions that spend their time in NumPy run side by side."""
    threads = lib.num_threads()
    with single_blas():
        if threads == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, items))


def shares(blocks: int) -> list[range]:
    """``blocks`` dealt out to as many threads as there are: what each of them adds up on its own."""
    threads = max(1, min(lib.num_threads(), blocks))
    return [range(first, blocks, threads) for first in range(threads)]


@cache
def _controller():
    return ThreadpoolController()
