"""The report's sections: everything that Markdown and HTML print of one molecule set at one protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from pyscf_mlguess.benchmark.summary import (
    ENERGY_TOLERANCE,
    Pairs,
    Summary,
    counted_cycles,
    finite,
    geometry,
    label,
    lowest_energies,
    pairs_with_baseline,
    ratio,
    summarise,
    timed_pairs,
    wall_seconds,
)

# Parts of a run's time, in the order in which they happen; "rest" is what of the guess the first three leave.
STAGES = ("model", "route", "cheap", "rest", "scf")
_MOLECULES_PER_BIN = 8
_LARGEST_NUMBER_OF_BINS = 5


@dataclass(frozen=True)
class SizeBin:
    """Ratio of sums per guess over the molecules of ``first`` to ``last`` atoms.

    atoms: mean number of atoms of these molecules.  ratios: guess -> (ratio, runs).
    """

    first: int
    last: int
    molecules: int
    atoms: float
    ratios: dict[str, tuple[float, int]]


@dataclass(frozen=True)
class TimeSplit:
    """Mean seconds per run of one guess, over the molecules where it and minao have wall times.

    wall, cpu: per stage (STAGES).  baseline: mean wall seconds of minao and its SCF on the same molecules.
    peak_memory: largest of all runs (MB).  integrals: how the SCF held them.
    """

    guess: str
    runs: int
    wall: dict[str, float]
    cpu: dict[str, float]
    baseline: float
    peak_memory: float
    integrals: str


@dataclass(frozen=True)
class Section:
    """The rows of one molecule set at one protocol.

    molecules: those that minao ran on.  left_out: those that it did not, which no statistics hold.
    pairs: per guess, its row and minao's on each molecule.  lowest: final energy (Eh) per molecule.
    """

    number: int
    molecule_set: str
    protocol: dict
    molecules: int
    left_out: int
    summaries: list[Summary]
    sizes: list[SizeBin]
    times: list[TimeSplit]
    remarks: list[str]
    pairs: dict[str, Pairs]
    lowest: dict[tuple[str, str], float]

    @property
    def title(self) -> str:
        return f"{self.number}. {self.molecule_set}: {level(self.protocol)}"


def level(protocol: dict, fitting: bool = True) -> str:
    """The short name of a protocol, which several may share."""
    name = f"{protocol['xc'].upper()}/{protocol['basis']}"
    if not fitting:
        return name
    return f"{name}, {'density fitting' if protocol['density_fit'] else 'no density fitting'}"


def sections(rows: list[dict]) -> list[Section]:
    """One Section per molecule set and protocol, in order of first appearance."""
    grouped: dict[tuple, list[dict]] = {}
    for row in rows:
        grouped.setdefault((row["set"], tuple(sorted(row["protocol"].items()))), []).append(row)
    return [_section(number, part) for number, part in enumerate(grouped.values(), start=1)]


def _section(number, rows):
    pairs = pairs_with_baseline(rows)
    molecules = {geometry(base): base["natm"] for of_guess in pairs.values() for _, base in of_guess}
    return Section(
        number=number,
        molecule_set=rows[0]["set"],
        protocol=rows[0]["protocol"],
        molecules=len(molecules),
        left_out=len({geometry(row) for row in rows} - set(molecules)),
        summaries=summarise(rows),
        sizes=[_size_bin(first, last, molecules, pairs) for first, last in _size_bins(list(molecules.values()))],
        times=[_time_split(guess, of_guess) for guess, of_guess in pairs.items() if timed_pairs(of_guess)],
        remarks=_remarks(rows),
        pairs=pairs,
        lowest=lowest_energies(rows),
    )


def _size_bins(natm):
    """Ranges (first, last) of atoms with about as many molecules each, their edges rounded to readable numbers."""
    if not natm:
        return []
    smallest, largest = min(natm), max(natm)
    count = min(_LARGEST_NUMBER_OF_BINS, max(1, len(natm) // _MOLECULES_PER_BIN))
    step = next((step for step in (1, 5, 10, 50) if largest - smallest <= 6 * count * step), 100)
    edges = {round(edge / step) * step for edge in np.quantile(natm, np.arange(1, count) / count)}
    starts = sorted({smallest} | {edge for edge in edges if smallest <= edge <= largest})
    bins = zip(starts, [*(start - 1 for start in starts[1:]), largest], strict=True)
    return [(first, last) for first, last in bins if any(first <= atoms <= last for atoms in natm)]


def _size_bin(first, last, molecules, pairs):
    natm = [atoms for atoms in molecules.values() if first <= atoms <= last]
    ratios = {}
    for guess, of_guess in pairs.items():
        within = [pair for pair in of_guess if first <= pair[1]["natm"] <= last]
        if within:
            own, base = (sum(map(counted_cycles, runs)) for runs in zip(*within, strict=True))
            ratios[guess] = ratio(own, base), len(within)
    return SizeBin(first, last, len(natm), fmean(natm), ratios)


def _time_split(guess, pairs):
    timed = timed_pairs(pairs)
    return TimeSplit(
        guess=guess,
        runs=len(timed),
        wall=_mean_stages([row["wall"] for row, _ in timed]),
        cpu=_mean_stages([row["cpu"] for row, _ in timed if row["cpu"] is not None]),
        baseline=fmean(wall_seconds(base) for _, base in timed),
        peak_memory=max((row["peak_memory_mb"] for row, _ in pairs if finite(row["peak_memory_mb"])),
                        default=math.nan),
        integrals=", ".join(sorted({row["integrals"] for row, _ in pairs if row["integrals"] is not None})),
    )


def _mean_stages(times):
    if not times:
        return dict.fromkeys(STAGES, math.nan)
    mean = {stage: fmean(time[stage] for time in times) for stage in ("model", "route", "cheap", "guess", "scf")}
    mean["rest"] = max(0.0, mean.pop("guess") - mean["model"] - mean["route"] - mean["cheap"])
    return {stage: mean[stage] for stage in STAGES}


def _remarks(rows):
    lowest = lowest_energies(rows)
    remarks = []
    for row in rows:
        where = f"{row['molecule']}, {label(row)}: "
        if row["error"]:
            remarks.append(where + f"failed, {row['error']}")
        elif not row["converged"]:
            remarks.append(where + f"not converged in {row['cycles']} cycles")
        elif finite(row["energy"]) and (above := row["energy"] - lowest[geometry(row)]) > ENERGY_TOLERANCE:
            remarks.append(where + f"higher energy, {above:.1e} Eh above the lowest")
        if row["refused"]:
            remarks.append(where + f"refused, {row['refused']}")
    return [" ".join(remark.split()) for remark in remarks]
