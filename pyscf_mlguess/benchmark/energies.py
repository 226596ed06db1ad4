"""Energies and dipoles without an SCF: those of guesses, against where the SCFs end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyscf.data.nist import HARTREE2EV

from pyscf_mlguess.benchmark.summary import finite, geometry, label, median_and_largest, spread

_MEV = 1e3 * HARTREE2EV
# Below this (debye) a converged dipole is not right either.
_SHARP = 1e-4

# Rows, each with that of the lowest final energy on its molecule.
Starts = list[tuple[dict, dict]]


@dataclass(frozen=True)
class Energies:
    """One guess over the molecules on which it was not refused and some SCF converged.

    error: median and largest error of the guess's energy, meV/atom.  relaxed: the same after ``energy_error`` is taken
    off it (Harris, Phys. Rev. B 31, 1770 (1985)).
    ratios: ``energy_error`` over the error, 5 %, 50 % and 95 % quantiles; below: runs where it is smaller; both where
    the error is above ``conv_tol``.
    dipole, dipole_ratios, dipole_below: the same of the dipole, debye; ratios where the error is above 1e-4.
    """

    guess: str
    runs: int
    refused: int
    error: tuple[float, float]
    relaxed: tuple[float, float]
    ratios: tuple[float, float, float]
    below: int
    dipole: tuple[float, float]
    dipole_ratios: tuple[float, float, float]
    dipole_below: int


def starts(rows: list[dict]) -> Starts:
    """The rows of one protocol whose guess's energy and dipole were measured, where an SCF shows the right ones."""
    lowest: dict[tuple, dict] = {}
    for row in rows:
        if finite(row["energy"]) and row["dipole"] is not None:
            best = lowest.setdefault(geometry(row), row)
            lowest[geometry(row)] = min(best, row, key=lambda one: one["energy"])
    return [(row, lowest[geometry(row)]) for row in rows
            if finite(row["initial_energy_error"]) and geometry(row) in lowest]


def energies(measured: Starts) -> list[Energies]:
    """One Energies per guess, in the order in which the guesses first appear."""
    by_guess: dict[str, Starts] = {}
    for row, end in measured:
        by_guess.setdefault(label(row), []).append((row, end))
    return [_energies(guess, of_guess) for guess, of_guess in by_guess.items()]


def _energies(guess, measured):
    served = [(row, end) for row, end in measured if row["refused"] is None]
    above = np.array([row["initial_energy"] - end["energy"] for row, end in served])
    estimates = np.array([row["initial_energy_error"] for row, _ in served])
    # The SCF's own results are not right to more.
    resolved = np.abs(above) > [row["protocol"]["conv_tol"] for row, _ in served]
    atoms = np.array([row["natm"] for row, _ in served])
    dipoles = np.array([np.linalg.norm(np.subtract(row["initial_dipole"], end["dipole"])) for row, end in served])
    dipole_estimates = np.array([row["initial_dipole_error"] for row, _ in served])
    sharp = dipoles > _SHARP
    return Energies(
        guess=guess,
        runs=len(served),
        refused=len(measured) - len(served),
        error=median_and_largest(_MEV * np.abs(above) / atoms),
        relaxed=median_and_largest(_MEV * np.abs(above - estimates) / atoms),
        ratios=spread(estimates[resolved] / np.abs(above)[resolved]),
        below=int(np.sum((estimates < np.abs(above))[resolved])),
        dipole=median_and_largest(dipoles),
        dipole_ratios=spread(dipole_estimates[sharp] / dipoles[sharp]),
        dipole_below=int(np.sum((dipole_estimates < dipoles)[sharp])),
    )
