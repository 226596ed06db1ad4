"""Two results files are compared over the runs that they share."""

import pytest
from benchmark_rows import FITTED, UNFITTED, failed, row

from pyscf_mlguess.benchmark.compare import compare


def test_compare_by_hand():
    a = [row("a", "ml", 10, weights="a" * 8), row("b", "ml", 20, weights="a" * 8), row("only-a", "ml", 5),
         row("a", "minao", 12)]
    b = [row("a", "ml", 7, weights="b" * 8, guess_builds=1, energy=-1.0 + 1e-7), failed("b", "ml", weights="b" * 8),
         row("a", "minao", 12), row("a", "sap", 11)]
    text = compare(a, b, "old.jsonl", "new.jsonl")
    cells = {line[0]: line for line in ([cell.strip() for cell in line.strip("|").split("|")]
                                        for line in text.splitlines() if line.startswith("|"))}
    assert cells["ml"][1:6] == ["aaaaaaaa", "bbbbbbbb", "2", "34", "62"]
    assert cells["ml"][6].startswith("1.824 [0.833, 2.364]")
    assert cells["ml"][7:] == ["1 / 0 / 1", "0 / 1", "0.73", "1.0e-07"]
    assert cells["minao"][6:8] == ["1.000", "0 / 1 / 0"]
    assert "- b, ml: 22 in A, 52 in B (+30)\n- a, ml: 12 in A, 10 in B (-2)" in text
    assert "- A: small (basis=def2-svp," in text and "molecules per guess: 1 of ml" in text
    assert "- B: small" in text and "molecules per guess: 1 of sap" in text
    assert "versions of PySCF differ" not in text


def test_compare_says_that_versions_differ():
    text = compare([row("a", "minao", 10)], [row("a", "minao", 10, protocol=FITTED | {"pyscf_version": "2.15.0"})],
                   "A", "B")
    assert "**The versions of PySCF differ**: 2.14.0 in A, 2.15.0 in B." in text
    assert "| 2.14.0 | 2.15.0 |" in text and "In one file only" not in text


@pytest.mark.parametrize("other", [{"set": "large"}, {"protocol": UNFITTED}, {"fingerprint": "moved"},
                                   {"guess": "atom"}])
def test_compare_without_anything_in_common_says_so(other):
    with pytest.raises(ValueError, match="old.jsonl and new.jsonl have no run in common"):
        compare([row("a", "minao", 10)], [row("a", "minao", 10) | other], "old.jsonl", "new.jsonl")
