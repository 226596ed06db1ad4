"""The benchmark report says what the rows say."""

import math
import re
from html.parser import HTMLParser

import matplotlib
import pytest
from benchmark_rows import FITTED, GUESSES, UNFITTED, benchmark_rows, failed, row, times

from pyscf_mlguess.benchmark.figures import draw, line_styles
from pyscf_mlguess.benchmark.html import html
from pyscf_mlguess.benchmark.report import markdown, overview
from pyscf_mlguess.benchmark.sections import level, sections
from pyscf_mlguess.benchmark.summary import bootstrap, summarise


@pytest.fixture(scope="module")
def two_sections():
    return benchmark_rows("qm9_size", FITTED) + benchmark_rows("drug_like", UNFITTED, seed=1)


# -- numbers --


def test_summary_of_hand_made_rows():
    rows = [
        row("a", "minao", 10), row("a", "ml", 7, guess_builds=1, initial_energy=-0.8, cheap_iterations=4),
        row("b", "minao", 20), row("b", "ml", 20, energy=-1.0 - 1e-3, initial_energy=-0.9 - 1e-3, cheap_iterations=5),
        row("c", "minao", 10), failed("c", "ml", initial_energy=None, initial_gradient=float("nan")),
        row("alone", "ml", 3),
    ]
    minao, ml = summarise(rows)
    assert (minao.builds, minao.cycles, minao.tied, minao.failures, minao.higher) == (46, 40, 3, 0, 1)
    assert minao.ratio_of_sums.value == minao.ratio_of_sums.low == minao.ratio_of_sums.high == 1.0
    assert minao.worst_energy == pytest.approx(1e-3)
    assert (ml.runs, ml.builds, ml.won, ml.tied, ml.lost, ml.failures, ml.higher) == (3, 10 + 22 + 52, 1, 1, 1, 1, 0)
    assert ml.ratio_of_sums.value == pytest.approx(84 / 46)
    assert ml.mean_ratio.value == pytest.approx((10 / 12 + 1.0 + 52 / 12) / 3)
    assert ml.wall_ratio == ml.cpu_ratio == pytest.approx((8 + 21) / (11 + 21))
    assert ml.initial_energy_error == pytest.approx((0.2 + 0.1) / 2)
    assert ml.initial_gradient == pytest.approx(0.1)
    assert ml.cheap_iterations == pytest.approx(3.0)


def test_interval_contains_the_estimate_and_collapses_for_equal_molecules():
    for estimate in bootstrap([7, 8, 6, 9, 12], [10, 11, 9, 12, 11]):
        assert estimate.low < estimate.value < estimate.high
    for estimate in bootstrap([7] * 5, [10] * 5):
        assert estimate.low == pytest.approx(0.7) and estimate.high == pytest.approx(0.7)


def test_interval_is_reproducible_and_absent_for_one_molecule():
    assert bootstrap([7, 8, 6], [10, 11, 9]) == bootstrap([7, 8, 6], [10, 11, 9])
    estimate = bootstrap([7], [10])[0]
    assert estimate.value == 0.7 and math.isnan(estimate.low) and math.isnan(estimate.high)


def test_sections_keep_sets_and_protocols_apart():
    rows = [row("a", "minao", 10), row("a", "minao", 12, protocol=UNFITTED), row("a", "minao", 14, set="large")]
    parts = sections(rows)
    assert [(p.molecule_set, p.protocol, p.summaries[0].builds) for p in parts] == [
        ("small", FITTED, 12), ("small", UNFITTED, 14), ("large", FITTED, 16)]


def test_levels_tell_protocols_apart():
    assert level(FITTED) == "PBE/def2-svp, density fitting"
    assert level(FITTED | {"restricted_open": True, "smearing": 0.01, "conv_tol": 1e-6, "max_memory": 16000}) == (
        "PBE/def2-svp, density fitting, restricted open, smearing 0.01 Eh, conv_tol 1e-06, 16000 MB")
    assert level(UNFITTED | {"scanner": True, "symmetry": True}) == (
        "B3LYP/def2-tzvp, no density fitting, symmetry, scanner")


def test_same_molecule_at_another_geometry_is_another_molecule():
    rows = [row("a", "minao", 10), row("a", "minao", 12, fingerprint="moved"), row("a", "ml", 6)]
    minao, ml = summarise(rows)
    assert minao.runs == 2 and ml.runs == 1 and ml.ratio_of_sums.value == 8 / 12


def test_size_bins_cover_every_molecule_once(two_sections):
    for section in sections(two_sections):
        assert sum(size.molecules for size in section.sizes) == section.molecules == 50
        assert all(left.last < right.first for left, right in zip(section.sizes, section.sizes[1:], strict=False))
        assert len(section.sizes) > 2


def test_size_ratio_by_hand():
    rows = [row(f"{natm}-{copy}", guess, cycles, natm=natm) for copy in range(8) for natm, own in ((3, 5), (60, 8))
            for guess, cycles in (("minao", 10), ("ml", own))]
    sizes = sections(rows)[0].sizes
    assert [(size.molecules, size.ratios["ml"]) for size in sizes] == [(8, (7 / 12, 8)), (8, (10 / 12, 8))]


def test_time_split_by_hand():
    rows = [row("a", "minao", 10), row("b", "minao", 20), failed("b", "ml"),
            row("a", "ml", 7, wall=times(2.0, 6.0, model=0.5, route=0.25, cheap=1.0, build=5.0), cpu=None,
                 cheap_iterations=4, integrals="direct")]
    minao, ml = sections(rows)[0].times
    assert ml.wall == {"model": 0.5, "route": 0.25, "cheap": 1.0, "rest": 0.25, "build": 5.0, "scf": 1.0}
    assert all(math.isnan(seconds) for seconds in ml.cpu.values())
    assert (ml.runs, ml.baseline, ml.builds, ml.cheap_iterations) == (1, 11.0, 9.0, 4.0)
    assert ml.wall_ratio == pytest.approx(8 / 11) and math.isnan(ml.cpu_ratio)
    assert ml.integrals == "density-fitted, direct"
    assert minao.wall["scf"] == minao.wall["build"] == 7.5 and minao.cpu["rest"] == 2.0


def test_memory_by_hand():
    def resident(before, after_guess, after):
        return {"resident_mb": {"before": before, "after_guess": after_guess, "after": after}}

    rows = [row("a", "minao", 10, peak_memory_mb=100, **resident(40, 41, 80)),
            row("b", "minao", 10, peak_memory_mb=200, **resident(50, 50, 90)),
            row("a", "ml", 10, peak_memory_mb=170, **resident(60, 100, 110)),
            row("b", "ml", 10, peak_memory_mb=190, **resident(100, 110, 160)),
            row("c", "minao", 10, resident_mb=None), row("c", "ml", 10)]
    minao, ml = sections(rows)[0].memory
    assert (minao.runs, minao.peak, minao.peak_growth, minao.after_guess, minao.after) == (2, 200, 150, 1, 40)
    assert (ml.peak, ml.peak_growth, ml.after_guess, ml.after, ml.over_baseline) == (190, 110, 40, 60, 50)
    assert minao.over_baseline == 0 and "### Memory (MB)" in markdown(rows)


def test_energy_at_the_stop_by_hand():
    rows = [row(molecule, "minao", 10, energy_lacking=1e-10) for molecule in "abc"]
    rows += [row("a", "two-level:minao", 1, energy_lacking=-1e-10, energy_estimate=4e-10),
             row("b", "two-level:minao", 1, energy_lacking=1e-9, energy_estimate=5e-10, energy=-1.0 + 1e-9),
             row("c", "two-level:minao", 1, energy_lacking=1e-13, energy_estimate=1e-14),
             row("d", "minao", 10), row("d", "two-level:minao", 1, energy=None)]
    minao, two = sections(rows)[0].stops
    assert (minao.runs, minao.estimates, minao.below) == (3, 0, 0) and math.isnan(minao.ratios[1])
    assert (two.runs, two.estimates, two.below) == (3, 3, 1)
    assert two.lacking == (1e-10, 1e-9) and two.ratios[1] == pytest.approx((4 + 0.5) / 2)
    assert two.above_baseline == pytest.approx(1e-9, rel=1e-6)
    assert "### Energy at the stop (Eh)" in markdown(rows)
    assert "Energy at the stop" not in markdown([row("a", "minao", 10)])


# -- Markdown --


def test_what_went_wrong_is_listed():
    rows = [row("a", "minao", 10, energy=-1.0 + 1e-3), row("a", "sap", 12), failed("a", "atom", "ValueError: x\n y"),
            row("a", "huckel", 50, energy=None), row("a", "ml", 10, weights="0" * 8, refused="element Br")]
    text = markdown(rows)
    for remark in ("- a, minao: higher energy, 1.0e-03 Eh above the lowest", "- a, atom: failed, ValueError: x y",
                   "- a, huckel: not converged in 50 cycles", "- a, ml [00000000]: refused, element Br"):
        assert remark in text.splitlines()
    refused = next(s for s in summarise(rows) if s.guess.startswith("ml"))
    assert (refused.refused, refused.cycles, refused.failures) == (1, 10, 0)


def test_markdown_prints_the_protocol_and_the_training_molecules():
    text = markdown([row("a", "minao", 10), row("b", "minao", 10), row("alone", "ml", 5, weights="01234567"),
                     row("a", "ml", 5, weights="01234567", trained_on=True), row("b", "ml", 5, weights="01234567")])
    assert "xc=pbe, basis=def2-svp, density_fit=True, grid_level=3, conv_tol=1e-09, max_cycle=50" in text
    assert "ml [01234567] was trained on 1 of 2 molecules (1 unknown)" in text
    assert "2 molecules; 1 more left out, without a run of minao" in text


def test_overview_only_with_several_sections(two_sections):
    assert "## Overview" in markdown(two_sections)
    assert "## Overview" not in markdown(two_sections[:450])


def test_overview_has_a_line_per_section_and_the_common_guesses():
    rows = [row("a", "minao", 10), row("a", "ml", 8), failed("b", "ml"), row("b", "minao", 10), row("a", "atom", 12),
            *(row("a", guess, cycles, protocol=UNFITTED) for guess, cycles in (("minao", 10), ("ml", 5))),
            *(row("a", guess, cycles, set="other") for guess, cycles in (("minao", 10), ("ml", 5)))]
    table = overview(sections(rows))
    assert table.header[4:] == ["molecules", "builds minao", "ml"]
    assert [line[4:] for line in table.cells] == [
        ["2", "12.0", "31.0 / 0.82 (1 failed)"], ["1", "12.0", "7.0 / 0.55"], ["1", "12.0", "7.0 / 0.55"]]
    assert [line[:4] for line in table.cells][1] == ["2", "small", "B3LYP/def2-tzvp", "no"]


def test_markdown_tables_have_equal_numbers_of_columns(two_sections):
    table = []
    for line in [*markdown(two_sections).splitlines(), ""]:
        if line.startswith("|"):
            table.append(line.count("|"))
        else:
            assert len(set(table)) <= 1
            table = []


@pytest.mark.parametrize("rows", [
    [], [row("a", "ml", 10)], [failed("a", "minao"), failed("a", "ml")],
    [row("a", "minao", 10, wall=None, cpu=None, peak_memory_mb=None, integrals=None, initial_energy=None,
          initial_gradient=None)],
    [row("a", "minao", 10), row("a", "ml", 5, initial_energy=float("nan"), curve=[[float("nan")] * 2])],
])
def test_reports_with_gaps(rows):
    assert not re.search(r"\bnan\b", markdown(rows) + html(rows))


# -- HTML and figures --


class _Page(HTMLParser):
    """Collects attributes, text and ids; fails on elements that are closed in another order than opened."""

    _VOID = {"meta"}

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.text, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _parse(rows):
    page = _Page()
    page.feed(html(rows))
    page.close()
    assert page.open == []
    return page


@pytest.fixture(scope="module")
def page(two_sections):
    return _parse(two_sections)


def test_html_is_well_formed_and_asks_for_nothing(page):
    assert page.tags.count("svg") == 8 and page.tags.count("nav") == 1
    identifiers = [value for name, value in page.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert links and all(value.startswith("#") and value[1:] in identifiers for value in links)
    assert not {"script", "link", "img"} & set(page.tags)


def test_wide_tables_wrap_before_brackets_alone(two_sections):
    text = html(two_sections)
    cells = re.findall(r'<td class="number">([^<]*refused[^<]*)</td>', text)
    assert cells and all(re.fullmatch(r"\S+\xa0/\xa0\S+ \(1\xa0refused\)", cell) for cell in cells)
    style = text[:text.index("</style>")]
    assert [line for line in style.splitlines() if "nowrap" in line] == ["td:not(.number) { white-space: nowrap; }"]


def test_html_escapes_names():
    name = "<b>x</b> & y"
    page = _parse([row(name, "minao", 10, set=name), failed(name, "atom", error=f"KeyError: {name}")])
    assert "b" not in page.tags
    assert f"{name}, atom: failed, KeyError: {name}" in page.text


def test_html_folds_a_long_list_of_remarks():
    rows = [row(str(index), "minao", 10) for index in range(9)] + [failed(str(index), "ml") for index in range(9)]
    assert "details" in _parse(rows).tags
    assert "details" not in _parse(rows[:-1]).tags


def test_html_and_markdown_print_the_same_numbers(two_sections, page):
    printed = {cell.strip() for line in markdown(two_sections).splitlines() if line.startswith("| ")
               for cell in line.split("|") if not cell.strip().startswith("--")}
    assert printed - {""} <= {" ".join(text.split()) for text in page.text}


def test_figures_are_deterministic_and_leave_matplotlib_as_it_was():
    parts = sections(benchmark_rows("qm9_size", FITTED, 3, ("minao", "sap", "ml")))
    before = dict(matplotlib.rcParams)
    first = draw(parts)
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"axes.grid": False, "font.size": 20.0, "lines.linestyle": ":"}):
        assert draw(parts) == first


def test_a_guess_has_one_colour_throughout(two_sections):
    parts = sections(two_sections)
    styles = line_styles([summary for section in reversed(parts) for summary in section.summaries])
    assert len({style.colour for style in styles.values()}) == len(GUESSES)
    assert [guess for guess, style in styles.items() if style.emphasised] == ["minao", "ml [7a88bb24]"]
    assert [guess for guess, style in styles.items() if style.dashes == "--"] == ["exact-fit"]
