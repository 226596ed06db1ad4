"""The report's sections: everything that Markdown and HTML print of one molecule set at one protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from pyscf_mlguess.benchmark.energies import Starts, starts
from pyscf_mlguess.benchmark.states import States, states
from pyscf_mlguess.benchmark.summary import (
    ENERGY_TOLERANCE,
    Pairs,
    Summary,
    finite,
    fock_builds,
    geometry,
    label,
    lowest_energies,
    median_and_largest,
    pairs_with_baseline,
    ratio,
    spread,
    summarise,
    time_ratio,
    timed_pairs,
    total_seconds,
)

# Parts of a run's time; "rest" is what of the guess the first three leave, "scf" what of the SCF its Fock builds leave.
STAGES = ("model", "route", "cheap", "rest", "build", "scf")
# Below this (Eh) differences of energies are rounding.
NOISE = 1e-11
_USUAL_MEMORY, _USUAL_TOLERANCE = 4000, 1e-9  # MB and Eh, PySCF's defaults
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
    wall_ratio, cpu_ratio: of sums, against minao.  cheap_iterations, builds: mean numbers.
    integrals: how the SCF held them.
    """

    guess: str
    runs: int
    wall: dict[str, float]
    cpu: dict[str, float]
    baseline: float
    wall_ratio: float
    cpu_ratio: float
    cheap_iterations: float
    builds: float
    integrals: str


@dataclass(frozen=True)
class Memory:
    """Largest resident memory (MB) of one guess over its molecules, minao's SCF on the same ones beside it.

    peak: of the process.  Growth since the run began: peak_growth at the highest, after_guess when the first Fock build
    of the SCF begins, after at the end, the SCF object still there.  over_baseline: largest difference of peak_growth
    to minao's on a molecule.
    """

    guess: str
    runs: int
    peak: float
    peak_growth: float
    after_guess: float
    after: float
    over_baseline: float


@dataclass(frozen=True)
class Stop:
    """What the energy lacked where runs of one guess stopped (Eh), of those that were converged on.

    estimates: number of runs with an estimate of it, of which the median and the largest.
    lacking: median and largest.  below: estimates smaller than what was lacking (by more than NOISE).
    ratios: estimate over what was lacking, 5 %, 50 % and 95 % quantiles, where more than NOISE was lacking.
    above_baseline: largest energy above that of minao's run on the same molecule.
    """

    guess: str
    runs: int
    estimates: int
    estimate: tuple[float, float]
    lacking: tuple[float, float]
    below: int
    ratios: tuple[float, float, float]
    above_baseline: float


@dataclass(frozen=True)
class Section:
    """The rows of one molecule set at one protocol.

    molecules: those that minao ran on.  left_out: those that it did not, which no statistics hold.
    memory, stops: of the guesses for which they were measured.  states: where the protocol asks for stability.
    starts: where the guess's energy was measured.
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
    memory: list[Memory]
    stops: list[Stop]
    states: list[States]
    starts: Starts
    remarks: list[str]
    pairs: dict[str, Pairs]
    lowest: dict[tuple[str, str], float]

    @property
    def title(self) -> str:
        return f"{self.number}. {self.molecule_set}: {level(self.protocol)}"


def level(protocol: dict, fitting: bool = True) -> str:
    """The short name of a protocol, which several may share."""
    parts = [f"{protocol['xc'].upper()}/{protocol['basis']}"]
    if fitting:
        parts.append("density fitting" if protocol["density_fit"] else "no density fitting")
    parts += [name.replace("_", " ") for name in ("symmetry", "restricted_open", "unrestricted", "generalised", "x2c",
                                                 "scanner") if protocol[name]]
    if protocol["smearing"]:
        parts.append(f"smearing {protocol['smearing']:g} Eh")
    if protocol["conv_tol"] != _USUAL_TOLERANCE:
        parts.append(f"conv_tol {protocol['conv_tol']:g}")
    if protocol["max_memory"] != _USUAL_MEMORY:
        parts.append(f"{protocol['max_memory']} MB")
    return ", ".join(parts)


def sections(rows: list[dict]) -> list[Section]:
    """One Section per molecule set and protocol, in order of first appearance."""
    grouped: dict[tuple, list[dict]] = {}
    for row in rows:
        grouped.setdefault((row["set"], tuple(sorted(row["protocol"].items()))), []).append(row)
    return [_section(number, part) for number, part in enumerate(grouped.values(), start=1)]


def _section(number, rows):
    runs = [row for row in rows if row["converged"] is not None]
    pairs = pairs_with_baseline(runs)
    molecules = {geometry(base): base["natm"] for of_guess in pairs.values() for _, base in of_guess}
    return Section(
        number=number,
        molecule_set=rows[0]["set"],
        protocol=rows[0]["protocol"],
        molecules=len(molecules),
        left_out=len({geometry(row) for row in rows} - set(molecules)),
        summaries=summarise(runs),
        sizes=[_size_bin(first, last, molecules, pairs) for first, last in _size_bins(list(molecules.values()))],
        times=[_time_split(guess, of_guess) for guess, of_guess in pairs.items() if timed_pairs(of_guess)],
        memory=[found for guess, of_guess in pairs.items() if (found := _memory(guess, of_guess))],
        stops=[found for guess, of_guess in pairs.items() if (found := _stop(guess, of_guess))],
        states=states(pairs) if rows[0]["protocol"]["stability"] else [],
        starts=starts(rows),
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
            own, base = (sum(map(fock_builds, runs)) for runs in zip(*within, strict=True))
            ratios[guess] = ratio(own, base), len(within)
    return SizeBin(first, last, len(natm), fmean(natm), ratios)


def _time_split(guess, pairs):
    timed = timed_pairs(pairs)
    return TimeSplit(
        guess=guess,
        runs=len(timed),
        wall=_mean_stages([row["wall"] for row, _ in timed]),
        cpu=_mean_stages([row["cpu"] for row, _ in timed if row["cpu"] is not None]),
        baseline=fmean(total_seconds(base) for _, base in timed),
        wall_ratio=time_ratio(pairs),
        cpu_ratio=time_ratio(pairs, "cpu"),
        cheap_iterations=fmean(row["cheap_iterations"] for row, _ in timed),
        builds=fmean(fock_builds(row) for row, _ in timed),
        integrals=", ".join(sorted({row["integrals"] for row, _ in pairs if row["integrals"] is not None})),
    )


def _memory(guess, pairs):
    grown = [(row, _growth(row), _growth(base)) for row, base in pairs]
    grown = [(row, own, base) for row, own, base in grown if own and base]
    if not grown:
        return None
    return Memory(guess, len(grown), max(row["peak_memory_mb"] for row, *_ in grown),
                  *(max(own[name] for _, own, _ in grown) for name in ("peak", "after_guess", "after")),
                  max(own["peak"] - base["peak"] for _, own, base in grown))


def _growth(row):
    """Resident memory since the run began, MB; None where it was not measured."""
    resident = row["resident_mb"]
    if resident is None or row["peak_memory_mb"] is None:
        return None
    levels = {"peak": row["peak_memory_mb"], "after_guess": resident["after_guess"], "after": resident["after"]}
    return {name: value - resident["before"] for name, value in levels.items()}


def _stop(guess, pairs):
    runs = [row for row, _ in pairs if finite(row["energy_lacking"])]
    if not runs:
        return None
    lacking = np.array([abs(row["energy_lacking"]) for row in runs])
    estimates = np.array([row["energy_estimate"] if finite(row["energy_estimate"]) else math.nan for row in runs])
    known, real = np.isfinite(estimates), lacking > NOISE
    ratios = estimates[known & real] / lacking[known & real]
    return Stop(guess, len(runs), int(known.sum()), median_and_largest(estimates[known]), median_and_largest(lacking),
                int(np.sum(known & (lacking > estimates + NOISE))),
                spread(ratios),
                max((row["energy"] - base["energy"] for row, base in pairs
                     if finite(row["energy"]) and finite(base["energy"])), default=math.nan))


def _mean_stages(times):
    if not times:
        return dict.fromkeys(STAGES, math.nan)
    mean = {stage: fmean(time[stage] for time in times) for stage in ("model", "route", "cheap", "guess", "scf")}
    mean["rest"] = max(0.0, mean.pop("guess") - mean["model"] - mean["route"] - mean["cheap"])
    # Earlier versions did not time Fock builds by themselves.
    mean["build"] = fmean(time.get("build", math.nan) for time in times)
    if finite(mean["build"]):
        mean["scf"] = max(0.0, mean["scf"] - mean["build"])
    return {stage: mean[stage] for stage in STAGES}


def _remarks(rows):
    lowest = lowest_energies(rows)
    remarks = []
    for row in rows:
        where = f"{row['molecule']}, {label(row)}: "
        if row["error"]:
            remarks.append(where + f"failed, {row['error']}")
        elif row["converged"] is False:
            remarks.append(where + f"not converged in {row['cycles']} cycles")
        elif finite(row["energy"]) and (above := row["energy"] - lowest[geometry(row)]) > ENERGY_TOLERANCE:
            remarks.append(where + f"higher energy, {above:.1e} Eh above the lowest")
        if row["stable"] is False:
            remarks.append(where + "saddle, unstable by PySCF's analysis")
        if row["refused"]:
            remarks.append(where + f"refused, {row['refused']}")
    return [" ".join(remark.split()) for remark in remarks]
