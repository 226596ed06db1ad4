"""Each guess against minao: Fock builds, wall time, quality of the starting density, as numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from pyscf_mlguess.benchmark.guesses import BASELINE

# Final energies within this (Eh) count as equal.
ENERGY_TOLERANCE = 1e-6
_RESAMPLES = 2000

# Rows of a guess, each with the row of what it is compared with.
Pairs = list[tuple[dict, dict]]


@dataclass(frozen=True)
class Estimate:
    """A ratio and its bootstrap 95 % interval over molecules (NaN where there are fewer than two)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """One guess over the molecules that both it and minao were run on, at one protocol.

    guess: its name, and the first digits of the SHA-256 of a learned guess's weights.
    builds: Fock builds of guess and SCF (``fock_builds``).  cycles: PySCF's own count; failures count as max_cycle.
    ratio_of_sums, mean_ratio: Fock builds against minao's.
    wall_ratio, cpu_ratio: (guess + SCF) / (minao + its SCF), sums over the molecules where both have times.
    initial_energy_error: median of the energy of the guess minus the lowest final energy (Eh).
    initial_gradient: median norm of the orbital gradient of the guess (Eh).
    cheap_iterations: mean number per run.
    won, tied, lost: molecules with fewer, as many, more Fock builds than minao.
    higher: runs that ended more than ENERGY_TOLERANCE above the lowest energy of all guesses.
    worst_energy: largest final energy above the lowest of all guesses (Eh).
    trained_on, unknown: runs on training molecules of a learned guess, and runs where that is not known.
    """

    guess: str
    learned: bool
    runs: int
    builds: int
    cycles: int
    ratio_of_sums: Estimate
    mean_ratio: Estimate
    wall_ratio: float
    cpu_ratio: float
    initial_energy_error: float
    initial_gradient: float
    cheap_iterations: float
    won: int
    tied: int
    lost: int
    failures: int
    refused: int
    higher: int
    worst_energy: float
    trained_on: int
    unknown: int


def label(row: dict) -> str:
    """The guess of ``row`` as it is printed."""
    return f"{row['guess']} [{row['weights']}]" if row["weights"] else row["guess"]


def geometry(row: dict) -> tuple[str, str]:
    """What makes two rows runs of the same molecule."""
    return row["molecule"], row["fingerprint"]


def fock_builds(row: dict) -> int:
    """Fock builds in the user's basis, as counted: those of the guess, the one at it, every cycle's, PySCF's last one.

    A run that fails or does not converge counts as one that converges in its last cycle, or as what it made where that
    is more (newton, many builds in a cycle).
    """
    least = 0 if row["converged"] else row["protocol"]["max_cycle"] + 2
    return row["guess_builds"] + max(row["scf_builds"], least)


def time_ratio(pairs: Pairs, clock: str = "wall") -> float:
    """Ratio of summed times (guess + SCF) over the pairs where both rows have times; else NaN.

    clock: "wall" or "cpu".
    """
    timed = timed_pairs(pairs, clock)
    return ratio(*(sum(total_seconds(pair[index], clock) for pair in timed) for index in (0, 1)))


def finite(value: float | None) -> bool:
    """Whether ``value`` was measured: a failed run leaves None, one that diverged NaN or infinity."""
    return value is not None and math.isfinite(value)


def median_and_largest(values: np.ndarray) -> tuple[float, float]:
    """Both, NaN where there are no values."""
    return (float(np.median(values)), float(values.max())) if len(values) else (math.nan, math.nan)


def spread(values: np.ndarray) -> tuple[float, float, float]:
    """5 %, 50 % and 95 % quantiles, NaN where there are no values."""
    return tuple(map(float, np.quantile(values, (0.05, 0.5, 0.95)))) if len(values) else (math.nan,) * 3


def bootstrap(own: list[float], base: list[float]) -> tuple[Estimate, Estimate]:
    """Ratio of sums and mean of ratios, own / base, with percentile intervals from resampled molecules."""
    own, base = np.asarray(own, dtype=float), np.asarray(base, dtype=float)
    n = len(own)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = own / base
        values = ratio(own.sum(), base.sum()), ratios.mean() if n else math.nan
        if n < 2:
            return tuple(Estimate(float(value), math.nan, math.nan) for value in values)
        # How often each resample draws each molecule; a fixed seed, so that a report can be made again.
        draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES).astype(float)
        samples = draws @ own / (draws @ base), draws @ ratios / n
        return tuple(Estimate(float(value), *map(float, np.quantile(sample, (0.025, 0.975))))
                     for value, sample in zip(values, samples, strict=True))


def summarise(rows: list[dict]) -> list[Summary]:
    """One Summary per guess for rows of one protocol and set, in the order in which the guesses first appear."""
    lowest = lowest_energies(rows)
    return [_summarise_guess(guess, pairs, lowest) for guess, pairs in pairs_with_baseline(rows).items()]


def pairs_with_baseline(rows: list[dict]) -> dict[str, Pairs]:
    """Per guess, its row and minao's on every molecule that both ran on; without guesses that share none with it."""
    by_guess: dict[str, dict] = {}
    for row in rows:
        by_guess.setdefault(label(row), {})[geometry(row)] = row
    baseline = by_guess.get(BASELINE, {})
    paired = {guess: [(row, baseline[molecule]) for molecule, row in runs.items() if molecule in baseline]
              for guess, runs in by_guess.items()}
    return {guess: pairs for guess, pairs in paired.items() if pairs}


def _summarise_guess(guess, pairs, lowest):
    own = [fock_builds(row) for row, _ in pairs]
    base = [fock_builds(baseline) for _, baseline in pairs]
    runs = [row for row, _ in pairs]
    above = [row["energy"] - lowest[geometry(row)] for row in runs if finite(row["energy"])]
    errors = [row["initial_energy"] - lowest[geometry(row)] for row in runs
              if finite(row["initial_energy"]) and geometry(row) in lowest]
    gradients = [row["initial_gradient"] for row in runs if finite(row["initial_gradient"])]
    ratio_of_sums, mean_ratio = bootstrap(own, base)
    return Summary(
        guess=guess,
        learned=bool(runs[0]["weights"]),
        runs=len(runs),
        builds=sum(own),
        cycles=sum(row["cycles"] for row in runs),
        ratio_of_sums=ratio_of_sums,
        mean_ratio=mean_ratio,
        wall_ratio=time_ratio(pairs),
        cpu_ratio=time_ratio(pairs, "cpu"),
        initial_energy_error=median(errors) if errors else math.nan,
        initial_gradient=median(gradients) if gradients else math.nan,
        cheap_iterations=fmean(row["cheap_iterations"] for row in runs),
        won=sum(a < b for a, b in zip(own, base, strict=True)),
        tied=sum(a == b for a, b in zip(own, base, strict=True)),
        lost=sum(a > b for a, b in zip(own, base, strict=True)),
        failures=sum(not row["converged"] for row in runs),
        refused=sum(row["refused"] is not None for row in runs),
        higher=sum(energy > ENERGY_TOLERANCE for energy in above),
        worst_energy=max(above, default=math.nan),
        trained_on=sum(row["trained_on"] is True for row in runs),
        unknown=sum(row["trained_on"] is None for row in runs),
    )


def timed_pairs(pairs: Pairs, clock: str = "wall") -> Pairs:
    """The pairs where both rows have times."""
    return [(own, base) for own, base in pairs if own[clock] is not None and base[clock] is not None]


def total_seconds(row: dict, clock: str = "wall") -> float:
    """Guess and SCF of a row that has times."""
    return row[clock]["guess"] + row[clock]["scf"]


def ratio(own: float, base: float) -> float:
    """own / base, NaN for a base of zero."""
    return float(own / base) if base else math.nan


def lowest_energies(rows: list[dict]) -> dict[tuple[str, str], float]:
    """Lowest final energy (Eh) of all guesses per molecule that any of them converged on."""
    lowest: dict[tuple[str, str], float] = {}
    for row in rows:
        if finite(row["energy"]):
            lowest[geometry(row)] = min(row["energy"], lowest.get(geometry(row), row["energy"]))
    return lowest
