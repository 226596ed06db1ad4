"""Counts the Fock builds in the user's basis that an SCF object makes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import contextmanager

from pyscf_mlguess.stages import stage


class BuildCounter:
    """Number of Fock builds so far: calls of get_veff, and calls of get_jk outside it that ask for exchange.

    Coulomb matrices alone are not counted: a guess gets them from three-centre integrals.  They are in a response
    function (PySCF's gen_response), each call of which is a build: a second-order solver's micro-iteration makes what
    a Fock matrix is made of, J, the integration of xc on the grid, and K where the functional has it.
    before: called before each.
    """

    def __init__(self, before: Callable[[], None] = lambda: None):
        self.builds = 0
        self._before = before
        self._within = False

    def counted(self, method):
        """``method`` with every outermost call counted, and timed as the stage "build"."""
        signature = inspect.signature(method)

        @functools.wraps(method)
        def wrapper(*args, **kwargs):
            if self._within:
                return method(*args, **kwargs)
            arguments = signature.bind(*args, **kwargs).arguments
            if not arguments.get("with_k", True):
                return method(*args, **kwargs)
            self._before()
            self.builds += 1
            self._within = True
            try:
                with stage("build"):
                    return method(*args, **kwargs)
            finally:
                self._within = False

        return wrapper

    def counted_response(self, gen_response):
        """``gen_response`` with every outermost call of the functions that it returns counted."""
        @functools.wraps(gen_response)
        def wrapper(*args, **kwargs):
            return self.counted(gen_response(*args, **kwargs))

        return wrapper


@contextmanager
def counting_builds(mf, before: Callable[[], None] = lambda: None):
    """A BuildCounter of ``mf``, its density-fitting object and the object that newton() wraps, while the block runs."""
    counter = BuildCounter(before)
    with_df, inner = getattr(mf, "with_df", None), getattr(mf, "_scf", None)
    seams = [(owner, name) for owner in (mf, inner) if owner is not None for name in ("get_veff", "get_jk")]
    seams += [(with_df, "get_jk")] if with_df else []
    for owner, name in seams:
        setattr(owner, name, counter.counted(getattr(owner, name)))
    seams.append((mf, "gen_response"))
    mf.gen_response = counter.counted_response(mf.gen_response)
    try:
        yield counter
    finally:
        for owner, name in seams:
            # The wrapper holds the object it hangs on; without this its memory waits for the garbage collector.
            delattr(owner, name)
