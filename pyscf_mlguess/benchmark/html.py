"""Benchmark results as one HTML page that needs no other file."""

from __future__ import annotations

import re
from importlib.resources import files

import jinja2

from pyscf_mlguess.benchmark.figures import draw
from pyscf_mlguess.benchmark.report import HEAD, facts, overviews, tables
from pyscf_mlguess.benchmark.sections import sections


def html(rows: list[dict]) -> str:
    """The report with figures, as a self-contained page."""
    parts = sections(rows)
    template = files("pyscf_mlguess.benchmark").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)
    environment.filters["unbroken"] = _unbroken
    return environment.from_string(template).render(
        head=HEAD,
        overviews=overviews(parts),
        sections=[{"section": section, "facts": facts(section), "tables": tables(section), "figures": figures}
                  for section, figures in zip(parts, draw(parts), strict=True)],
    )


def _unbroken(cell: str) -> str:
    """``cell`` held together but for what stands in brackets: there a table wraps that is too wide for the page."""
    return re.sub(r" (?![(\[])", "\u00a0", cell)
