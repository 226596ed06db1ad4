"""Counts the Fock builds in the user's basis that an SCF object makes."""

from __future__ import annotations

import functools
import inspect
from contextlib import contextmanager


class BuildCounter:
    """Number of Fock builds so far: calls of get_veff, and calls of get_jk outside it that ask for exchange.

    Coulomb matrices alone are not counted: a guess gets them from three-centre integrals.
    """

    def __init__(self):
        self.builds = 0
        self._within = False

    def counted(self, method):
        """``method`` with every outermost call counted."""
        signature = inspect.signature(method)

        @functools.wraps(method)
        def wrapper(*args, **kwargs):
            if self._within:
                return method(*args, **kwargs)
            arguments = signature.bind(*args, **kwargs).arguments
            self.builds += bool(arguments.get("with_k", True))
            self._within = True
            try:
                return method(*args, **kwargs)
            finally:
                self._within = False

        return wrapper


@contextmanager
def counting_builds(mf):
    """A BuildCounter of ``mf`` (and of its density-fitting object) while the block runs."""
    counter = BuildCounter()
    with_df = getattr(mf, "with_df", None)
    seams = [(mf, "get_veff"), (mf, "get_jk")] + ([(with_df, "get_jk")] if with_df else [])
    for owner, name in seams:
        setattr(owner, name, counter.counted(getattr(owner, name)))
    try:
        yield counter
    finally:
        for owner, name in seams:
            # The wrapper holds the object it hangs on; without this its memory waits for the garbage collector.
            delattr(owner, name)
