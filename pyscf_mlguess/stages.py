"""Wall and CPU time of the stages of a guess, and its cheap iterations, for whoever listens (the benchmark does)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class StageTimes:
    """Seconds and counts by name, added up over all calls.

    wall, cpu: stages "model", "route", "cheap"; CPU time is that of all threads.
    counts: "cheap_iterations".
    """

    wall: Counter = field(default_factory=Counter)
    cpu: Counter = field(default_factory=Counter)
    counts: Counter = field(default_factory=Counter)


_listener: ContextVar[StageTimes | None] = ContextVar("stage_listener", default=None)


@contextmanager
def listening() -> Iterator[StageTimes]:
    """Collect what ``stage`` and ``count`` report while the block runs."""
    times = StageTimes()
    token = _listener.set(times)
    try:
        yield times
    finally:
        _listener.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time the block under ``name``; nothing but two clock readings if nobody listens."""
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        if (times := _listener.get()) is not None:
            times.wall[name] += time.perf_counter() - wall
            times.cpu[name] += time.process_time() - cpu


def count(name: str, number: int) -> None:
    """Add ``number`` to the count of ``name``."""
    if (times := _listener.get()) is not None:
        times.counts[name] += number
