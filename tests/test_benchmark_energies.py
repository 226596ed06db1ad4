"""The table of energies without an SCF says what the rows say."""

import pytest
from benchmark_rows import FITTED, row
from pyscf.data.nist import HARTREE2EV

from pyscf_mlguess.benchmark.energies import energies
from pyscf_mlguess.benchmark.html import html
from pyscf_mlguess.benchmark.report import markdown
from pyscf_mlguess.benchmark.sections import sections


def start(molecule, guess, above, estimate, along_y, along_y_estimate, **other):
    return row(molecule, guess, 0, **{"energy": None, "converged": None, "initial_energy": -1.0 + above,
                                      "initial_energy_error": estimate, "initial_dipole": [0.0, along_y, 0.0],
                                      "initial_dipole_error": along_y_estimate} | other)


def test_energies_without_an_scf_by_hand():
    ended = {"energy": -1.0, "converged": True, "dipole": [0.0, 1.0, 0.0]}
    protocol = {"protocol": FITTED | {"without_scf": True}}
    rows = [start(molecule, "minao", 0.5, 0.2, 1.0, 1.0, **ended, **protocol) for molecule in "abc"]
    rows += [start("a", "ml", 2e-6, 4e-6, 1.2, 0.1, **protocol), start("b", "ml", -1e-6, 0.5e-6, 0.9, 0.4, **protocol),
             start("c", "ml", 0.5, 0.2, 1.0, 1.0, refused="strange", **protocol),
             start("d", "ml", 0.5, 0.2, 1.0, 1.0, **protocol)]
    (section,) = sections(rows)
    minao, ml = energies(section.starts)
    mev = 1e3 * HARTREE2EV / 2  # two atoms
    assert (minao.runs, minao.refused, minao.below, minao.error[0]) == (3, 0, 3, pytest.approx(0.5 * mev))
    assert (ml.runs, ml.refused, ml.below, ml.dipole_below) == (2, 1, 1, 1)
    assert ml.error == pytest.approx((1.5e-6 * mev, 2e-6 * mev)) and ml.relaxed[1] == pytest.approx(2e-6 * mev)
    assert ml.ratios[1] == pytest.approx((2 + 0.5) / 2) and ml.dipole == pytest.approx((0.15, 0.2))
    assert ml.dipole_ratios[1] == pytest.approx((0.5 + 4) / 2)
    # Nothing is said of SCFs that did not run.
    assert [s.guess for s in section.summaries] == ["minao"] and section.summaries[0].failures == 0
    text = markdown(rows)
    assert "### Energies without an SCF" in text and "builds a molecule" not in text and "not converged" not in text
    several = markdown(rows + [one | {"set": "other"} for one in rows])
    assert "## Energies without an SCF" in several and "## Overview" not in several
    assert "Energies without an SCF" in html(rows + [one | {"set": "other"} for one in rows])
    assert "Energies without" not in markdown([row("a", "minao", 10)])
