"""Benchmark results as Markdown tables."""

from __future__ import annotations

from dataclasses import dataclass

from pyscf_mlguess.benchmark.protocol import Protocol

# Final energies within this (Eh) count as equal.
ENERGY_TOLERANCE = 1e-6
_BASELINE = "minao"


@dataclass(frozen=True)
class Summary:
    """One guess over the molecules that both it and minao were run on, at one protocol.

    guess: its name, and the first digits of the SHA-256 of a learned guess's weights.
    cycles: SCF cycles plus the Fock builds that the guess itself made; failures count as max_cycle.
    wall_ratio: (guess + SCF) / (minao + its SCF) over the molecules where both have times.
    worst_energy: largest final energy above the lowest of all guesses (Eh).
    """

    guess: str
    runs: int
    cycles: int
    ratio_of_sums: float
    mean_ratio: float
    wall_ratio: float
    won: int
    tied: int
    lost: int
    failures: int
    refused: int
    worst_energy: float


def summarise(rows: list[dict]) -> list[Summary]:
    """One Summary per guess for rows of one protocol, in the order in which the guesses first appear."""
    by_guess: dict[str, dict] = {}
    for row in rows:
        by_guess.setdefault(_label(row), {})[_geometry(row)] = row
    lowest = _lowest_energies(rows)
    baseline = by_guess.get(_BASELINE, {})
    return [_summarise_guess(guess, runs, baseline, lowest) for guess, runs in by_guess.items()
            if any(molecule in baseline for molecule in runs)]


def _summarise_guess(guess, runs, baseline, lowest):
    pairs = [(row, baseline[molecule]) for molecule, row in runs.items() if molecule in baseline]
    counts = [(_counted_cycles(row), _counted_cycles(base)) for row, base in pairs]
    timed = [(_wall(row), _wall(base)) for row, base in pairs if _wall(row) is not None and _wall(base) is not None]
    above = [row["energy"] - lowest[molecule] for molecule, row in runs.items() if row["energy"] is not None]
    return Summary(
        guess=guess,
        runs=len(pairs),
        cycles=sum(own for own, _ in counts),
        ratio_of_sums=sum(own for own, _ in counts) / sum(base for _, base in counts),
        mean_ratio=sum(own / base for own, base in counts) / len(counts),
        wall_ratio=sum(own for own, _ in timed) / sum(base for _, base in timed) if timed else float("nan"),
        won=sum(own < base for own, base in counts),
        tied=sum(own == base for own, base in counts),
        lost=sum(own > base for own, base in counts),
        failures=sum(not row["converged"] for row, _ in pairs),
        refused=sum(row["refused"] is not None for row, _ in pairs),
        worst_energy=max(above, default=float("nan")),
    )


def _label(row):
    return f"{row['guess']} [{row['weights']}]" if row["weights"] else row["guess"]


def _geometry(row):
    return row["molecule"], row["fingerprint"]


def _lowest_energies(rows):
    lowest: dict[tuple, float] = {}
    for row in rows:
        if row["energy"] is not None:
            lowest[_geometry(row)] = min(row["energy"], lowest.get(_geometry(row), row["energy"]))
    return lowest


def _counted_cycles(row):
    return row["cycles"] + row["guess_builds"]


def _wall(row):
    return None if row["scf_seconds"] is None else row["guess_seconds"] + row["scf_seconds"]


def markdown(rows: list[dict]) -> str:
    """A table per protocol, followed by what failed, was refused or ended above the lowest energy."""
    by_protocol: dict[Protocol, list[dict]] = {}
    for row in rows:
        by_protocol.setdefault(Protocol(**row["protocol"]), []).append(row)
    return "\n\n".join(_section(protocol, part) for protocol, part in by_protocol.items())


def _section(protocol, rows):
    lines = [
        f"### {protocol.xc.upper()}/{protocol.basis}", "", f"Protocol: {protocol}, PySCF's DIIS.", "",
        "| guess | molecules | cycles | ratio of sums | mean of ratios | wall ratio | won / tied / lost | failures "
        "| refused | worst energy above the lowest (Eh) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for s in summarise(rows):
        lines.append(f"| {s.guess} | {s.runs} | {s.cycles} | {s.ratio_of_sums:.3f} | {s.mean_ratio:.3f} "
                     f"| {s.wall_ratio:.2f} | {s.won} / {s.tied} / {s.lost} | {s.failures} | {s.refused} "
                     f"| {s.worst_energy:.1e} |")
    return "\n".join(lines + _remarks(rows))


def _remarks(rows):
    lowest = _lowest_energies(rows)
    remarks = []
    for row in rows:
        where = f"- {row['molecule']}, {_label(row)}: "
        if row["error"]:
            remarks.append(where + f"failed, {row['error']}")
        elif not row["converged"]:
            remarks.append(where + f"not converged in {row['cycles']} cycles")
        elif (above := row["energy"] - lowest[_geometry(row)]) > ENERGY_TOLERANCE:
            remarks.append(where + f"{above:.1e} Eh above the lowest energy")
        if row["refused"]:
            remarks.append(where + f"refused, {row['refused']}")
    return ["", *remarks] if remarks else []
