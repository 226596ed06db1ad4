"""The structures of the suite trust are what they say, and its figures name every run that ends worse than minao's."""

from collections import Counter

import numpy as np
import pytest
from benchmark_rows import FITTED, failed, row
from pyscf.data.elements import charge
from pyscf.data.nist import BOHR
from pyscf.data.radii import COVALENT
from scipy.spatial.distance import pdist

from pyscf_mlguess.benchmark.html import html
from pyscf_mlguess.benchmark.report import markdown
from pyscf_mlguess.benchmark.sections import sections
from pyscf_mlguess.benchmark.sets import load_set, set_name
from pyscf_mlguess.benchmark.sets.trust import structures
from pyscf_mlguess.benchmark.trust import breaches, trust

NAMED = {molecule.name: molecule for molecule in structures()}


def variant_of(name):
    """Name of the structure that this one was made from, and what was done; itself and "" for those as they are."""
    parent, _, what = name.rpartition("/")
    return (parent, what) if parent in NAMED else (name, "")


def test_two_thousand_different_structures():
    assert len(structures()) == len(NAMED) >= 2000
    assert len({molecule.fingerprint for molecule in structures()}) == len(structures())
    assert load_set("trust") == (list(structures()), []) and set_name("trust") == "trust"
    assert all(name.split() == [name] and not molecule.path for name, molecule in NAMED.items())


def test_made_again_they_are_the_same():
    assert structures.__wrapped__() == structures()


def test_all_kinds_are_there_in_any_leading_part():
    for part in (structures(), structures()[:200]):
        kinds = Counter(variant_of(molecule.name)[1].rstrip("0123456789.") for molecule in part)
        assert set(kinds) == {"", "anion", "cation", "conformer", "displaced", "scaled", "spin"}
        share = sum(molecule.multiplicity == 1 for molecule in part) / len(part)
        assert 0.4 < share < 0.7
        assert any(charge(symbol) in range(21, 31) for molecule in part for symbol in molecule.symbols)
    assert max(len(molecule.symbols) for molecule in structures()) <= 17


@pytest.mark.parametrize("kind", ["displaced0.05", "displaced0.10", "displaced0.20"])
def test_displacements_have_their_size(kind):
    moved = [(molecule, NAMED[variant_of(name)[0]]) for name, molecule in NAMED.items() if variant_of(name)[1] == kind]
    assert len(moved) > 200
    steps = [np.subtract(molecule.positions, parent.positions) for molecule, parent in moved]
    assert np.concatenate(steps).std() == pytest.approx(float(kind[-4:]), rel=0.05)
    for molecule, parent in moved:
        assert (molecule.symbols, molecule.charge, molecule.multiplicity) == (
            parent.symbols, parent.charge, parent.multiplicity)


def test_no_derived_atoms_are_on_top_of_each_other():
    for name, molecule in NAMED.items():
        if variant_of(name)[1].startswith(("displaced", "scaled")):
            radii = BOHR * np.array([COVALENT[charge(symbol)] for symbol in molecule.symbols])
            first, second = np.triu_indices(len(radii), 1)
            assert np.all(pdist(molecule.positions) >= 0.6 * (radii[first] + radii[second]) - 1e-5), name


def test_scaled_structures_keep_their_shape():
    scaled = [(name, what) for name in NAMED if (what := variant_of(name)[1]).startswith("scaled")]
    assert len(scaled) > 300
    for name, what in scaled:
        parent = NAMED[variant_of(name)[0]]
        assert pdist(NAMED[name].positions) == pytest.approx(float(what[6:]) * pdist(parent.positions), abs=1e-5)


def test_charged_ones_and_spins():
    for name, molecule in NAMED.items():
        parent, what = variant_of(name)
        if what in ("cation", "anion"):
            assert molecule.charge == {"cation": 1, "anion": -1}[what] and NAMED[parent].charge == 0
            assert molecule.multiplicity == (NAMED[parent].multiplicity - 1 or 2)
        if what == "spin":
            assert molecule.multiplicity == NAMED[parent].multiplicity + 2


def test_conformers_are_conformers():
    found = [name for name in NAMED if variant_of(name)[1].startswith("conformer")]
    assert len(found) > 30
    for name in found:
        parent = NAMED[variant_of(name)[0]]
        assert NAMED[name].symbols == parent.symbols and NAMED[name].charge == parent.charge
        assert np.abs(np.sort(pdist(NAMED[name].positions)) - np.sort(pdist(parent.positions))).max() > 0.1


TWO = "two-level:minao"


def made(*args, **other):
    return row(*args, set="trust", **other)


def hand_made():
    return [
        made("fine", "minao", 10), made("fine", TWO, 0, cheap_iterations=9),
        made("lost", "minao", 10), failed("lost", TWO, set="trust", error="LinAlgError: a\nb"),
        made("gained", "minao", 50, energy=None), made("gained", TWO, 1, cheap_iterations=20),
        made("above", "minao", 10), made("above", TWO, 2, energy=-1.0 + 2e-6, cheap_iterations=9),
        made("open-above", "minao", 10, multiplicity=2),
        made("open-above", TWO, 0, energy=-0.9, multiplicity=2, cheap_iterations=9),
        made("open-below", "minao", 10, multiplicity=3), made("open-below", TWO, 0, energy=-1.1, multiplicity=3,
                                                              cheap_iterations=9),
        made("slow", "minao", 5), made("slow", TWO, 7, cheap_iterations=30),
        made("slower-by-one", "minao", 5), made("slower-by-one", TWO, 6, cheap_iterations=30),
        made("left", "minao", 1), made("left", TWO, 1), made("left", "ml", 3, refused="unknown elements"),
    ]


def test_trust_by_hand():
    (section,) = sections(hand_made())
    two, ml = trust([section.pairs])
    assert (two.runs, two.baseline_converged, two.converged, two.lost, two.gained) == (9, 8, 8, 1, 1)
    assert (two.closed, two.open, two.more) == ((1, 0), (1, 1), 2)
    assert (two.few, two.took_part, two.left) == (4, 8, 1)
    assert (two.builds, two.baseline_builds) == (2 + 52 + 3 + 4 + 2 + 2 + 9 + 8 + 3, 5 * 12 + 52 + 2 * 7 + 3)
    assert (ml.guess, ml.runs, ml.refused, ml.left, ml.few, ml.more) == ("ml", 1, 1, 0, 0, 1)


def test_spins_that_may_part_are_not_closed_shells():
    unrestricted = FITTED | {"unrestricted": True}
    rows = [made("a", "minao", 10, protocol=unrestricted), made("a", TWO, 0, energy=-0.9, protocol=unrestricted)]
    (two,) = trust([sections(rows)[0].pairs])
    assert (two.closed, two.open) == ((0, 0), (1, 0))


def test_every_exception_is_named():
    (section,) = sections(hand_made())
    found = {(breach.molecule, breach.guess): breach for breach in breaches(section.pairs)}
    assert {name: breach.what for name, breach in found.items()} == {
        ("lost", TWO): "lost (LinAlgError: a b), more builds", ("above", TWO): "higher (closed shell)",
        ("open-above", TWO): "higher (open shell)", ("slow", TWO): "more builds", ("left", "ml"): "more builds"}
    slow = found["slow", TWO]
    assert (slow.baseline_builds, slow.builds, slow.difference) == (7, 9, 0.0)


def test_trust_stands_before_the_sections_of_its_suite_alone():
    rows = hand_made() + [made("b", guess, 10, protocol=FITTED | {"xc": "b3lyp"}) for guess in ("minao", TWO)]
    text = markdown(rows)
    assert text.index("## Trust\n") < text.index("## Trust: every exception") < text.index("## 1. trust: PBE")
    (line,) = (line for line in text.splitlines() if line.startswith("| all ") and TWO in line)
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "all", TWO, "10", "9", "9", "1", "1", "1", "0", "1", "1", "2", "4 of 8", "14.1", "9.7", "2", "0"]
    assert "Trust: every exception" in html(rows) and "Trust: every exception" in markdown(rows[:2])
    assert "## Trust" not in markdown([row("a", "minao", 10), row("a", TWO, 0)])
