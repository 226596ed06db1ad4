"""Whether a guess can be switched on and forgotten: no run may end worse than minao's, and all that do are named."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pyscf_mlguess.benchmark.guesses import BASELINE, is_two_level
from pyscf_mlguess.benchmark.summary import ENERGY_TOLERANCE, Pairs, finite, fock_builds

# Fock builds that nearly all two-level runs are to need at most, and how many more than minao's no run may.
FEW, MORE = 3, 1


@dataclass(frozen=True)
class Trust:
    """The runs of one guess against minao's.

    lost, gained: converged with one of the two only.
    closed, open: final energies (higher, lower) than minao's by more than ENERGY_TOLERANCE, of restricted closed shells
    and of all others.
    more: runs of more Fock builds than minao's and MORE.  few: converged runs of at most FEW builds.
    left: two-level runs that were plain PySCF's, where cycles are cheap; took_part: all others.
    builds, baseline_builds: sums (``fock_builds``).
    """

    guess: str
    runs: int
    baseline_converged: int
    converged: int
    lost: int
    gained: int
    closed: tuple[int, int]
    open: tuple[int, int]
    more: int
    few: int
    took_part: int
    left: int
    refused: int
    builds: int
    baseline_builds: int


@dataclass(frozen=True)
class Breach:
    """One run that ended worse than minao's: what happened, builds, and the difference of the energies (Eh or NaN)."""

    molecule: str
    guess: str
    what: str
    baseline_builds: int
    builds: int
    difference: float


def trust(parts: list[dict[str, Pairs]]) -> list[Trust]:
    """One Trust per guess other than minao, over the pairs of several protocols."""
    guesses = dict.fromkeys(guess for pairs in parts for guess in pairs if guess != BASELINE)
    return [_trust(guess, [pair for pairs in parts for pair in pairs.get(guess, ())]) for guess in guesses]


def breaches(pairs: dict[str, Pairs]) -> list[Breach]:
    """Every run that lost convergence, ended above minao's energy or made more builds than is allowed."""
    found = []
    for guess, of_guess in pairs.items():
        for row, base in of_guess:
            if what := ", ".join(_what(row, base)):
                found.append(Breach(row["molecule"], guess, what, fock_builds(base), fock_builds(row),
                                    _difference(row, base)))
    return found


def _trust(guess, pairs):
    closed, others = ([_difference(row, base) for row, base in pairs if _is_closed(row) == wanted]
                      for wanted in (True, False))
    taking_part = [row for row, _ in pairs if not _is_left(row)]
    return Trust(
        guess=guess,
        runs=len(pairs),
        baseline_converged=sum(base["converged"] for _, base in pairs),
        converged=sum(row["converged"] for row, _ in pairs),
        lost=sum(base["converged"] and not row["converged"] for row, base in pairs),
        gained=sum(row["converged"] and not base["converged"] for row, base in pairs),
        closed=_higher_and_lower(closed),
        open=_higher_and_lower(others),
        more=sum(_makes_more(row, base) for row, base in pairs),
        few=sum(row["converged"] and fock_builds(row) <= FEW for row in taking_part),
        took_part=len(taking_part),
        left=len(pairs) - len(taking_part),
        refused=sum(row["refused"] is not None for row, _ in pairs),
        builds=sum(fock_builds(row) for row, _ in pairs),
        baseline_builds=sum(fock_builds(base) for _, base in pairs),
    )


def _is_left(row):
    # Where plain PySCF does not converge, the scheme takes part after all.
    return is_two_level(row["guess"]) and row["converged"] and not row["cheap_iterations"]


def _what(row, base) -> Iterator[str]:
    if base["converged"] and not row["converged"]:
        yield f"lost ({' '.join(row['error'].split())})" if row["error"] else "lost"
    if _difference(row, base) > ENERGY_TOLERANCE:
        yield f"higher ({'closed' if _is_closed(row) else 'open'} shell)"
    if _makes_more(row, base):
        yield "more builds"


def _makes_more(row, base):
    return fock_builds(row) > fock_builds(base) + MORE


def _is_closed(row):
    return row["multiplicity"] == 1 and not row["protocol"]["unrestricted"]


def _difference(row, base):
    return row["energy"] - base["energy"] if finite(row["energy"]) and finite(base["energy"]) else math.nan


def _higher_and_lower(differences):
    return (sum(difference > ENERGY_TOLERANCE for difference in differences),
            sum(difference < -ENERGY_TOLERANCE for difference in differences))
