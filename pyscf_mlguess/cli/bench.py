"""The command line of the benchmark: mlguess bench, bench report, bench compare, bench curve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pyscf_mlguess.cli.console import cache_folder, clear_errors

# Everything else is imported by the command that needs it, so that --help stays quick.

app = typer.Typer(invoke_without_command=True, no_args_is_help=False)

_Results = Annotated[Path, typer.Argument(help="Results of mlguess bench (.jsonl).")]
_Markdown = Annotated[Optional[Path], typer.Option("--report", help="Markdown file for the tables.")]
_Html = Annotated[Optional[Path], typer.Option("--html", help="Self-contained page with tables and figures.")]
_WITH_MOLECULES = ("guess", "xc", "basis", "density_fit", "grid_level", "threads", "limit")
_DEFAULT_GUESSES = ("minao", "atom", "sap", "pre-scf", "minao+refine", "ml", "two-level:ml", "exact-fit")


@app.callback()
def bench(
    context: typer.Context,
    suite: Annotated[Optional[str], typer.Option(
        help="quick (12 CPU minutes), standard (the tables of RESULTS.md, three hours of two cores), times (two hours "
             "of two quiet cores), builds (what the two-level SCF is to reach, four hours of two cores), builds-large "
             "(a day), convergence (whether it stops rightly, three hours of one core), one-build (energies from one "
             "Fock build, three hours of one core), energies (those of guesses, without an SCF, half an hour of one "
             "core), families (all models, two hours), spinors (GHF and GKS, two hours of one core), "
             "states (whether it ends in the right one), difficult (whether it converges where "
             "DIIS does not, beside PySCF's other solvers), trust (whether two thousand structures end no worse than "
             "minao's runs, a night of two cores) or full (days). "
             "Default: quick, unless --molecules is given.")] = None,
    molecules: Annotated[Optional[list[str]], typer.Option(
        help="Repeatable: shipped set, or file (.xyz, .smi) of your own.")] = None,
    model: Annotated[Optional[list[str]], typer.Option(
        help="Repeatable: name or path of a model to run in the place of the default one.")] = None,
    guess: Annotated[Optional[list[str]], typer.Option(
        help="Repeatable, with --molecules: minao, atom, huckel, mod_huckel, sap, vsap, pre-scf[:grid level], "
             "projected:<basis>, previous, ml, ml:<model>, ml-density[:<model>], ml-unrefined[:<model>], "
             "ml-unchecked[:<model>], exact-fit, converged; each also as <guess>+refine, two-level:<guess> and "
             "one-build:<guess>; PySCF's own solvers from minao, solver:newton, solver:level-shift and solver:damping. "
             f"Default: {', '.join(_DEFAULT_GUESSES)}.")] = None,
    xc: Annotated[Optional[list[str]], typer.Option(
        help="Repeatable, with --molecules: PySCF's functional, or hf. Default: pbe.")] = None,
    basis: Annotated[Optional[list[str]], typer.Option(
        help="Repeatable, with --molecules: PySCF's name of the orbital basis. Default: def2-svp.")] = None,
    density_fit: Annotated[bool, typer.Option(help="With --molecules: density fitting in the SCF.")] = True,
    grid_level: Annotated[int, typer.Option(
        min=0, max=9, help="With --molecules: PySCF's grid level of the SCF.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="With --molecules: OpenMP threads of a run.")] = 1,
    limit: Annotated[Optional[int], typer.Option(
        min=1, help="With --molecules: only the first ones of each set.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processor cores to use.")] = 1,
    output: Annotated[Optional[Path], typer.Option(
        help="Results, one JSON object a line; runs found there are not repeated. "
             "Default: in the cache folder, named after the suite or the molecules.")] = None,
    report: _Markdown = None,
    html: _Html = None,
) -> None:
    """Count Fock builds from several guesses: same molecules, same protocol, final energies compared."""
    if context.invoked_subcommand:
        return
    from pyscf_mlguess.benchmark.protocol import Protocol
    from pyscf_mlguess.benchmark.results import read_rows
    from pyscf_mlguess.benchmark.runner import Batch, run_benchmark
    from pyscf_mlguess.benchmark.suites import LEARNED, batches, with_models

    with clear_errors():
        learned = tuple(f"ml:{name}" for name in model or []) or (LEARNED,)
        errors = []
        if molecules:
            if suite:
                raise ValueError("--suite and --molecules exclude each other: a suite has its own molecules")
            protocols = [Protocol(xc=functional, basis=name, density_fit=density_fit, grid_level=grid_level,
                                  threads=threads) for functional in xc or ["pbe"] for name in basis or ["def2-svp"]]
            guesses = with_models(guess or _DEFAULT_GUESSES, learned)
            sets, errors = _load(molecules, limit)
            chosen = [Batch(name, part, protocol, guesses) for name, part in sets for protocol in protocols]
        else:
            given = [f"--{name.replace('_', '-')}" for name in _WITH_MOLECULES
                     if context.get_parameter_source(name).name == "COMMANDLINE"]
            if given:
                raise ValueError(f"{', '.join(given)} need --molecules: a suite has levels and guesses of its own")
            chosen = list(batches(suite or "quick", learned))
        for path in (report, html):
            if path and not path.parent.is_dir():
                raise FileNotFoundError(f"no folder {str(path.parent)!r} for {path.name}: make it first")
        output = output or cache_folder() / "bench" / f"{_stem(suite, molecules)}.jsonl"
        output.parent.mkdir(parents=True, exist_ok=True)
        typer.echo(f"results are kept in {output} ({len(read_rows(output))} runs there)", err=True)
        run_benchmark(chosen, output, jobs)
        _print_report(output, report, html)
        _tell(errors)
    if errors:
        raise typer.Exit(1)


@app.command("report")
def report_command(results: _Results, report: _Markdown = None, html: _Html = None) -> None:
    """Print the tables of a results file again, without running anything."""
    with clear_errors():
        _print_report(results, report, html)


@app.command()
def compare(first: _Results, second: _Results, report: _Markdown = None) -> None:
    """Compare two results files on the runs that they share: another model, another version."""
    from pyscf_mlguess.benchmark.compare import compare as compare_rows

    with clear_errors():
        text = compare_rows(_read(first), _read(second), str(first), str(second))
        if report:
            report.write_text(text, encoding="utf-8")
        typer.echo(text)


@app.command()
def curve(
    results: _Results,
    output: Annotated[Path, typer.Option(help="Figure to write (.svg).")] = Path("learning_curve.svg"),
) -> None:
    """Draw learning curves: loss and ratio of Fock builds of models (ml:<path>) against molecules and size."""
    from pyscf_mlguess.benchmark.learning_curve import draw_curve, markdown, points_of

    with clear_errors():
        points = points_of(_read(results))
        output.write_text(draw_curve(points), encoding="utf-8")
        typer.echo(markdown(points))


def _load(names, limit):
    from pyscf_mlguess.benchmark.sets import load_set, set_name

    sets, errors = [], []
    for name in names:
        found, bad = load_set(name)
        sets.append((set_name(name), tuple(found[:limit])))
        errors += bad
    _tell(errors)
    return sets, errors


def _tell(errors):
    for error in errors:
        typer.echo(f"skipped: {error}", err=True)


def _stem(suite, molecules):
    from pyscf_mlguess.benchmark.sets import set_name

    return "-".join(map(set_name, molecules)) if molecules else suite or "quick"


def _read(path):
    from pyscf_mlguess.benchmark.results import read_rows

    if not path.is_file():
        raise FileNotFoundError(f"no results file {str(path)!r}")
    return read_rows(path)


def _print_report(results, report, html):
    from pyscf_mlguess.benchmark.report import markdown

    rows = _read(results)
    text = markdown(rows)
    if report:
        report.write_text(text, encoding="utf-8")
    if html:
        from pyscf_mlguess.benchmark.html import html as page

        html.write_text(page(rows), encoding="utf-8")
    typer.echo(text)
