"""Benchmark results as figures (SVG)."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from io import StringIO

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pyscf_mlguess.benchmark.guesses import BASELINE, needs_converged
from pyscf_mlguess.benchmark.sections import STAGES, Section
from pyscf_mlguess.benchmark.summary import Summary, fock_builds, geometry

# Okabe and Ito's and Tol's colours, chosen to differ for colour-blind readers, too.
_LEARNED_COLOURS = ("#D55E00", "#AA3377", "#882255", "#EE3377")
_CLASSICAL_COLOURS = ("#0072B2", "#009E73", "#56B4E9", "#E69F00", "#332288", "#999933", "#44AA99",
                      "#CC79A7", "#117733", "#88CCEE")
_ORACLE_COLOURS = ("#777777", "#AAAAAA")
_STAGE_COLOURS = dict(zip(STAGES, ("#D55E00", "#E69F00", "#009E73", "#56B4E9", "#9AA5B1", "#D9DEE3"), strict=True))
_STAGE_NAMES = {"rest": "rest of guess", "build": "Fock builds", "scf": "rest of SCF"}
# On top of matplotlib's default, whatever the user's matplotlibrc says.
_STYLE = {
    "font.family": "sans-serif", "font.size": 9.0, "text.usetex": False, "text.parse_math": False,
    "axes.titlesize": 9.0, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#555555",
    "axes.grid": True, "grid.color": "#E6E6E6", "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.linewidth": 0.8,
    "axes.facecolor": "white", "figure.facecolor": "white", "xtick.color": "#333333", "ytick.color": "#333333",
    "legend.frameon": False, "svg.fonttype": "none", "svg.hashsalt": "pyscf-mlguess",
}
_WIDTH = 8.4  # inches
# Energy errors and gradients below this (Eh) are drawn at it: a logarithm has no zero.
_SMALLEST = 1e-10
# Ratios above this are drawn at the rim, or one failure would flatten all others.
_LARGEST_RATIO = 2.0
_LARGEST_SAVING = 10


@dataclass(frozen=True)
class Drawing:
    """One figure: SVG, and in words what it shows."""

    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class LineStyle:
    """How every figure of a report draws one guess."""

    colour: str
    width: float
    dashes: str
    emphasised: bool


def draw(parts: list[Section]) -> list[list[Drawing]]:
    """The figures of every section, one colour per guess throughout; a figure without data is left out."""
    styles = line_styles([summary for section in parts for summary in section.summaries])
    with matplotlib.style.context(["default", _STYLE]):
        return [[Drawing(title, caption, _svg(figure, f"s{section.number}f{number}-"))
                 for number, (title, caption, figure) in enumerate(figures(section, styles))] for section in parts]


def line_styles(summaries: list[Summary]) -> dict[str, LineStyle]:
    """Minao black, learned guesses wide and warm, oracles dashed grey; colours repeat where there are too many."""
    styles: dict[str, LineStyle] = {}
    used = {_LEARNED_COLOURS: 0, _CLASSICAL_COLOURS: 0, _ORACLE_COLOURS: 0}
    for summary in summaries:
        if summary.guess in styles:
            continue
        if summary.guess == BASELINE:
            styles[summary.guess] = LineStyle("#111111", 1.8, "-", True)
            continue
        palette = _LEARNED_COLOURS if summary.learned else _CLASSICAL_COLOURS
        palette = _ORACLE_COLOURS if needs_converged(summary.guess) else palette
        colour = palette[used[palette] % len(palette)]
        used[palette] += 1
        styles[summary.guess] = LineStyle(colour, 2.4 if summary.learned else 1.3,
                                          "--" if needs_converged(summary.guess) else "-", summary.learned)
    return styles


def figures(section: Section, styles: dict[str, LineStyle]) -> list[tuple]:
    """(title, caption, matplotlib Figure) of one section, to be drawn within the report's matplotlib settings."""
    drawn = [_convergence(section, styles)]
    if any(guess != BASELINE for guess in section.pairs):
        drawn += [_ratio_by_size(section, styles), _saved_builds(section, styles)]
    if section.times:
        drawn.append(_time_breakdown(section, styles))
    return [figure for figure in drawn if figure is not None]


def _convergence(section, styles):
    histories = {guess: histories for guess, pairs in section.pairs.items()
                 if (histories := [h for own, _ in pairs if (h := _history(own, section.lowest)) is not None])}
    if not histories:
        return None
    figure = _figure(3.4)
    axes = figure.subplots(1, 2)
    last = 1
    for guess, runs in histories.items():
        style = styles[guess]
        # Half of the runs have ended here: beyond it the median is no longer about convergence.
        end = math.ceil(float(np.median([len(run) for run in runs])))
        last = max(last, end - 1)
        held = np.stack([np.pad(run, ((0, max(0, end - len(run))), (0, 0)), mode="edge")[:end] for run in runs])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
            low, middle, high = np.nanquantile(held, (0.25, 0.5, 0.75), axis=0)
        for column, ax in enumerate(axes):
            ax.plot(np.arange(end), middle[:, column], style.dashes, color=style.colour, linewidth=style.width,
                    zorder=4 if style.emphasised else 3, label=guess)
            ax.plot(end - 1, middle[-1, column], "o", color=style.colour, markersize=3 + style.width / 2,
                    zorder=4 if style.emphasised else 3)
            if style.emphasised:
                ax.fill_between(np.arange(end), low[:, column], high[:, column], color=style.colour, alpha=0.13,
                                linewidth=0)
    for ax, name in zip(axes, ("energy error (Eh)", "orbital gradient (Eh)"), strict=True):
        ax.set(yscale="log", xlabel="cycle (0: the guess)", title=name, xlim=(-0.3, last + 0.5))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-").replace("e+00", ""))
        ax.minorticks_off()
        ax.xaxis.set_major_locator(_whole_numbers())
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    caption = ("Distance from the lowest final energy of all guesses (absolute value) and norm of the orbital gradient "
               "after each cycle: medians over the molecules, the middle half of them shaded for minao and learned "
               "guesses. Runs that have ended keep their last value; a line ends with a dot where half of them have. "
               "Runs that failed before the first cycle are left out.")
    return "Convergence", caption, figure


def _history(row, lowest):
    """Array (cycles + 1, 2) of |energy error| and gradient; None without a curve or a final energy."""
    if not row["curve"] or geometry(row) not in lowest:
        return None
    points = np.array([[row["initial_energy"], row["initial_gradient"]], *row["curve"]], dtype=float)
    points[:, 0] = abs(points[:, 0] - lowest[geometry(row)])
    return np.where(np.isfinite(points), np.maximum(points, _SMALLEST), np.nan)


def _ratio_by_size(section, styles):
    guesses = [guess for guess in section.pairs if guess != BASELINE]
    figure, panels = _panels(len(guesses), 1.75)
    atoms = [base["natm"] for of_guess in section.pairs.values() for _, base in of_guess]
    margin = max(1.0, 0.05 * (max(atoms) - min(atoms)))
    for panel, guess in zip(panels, guesses, strict=True):
        style = styles[guess]
        natm = np.array([base["natm"] for _, base in section.pairs[guess]])
        ratios = np.array([fock_builds(own) / fock_builds(base) for own, base in section.pairs[guess]])
        beyond = ratios > _LARGEST_RATIO
        panel.axhline(1.0, color="#111111", linewidth=1.0)
        panel.plot(natm[~beyond], ratios[~beyond], "o", color=style.colour, markersize=3.5, alpha=0.4,
                   markeredgewidth=0)
        panel.plot(natm[beyond], np.full(beyond.sum(), 0.97 * _LARGEST_RATIO), "^", color=style.colour, markersize=5)
        bins = [size for size in section.sizes if guess in size.ratios]
        panel.plot([size.atoms for size in bins], [size.ratios[guess][0] for size in bins], style.dashes, marker="s",
                   markersize=4.5, color=style.colour, linewidth=style.width, markeredgecolor="white")
        panel.xaxis.set_major_locator(_whole_numbers())
        panel.set(ylim=(0, _LARGEST_RATIO), xlim=(min(atoms) - margin, max(atoms) + margin))
        _name(panel, guess, style)
    figure.supxlabel("number of atoms", fontsize=9)
    figure.supylabel("ratio of Fock builds to minao", fontsize=9)
    caption = (f"Fock builds over those of minao, one dot per molecule; triangles: {_LARGEST_RATIO:g} and more. "
               "Squares: ratio of sums over the molecules of one column of the table above. Black line: as many "
               "as minao.")
    return "Ratio of Fock builds by size", caption, figure


def _saved_builds(section, styles):
    guesses = [guess for guess in section.pairs if guess != BASELINE]
    saved = {guess: np.clip([fock_builds(base) - fock_builds(own) for own, base in section.pairs[guess]],
                            -_LARGEST_SAVING, _LARGEST_SAVING) for guess in guesses}
    low, high = min(-1, *map(min, saved.values())), max(1, *map(max, saved.values()))
    tallest = max(np.unique(values, return_counts=True)[1].max() for values in saved.values())
    figure, panels = _panels(len(guesses), 1.45)
    for panel, guess in zip(panels, guesses, strict=True):
        style = styles[guess]
        builds, molecules = np.unique(saved[guess], return_counts=True)
        panel.bar(builds, molecules, width=0.85, color=style.colour, linewidth=0,
                  alpha=0.9 if style.emphasised else 0.75)
        panel.axvline(0.0, color="#111111", linewidth=1.0)
        panel.set(xlim=(low - 0.7, high + 0.7), ylim=(0, tallest * 1.05))
        panel.xaxis.set_major_locator(_whole_numbers())
        panel.yaxis.set_major_locator(_whole_numbers())
        _name(panel, guess, style)
    figure.supxlabel("Fock builds saved against minao", fontsize=9)
    figure.supylabel("molecules", fontsize=9)
    caption = ("Fock builds of minao minus those of the guess, number of molecules each; to the right of the line "
               f"the guess is better. More than {_LARGEST_SAVING} builds either way are drawn at {_LARGEST_SAVING}.")
    return "Saved Fock builds", caption, figure


def _time_breakdown(section, styles):
    figure = _figure(0.9 + 0.27 * len(section.times))
    ax = figure.subplots()
    for position, times in enumerate(section.times):
        left = 0.0
        for stage in STAGES:
            share = 100 * times.wall[stage] / times.baseline if times.baseline else 0.0
            if math.isnan(share):
                continue  # of an earlier version, which did not time Fock builds by themselves
            ax.barh(position, share, left=left, height=0.7, color=_STAGE_COLOURS[stage], linewidth=0,
                    label=_STAGE_NAMES.get(stage, stage) if position == 0 else None)
            left += share
        ax.text(left + 0.6, position, f"{left:.0f} %", va="center", fontsize=8, zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    ax.axvline(100.0, color="#111111", linewidth=1.0, zorder=4)
    ax.set_yticks(range(len(section.times)), [times.guess for times in section.times])
    for text, times in zip(ax.get_yticklabels(), section.times, strict=True):
        text.set(color=styles[times.guess].colour, fontweight=_weight(styles[times.guess]))
    ax.set(ylim=(len(section.times) - 0.5, -0.5), xlabel="wall time, % of minao and its SCF")
    ax.margins(x=0.08)
    ax.grid(False, axis="y")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=len(STAGES))
    caption = ("Mean wall time of a run by stage, as a share of minao's on the same molecules: the learned model, the "
               "route from its output to a density matrix, cheap iterations, the rest of the guess, the "
               "Fock builds, and the rest of the SCF.")
    return "Where the time goes", caption, figure


def _figure(height, width=_WIDTH):
    return Figure(figsize=(width, height), layout="constrained")


def _panels(count, height):
    """Figure of ``count`` equal panels with common axes, and the list of these."""
    columns = min(4, count)
    rows = math.ceil(count / columns)
    figure = _figure(0.55 + height * max(rows, 1.2), _WIDTH * max(columns, 2) / 4)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for empty in grid[count:]:
        empty.remove()
    for above in grid[max(0, count - columns):count]:
        above.tick_params(labelbottom=True)
    return figure, list(grid[:count])


def _name(panel, guess, style):
    panel.set_title(guess, color=style.colour, fontweight=_weight(style))


def _weight(style):
    return "bold" if style.emphasised else "normal"


def _whole_numbers():
    return MaxNLocator(nbins=6, integer=True)


def _svg(figure, prefix):
    """The svg element alone, its identifiers made unique within a page by ``prefix``."""
    stream = StringIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = stream.getvalue()
    svg = svg[svg.index("<svg"):]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)
