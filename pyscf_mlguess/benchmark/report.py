"""Benchmark results as tables, and these as Markdown."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from pyscf_mlguess.benchmark.energies import Starts, energies
from pyscf_mlguess.benchmark.guesses import BASELINE
from pyscf_mlguess.benchmark.sections import (
    NOISE,
    STAGES,
    Memory,
    Section,
    SizeBin,
    Stop,
    TimeSplit,
    level,
    sections,
)
from pyscf_mlguess.benchmark.sets import TRUST
from pyscf_mlguess.benchmark.states import NEWTON_TOLERANCE, States
from pyscf_mlguess.benchmark.summary import ENERGY_TOLERANCE, Estimate, Summary
from pyscf_mlguess.benchmark.trust import FEW, MORE, breaches, trust

HEAD = (
    "Fock builds: all those in the user's basis, counted as they happen: the guess's own, the one at the guess, every "
    "cycle's, and PySCF's last one, which its number of cycles leaves out; a micro-iteration of newton is one, too. "
    "Three-centre Coulomb matrices and coarse exchange-correlation (and density-fitted exchange for an SCF without "
    "density fitting) count as time, not as builds.  So do the cheap iterations of refined guesses and of two-level "
    "SCFs (coarse grid, single precision); their number and their time are in the tables.",
    "Ratios are against minao on the same molecules, below 1 is better; in brackets the 95 % interval from resampling "
    "the molecules. Wall ratio: guess and SCF together. Compare builds under protocols with density fitting and wall "
    "times under protocols without it.",
    "A refused guess ran minao (`ml` refined minao) and counts with its builds. A run that fails or does not "
    "converge counts as max_cycle + 2 builds, or as those that it made where these are more. Higher: final energy more "
    f"than {ENERGY_TOLERANCE:.0e} Eh above the lowest of all guesses. All of these are listed.",
)


@dataclass(frozen=True)
class Table:
    """Cells ready to print; the first ``text_columns`` of them are words, the others numbers.

    note: what a reader must know to read the numbers, or "".
    """

    title: str
    header: list[str]
    cells: list[list[str]]
    note: str = ""
    text_columns: int = 1


def markdown(rows: list[dict]) -> str:
    """The report as Markdown: overview, then per molecule set and protocol its tables and what went wrong."""
    parts = sections(rows)
    blocks = ["# Initial guesses", *HEAD]
    if not parts:
        blocks.append("No runs.")
    for table in overviews(parts):
        blocks += [f"## {table.title}", markdown_table(table), table.note]
    for section in parts:
        blocks += [f"## {escape(section.title)}", *map(escape, facts(section))]
        for table in tables(section):
            blocks += [f"### {table.title}", markdown_table(table), *([table.note] if table.note else [])]
        if section.remarks:
            blocks += ["### Failures, refusals, higher energies and saddles",
                       "\n".join(f"- {escape(remark)}" for remark in section.remarks)]
    return "\n\n".join(blocks) + "\n"


def markdown_table(table: Table) -> str:
    """``table`` in columns padded to be read unrendered, too."""
    lines = [[escape(cell).replace("|", r"\|") for cell in line] for line in (table.header, *table.cells)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    aligned = [[cell.ljust(width) if column < table.text_columns else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))] for line in lines]
    rule = ["-" * width if column < table.text_columns else "-" * (width - 1) + ":"
            for column, width in enumerate(widths)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (aligned[0], rule, *aligned[1:]))


def escape(text: str) -> str:
    """``text`` without HTML tags in it, as far as Markdown is concerned."""
    return text.replace("<", r"\<")


def facts(section: Section) -> list[str]:
    """Protocol, number of molecules, and what the learned guesses were trained on, as paragraphs."""
    protocol = ", ".join(f"{name}={value}" for name, value in section.protocol.items())
    molecules = f"{section.molecules} molecule{'' if section.molecules == 1 else 's'}"
    if section.left_out:
        molecules += f"; {section.left_out} more left out, without a run of minao to compare with"
    trained = [f"{s.guess} was trained on {s.trained_on} of {s.runs} molecules ({s.unknown} unknown)"
               for s in section.summaries if s.learned]
    return [f"Protocol: {protocol}, PySCF's DIIS.", "; ".join([molecules, *trained]) + "."]


def overviews(parts: list[Section]) -> list[Table]:
    """What stands before the sections: trust, and of several the overview and their energies without an SCF."""
    trusted = [section for section in parts if section.molecule_set == TRUST and section.summaries]
    found = [table(trusted) for table in (_trust, _breaches)] if trusted else []
    if len(parts) < 2:
        return found
    measured = [start for section in parts for start in section.starts]
    runs = [section for section in parts if not section.protocol["without_scf"]]
    return [*found, *([overview(runs)] if runs else []), *([_energies(measured)] if measured else [])]


def overview(parts: list[Section]) -> Table:
    """One line per section, for the guesses that at least two fifths of the sections hold."""
    occurrences = Counter(s.guess for section in parts for s in section.summaries if s.guess != BASELINE)
    guesses = [guess for guess, sections_with_it in occurrences.items() if 5 * sections_with_it >= 2 * len(parts)]
    cells = []
    for section in parts:
        by_guess = {s.guess: s for s in section.summaries}
        fitting = "yes" if section.protocol["density_fit"] else "no"
        baseline = by_guess.get(BASELINE)
        cells.append([str(section.number), section.molecule_set, level(section.protocol, fitting=False), fitting,
                      str(section.molecules), _builds_per_run(baseline) if baseline else "-",
                      *(_overview_cell(by_guess.get(guess)) for guess in guesses)])
    header = ["no.", "set", "level", "fitted", "molecules", f"builds {BASELINE}", *guesses]
    return Table("Overview", header, cells, "Fock builds a molecule / wall ratio; in brackets failed and refused runs "
                 "where there are any. Fitted: density fitting in the SCF.", text_columns=4)


def _overview_cell(summary: Summary | None):
    if summary is None:
        return "-"
    bad = [f"{count} {what}" for count, what in ((summary.failures, "failed"), (summary.refused, "refused"),
                                                 (summary.higher, "higher")) if count]
    cell = f"{_builds_per_run(summary)} / {number(summary.wall_ratio, '.2f')}"
    return f"{cell} ({', '.join(bad)})" if bad else cell


def _builds_per_run(summary):
    return number(summary.builds / summary.runs, ".1f")


def tables(section: Section) -> list[Table]:
    """The tables of one section; none without a run of minao, and the energies alone where no SCF went on."""
    if not section.summaries:
        return []
    if section.protocol["without_scf"]:
        return [_energies(section.starts)] if section.starts else []
    optional = ((_states, section.states), (_times, section.times), (_memory, section.memory), (_stops, section.stops),
                (_energies, section.starts))
    return [_builds(section.summaries), _quality(section.summaries), _sizes(section.summaries, section.sizes),
            *(table(found) for table, found in optional if found)]


def _builds(summaries: list[Summary]):
    header = ["guess", "molecules", "builds", "a molecule", "ratio of sums", "mean of ratios", "wall ratio",
              "CPU ratio", "won / tied / lost", "cycles", "cheap iterations", "failures", "refused", "higher"]
    cells = [[s.guess, str(s.runs), str(s.builds), _builds_per_run(s), interval(s.ratio_of_sums),
              interval(s.mean_ratio), number(s.wall_ratio, ".2f"), number(s.cpu_ratio, ".2f"),
              f"{s.won} / {s.tied} / {s.lost}", str(s.cycles), number(s.cheap_iterations, ".1f"), str(s.failures),
              str(s.refused), str(s.higher)] for s in summaries]
    return Table("Fock builds and wall time", header, cells,
                 "Ratios of builds, then of time. Cycles: PySCF's mf.cycles. Cheap iterations: mean number per run.")


def _quality(summaries: list[Summary]):
    header = ["guess", "energy error (Eh)", "orbital gradient (Eh)", "worst final energy (Eh)"]
    cells = [[s.guess, number(s.initial_energy_error, ".1e"), number(s.initial_gradient, ".1e"),
              number(s.worst_energy, ".1e")] for s in summaries]
    return Table("Starting density", header, cells,
                 "Medians of the guess before the first cycle, and the largest final energy "
                 "above the lowest of all guesses. The energy error may be negative where the density is not "
                 "that of a determinant.")


def _sizes(summaries: list[Summary], sizes: list[SizeBin]):
    header = ["guess"] + [f"{_range(size)} ({size.molecules})" for size in sizes]
    cells = [[s.guess, *(_size_cell(size, s.guess) for size in sizes)] for s in summaries]
    return Table("Ratio of Fock builds by number of atoms", header, cells,
                 "Ratio of sums; in brackets the molecules, in a cell where they are fewer.")


def _range(size):
    return str(size.first) if size.first == size.last else f"{size.first}-{size.last}"


def _size_cell(size, guess):
    if guess not in size.ratios:
        return "-"
    ratio, runs = size.ratios[guess]
    return number(ratio, ".3f") + (f" ({runs})" if runs < size.molecules else "")


def _states(states: list[States]):
    header = ["guess", "converged", f"builds ({states[0].common} common)", "all builds", "above minao", "below minao",
              "beside newton", "above newton", "below newton", "analysed", "saddles", "warned"]
    cells = [[s.guess, f"{s.converged} of {s.runs}", *(str(count) for count in (
        s.common_builds, s.builds, s.higher, s.lower, s.beside_newton, s.above_newton, s.below_newton, s.analysed,
        s.saddles, s.warned))] for s in states]
    return Table("States and convergence", header, cells,
                 "Fock builds where all guesses converged, then those of all runs. Final energies more than "
                 f"{ENERGY_TOLERANCE:.0e} Eh above and below minao's; where newton converged, too, more than "
                 f"{NEWTON_TOLERANCE:.0e} Eh above and below newton's. Of the converged runs that PySCF's stability "
                 "analysis looked at, those that it calls unstable within their class of orbitals (soft rotations, "
                 "held by the grid alone, can be among them), and those of these that warned of a saddle.")


def _times(times: list[TimeSplit]):
    header = ["guess", "builds", "wall ratio", "CPU ratio", "cheap iterations", "model", "route", "cheap",
              "rest of guess", "Fock builds", "rest of SCF", "all", "integrals"]
    cells = [[t.guess, number(t.builds, ".1f"), number(t.wall_ratio, ".2f"), number(t.cpu_ratio, ".2f"),
              number(t.cheap_iterations, ".1f"),
              *(f"{seconds(t.wall[stage])} / {seconds(t.cpu[stage])}" for stage in STAGES),
              f"{seconds(_whole(t.wall))} / {seconds(_whole(t.cpu))}", t.integrals or "-"] for t in times]
    return Table("Time per run", header, cells,
                 "Means over the molecules where guess and minao have times; wall / CPU seconds. Rest of SCF: its "
                 "set-up, tensor of the density fitting included, diagonalisation and DIIS.")


def _whole(by_stage):
    # Without the Fock builds where an earlier version did not time them by themselves: the SCF holds them there.
    return sum(value for stage, value in by_stage.items() if stage != "build" or math.isfinite(value))


def _memory(memory: list[Memory]):
    header = ["guess", "runs", "peak", "peak growth", "after the guess", "after the run", "peak above minao's SCF"]
    cells = [[m.guess, str(m.runs), *(number(value, ".0f") for value in (
        m.peak, m.peak_growth, m.after_guess, m.after, m.over_baseline))] for m in memory]
    return Table("Memory (MB)", header, cells,
                 "Resident memory, the largest of all molecules. All but the first are the growth since the run began: "
                 "at its highest, when the SCF begins its first Fock build, and at the end, its integrals still held; "
                 "last, the largest excess of the growth over that of minao's run of the same molecule.")


def _stops(stops: list[Stop]):
    header = ["guess", "runs", "lacking: median", "largest", "estimates", "median", "largest", "too small",
              "estimate / lacking: 5 %", "50 %", "95 %", "largest above minao's"]
    cells = [[s.guess, str(s.runs), *(number(value, ".1e") for value in s.lacking), str(s.estimates),
              *(number(value, ".1e") for value in s.estimate), str(s.below),
              *(number(value, ".1f") for value in s.ratios), number(s.above_baseline, ".1e")] for s in stops]
    return Table("Energy at the stop (Eh)", header, cells,
                 "Lacking: |energy - energy that plain PySCF reaches from there at conv_tol 1e-12, gradient 1e-7|. "
                 "Estimates: what the two-level SCF takes this to be at most. Too small, and the ratio: differences "
                 f"below {NOISE:.0e} Eh are rounding. Last: energy against that of minao's run.")


def _energies(measured: Starts):
    header = ["guess", "molecules", "refused", "energy: median", "largest", "less estimate: median", "largest",
              "estimate / error: 5 %", "50 %", "95 %", "too small", "dipole: median", "largest",
              "estimate / error: 5 %", "50 %", "95 %", "too small"]
    cells = [[e.guess, str(e.runs), str(e.refused), *(number(value, ".3g") for value in (*e.error, *e.relaxed)),
              *(number(value, ".2f") for value in e.ratios), str(e.below),
              *(number(value, ".2g") for value in e.dipole),
              *(number(value, ".2f") for value in e.dipole_ratios), str(e.dipole_below)] for e in energies(measured)]
    return Table("Energies without an SCF", header, cells,
                 "pyscf_mlguess.energy of each guess, one Fock build: absolute errors against the lowest of all SCFs, "
                 "meV/atom and debye, as they are and (energies) less the estimate. Refused guesses are left out, "
                 "and ratios where the error is below conv_tol or 1e-4 debye.")


def _trust(parts):
    figures = [("all", trust([section.pairs for section in parts]))]
    figures += [(level(section.protocol), trust([section.pairs])) for section in parts]
    header = ["level", "guess", "structures", "minao converged", "converged", "lost", "gained", "closed: higher",
              "lower", "open: higher", "lower", f"more than minao + {MORE}", f"within {FEW}", "builds minao", "builds",
              "left to PySCF", "refused"]
    cells = [[name, t.guess, *(str(count) for count in (t.runs, t.baseline_converged, t.converged, t.lost, t.gained,
                                                        *t.closed, *t.open, t.more)),
              f"{t.few} of {t.took_part}", number(t.baseline_builds / t.runs, ".1f"), number(t.builds / t.runs, ".1f"),
              str(t.left), str(t.refused)] for name, of_level in figures for t in of_level]
    return Table("Trust", header, cells,
                 "Against minao's run of the same structure. Lost: minao converges and the guess does not; gained: the "
                 f"reverse. Higher and lower: final energies more than {ENERGY_TOLERANCE:.0e} Eh away, of restricted "
                 "closed shells and of all others. Within: runs of few builds, of those that were not left to plain "
                 "PySCF. Left to PySCF: two-level runs without a cheap iteration, where plain cycles are as cheap. "
                 "Builds: a structure; a run that fails counts as in all tables.", text_columns=2)


def _breaches(parts):
    cells = [[b.molecule, level(section.protocol), b.guess, b.what, str(b.baseline_builds), str(b.builds),
              number(b.difference, ".1e")] for section in parts for b in breaches(section.pairs)]
    return Table("Trust: every exception", ["structure", "level", "guess", "what", "builds minao", "builds",
                                            "energy - minao's (Eh)"], cells,
                 "By name: convergence lost, final energies above minao's, and more builds than minao's and "
                 f"{MORE}." if cells else "None.", text_columns=4)


def interval(estimate: Estimate) -> str:
    """Value and interval, the value alone where there is no interval."""
    if math.isnan(estimate.low):
        return number(estimate.value, ".3f")
    return f"{number(estimate.value, '.3f')} [{number(estimate.low, '.3f')}, {number(estimate.high, '.3f')}]"


def number(value: float, form: str) -> str:
    """``value`` in ``form``, "-" where there is none."""
    return format(value, form) if math.isfinite(value) else "-"


def seconds(value: float) -> str:
    """Three digits, none below a millisecond."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.01 \
        else f"{value:.3f}" if value >= 5e-4 else "0"
