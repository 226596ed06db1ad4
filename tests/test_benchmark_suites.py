"""The suites hold what they say, on molecules that no shipped model was trained on."""

import pytest

from pyscf_mlguess.benchmark.guesses import CLASSICAL, check_guess, model_of, source_of
from pyscf_mlguess.benchmark.suites import SUITES, batches, with_models
from pyscf_mlguess.models import available, trained_on


@pytest.mark.parametrize("suite", SUITES)
def test_levels_and_guesses_exist_and_have_their_baseline(suite):
    chosen = list(batches(suite))
    for batch in chosen:
        assert batch.molecules and "minao" in batch.guesses
        # Of free atoms and clusters of metals the learned guess knows nothing; one build of structures of trust is to
        # show its estimate alone.
        physics = suite == "difficult" or (suite, batch.set) == ("one-build", "trust")
        assert any(model_of(guess) for guess in batch.guesses) or physics
        batch.protocol.check()
        for guess in batch.guesses:
            check_guess(guess, batch.protocol)


def test_the_full_suite_covers_what_users_run():
    chosen = list(batches("full"))
    assert {batch.protocol.xc for batch in chosen} >= {"pbe", "b3lyp", "hf", "r2scan", "camb3lyp"}
    assert {batch.protocol.basis for batch in chosen} >= {"def2-svp", "def2-tzvp", "6-31g*", "cc-pvtz", "6-31+g*"}
    assert {batch.set for batch in chosen} >= {"qm9_size", "drug_like", "ions", "radicals", "elements", "distorted",
                                               "path"}
    assert any(not batch.protocol.density_fit for batch in chosen)
    guesses = {guess for batch in chosen if batch.set == "qm9_size" for guess in batch.guesses}
    assert guesses >= {*CLASSICAL, "pre-scf", "projected:sto-3g", "projected:def2-svp", "converged", "exact-fit"}


def test_the_builds_suite_holds_what_is_to_be_reached():
    chosen = [*batches("builds"), *batches("builds-large")]
    assert {(b.set, b.protocol.xc, b.protocol.basis, b.protocol.density_fit) for b in chosen} == {
        ("qm9_size", "pbe", "def2-svp", True), ("transition_metals", "pbe", "def2-svp", True),
        ("steps", "pbe", "def2-svp", True),
        *(("small_drugs", xc, "def2-tzvp", True) for xc in ("pbe", "r2scan", "b3lyp", "hf")),
        *(("small_drugs", xc, "def2-svp", False) for xc in ("b3lyp", "HYB_GGA_XC_WB97X_D")),
        ("small_drugs", "b3lyp", "def2-tzvp", False),
        *(("natural_products", xc, "def2-svp", True) for xc in ("pbe", "b3lyp"))}
    assert {b.guesses for b in chosen} == {("minao", "two-level:minao", "two-level:ml")}
    assert all(b.protocol.scanner == (b.set == "steps") and b.protocol.threads == 2 for b in chosen)
    assert {b.protocol.max_memory for b in chosen if b.set == "natural_products"} == {4000, 16000}
    for batch in batches("builds"):
        assert len({m.path or m.name for m in batch.molecules}) >= 10


def test_the_convergence_suite_meets_all_kinds_of_occupations():
    chosen = list(batches("convergence"))
    assert all(b.protocol.converge_on for b in chosen)
    assert any(b.protocol.smearing for b in chosen) and any(b.protocol.symmetry for b in chosen)
    assert any(b.protocol.restricted_open and b.set == "radicals" for b in chosen)
    assert {b.set for b in chosen} >= {"hard", "radicals", "ions", "transition_metals", "qm9_size"}


def test_the_energies_suite_has_a_hundred_molecules_of_all_kinds():
    chosen = list(batches("energies"))
    assert {(b.protocol.xc, b.protocol.basis, b.protocol.without_scf) for b in chosen} == {("pbe", "def2-svp", True)}
    assert {b.guesses for b in chosen} == {("minao", "minao+refine", "ml-density", "ml")}
    assert {b.set for b in chosen} == {"qm9_size", "ions", "radicals", "distorted", "small_drugs", "elements", "hard"}
    assert sum(len(b.molecules) for b in chosen) >= 120  # some are refused
    (elements,) = (b for b in chosen if b.set == "elements")
    assert not {"Fe", "Ti", "Zn"} & {symbol for molecule in elements.molecules for symbol in molecule.symbols}


def test_the_states_suite_meets_every_kind_of_exchange_with_and_without_spin_symmetry():
    chosen = list(batches("states"))
    assert {b.set for b in chosen} == {"broken_symmetry"}
    # PySCF's analysis of larger molecules takes longer than all their SCFs.
    assert {max(len(m.symbols) for m in b.molecules) <= 6 for b in chosen if b.protocol.stability} == {True}
    assert {b.protocol.xc for b in chosen if b.protocol.unrestricted} == {"pbe", "b3lyp", "hf"}
    (restricted,) = (b for b in chosen if not b.protocol.unrestricted)
    assert restricted.protocol.xc == "pbe" and {m.multiplicity for m in restricted.molecules} == {1}
    assert {b.guesses for b in chosen} == {("minao", "minao+refine", "two-level:minao", "two-level:ml")}


def test_the_difficult_suite_compares_pyscfs_solvers():
    chosen = list(batches("difficult"))
    assert [b.set for b in chosen] == ["difficult", "atoms", "nitric_oxide", "nitric_oxide", "trimethyltin"]
    assert all(b.protocol.stability for b in chosen[:-1])
    assert {b.guesses for b in chosen} == {
        ("minao", "solver:newton", "solver:level-shift", "solver:damping", "two-level:minao")}


def test_the_trust_suite_deals_its_levels_out_over_two_thousand_structures():
    chosen = list(batches("trust"))
    names = [molecule.name for batch in chosen for molecule in batch.molecules]
    assert len(names) == len(set(names)) >= 2000
    assert {b.set for b in chosen} == {"trust"} and {b.guesses for b in chosen} == {("minao", "ml", "two-level:minao")}
    assert len({b.protocol for b in chosen}) == 8
    assert {b.protocol.xc for b in chosen} == {"pbe", "b3lyp", "hf", "r2scan", "HYB_GGA_XC_WB97X_D"}
    # Stopped after any eighty structures, each level has had its share.
    assert all(len({b.protocol for b in chosen[first:first + 8]}) == 8 for first in range(0, len(chosen) - 8, 8))
    assert sum(len(b.molecules) for b in chosen if b.protocol.unrestricted) == len(names) // 8


@pytest.mark.parametrize("suite", [suite for suite in SUITES if suite not in ("difficult", "trust")])
def test_what_learning_brings_stands_beside_what_comes_without_it(suite):
    for batch in batches(suite):
        assert ("two-level:ml" in batch.guesses) == ("two-level:minao" in batch.guesses)


def test_the_standard_suite_holds_the_tables_of_the_results():
    tables = {(batch.set, batch.protocol.xc, batch.protocol.basis): batch for batch in batches("standard")}
    assert len(tables) == len(list(batches("standard"))) == 20
    levels = {(xc, basis) for name, xc, basis in tables if name == "qm9_size"}
    assert {xc for xc, _ in levels} == {"pbe", "b3lyp", "hf", "r2scan", "camb3lyp", "HYB_GGA_XC_WB97X_D"}
    assert {basis for _, basis in levels} == {"def2-svp", "def2-tzvp", "cc-pvtz", "6-31g*", "6-31+g*"}
    assert set(tables["qm9_size", "pbe", "def2-svp"].guesses) == {
        "minao", "pre-scf", "minao+refine", "ml-density", "ml-unrefined", "ml", "two-level:minao", "two-level:ml",
        "exact-fit"}
    fewer = {"elements": 9, "transition_metals": 11, "drug_like": 10, "small_drugs": 10, "main_group": 32,
             "multiply_charged": 28}
    for (name, *_), batch in tables.items():
        assert len(batch.molecules) == fewer.get(name, 20)


@pytest.mark.parametrize("suite", ["standard", "times", "full"])
def test_refined_guesses_are_compared_on_a_grid_that_they_do_not_come_from(suite):
    for batch in batches(suite):
        if any(source_of(guess) != guess or guess == "ml" for guess in batch.guesses):
            assert batch.protocol.grid_level > 2  # the finest one of the cheap problem's


@pytest.mark.parametrize("model", available())
def test_no_model_was_trained_on_a_molecule_of_the_suites(model):
    keys = trained_on(model)
    assert len(keys) > 100
    molecules = {m for suite in ("full", "builds", "builds-large") for batch in batches(suite) for m in batch.molecules}
    assert len(molecules) > 180
    assert not [m.name for m in molecules if m.inchikey in keys]
    assert not [m.name for m in molecules if not m.inchikey]


def test_models_take_the_place_of_the_default_one():
    (batch, *_) = batches("quick", ("ml:a", "ml:b"))
    assert "ml" not in batch.guesses and {"ml:a", "ml:b"} <= set(batch.guesses)
    assert with_models(("minao", "ml-density", "ml-unchecked", "two-level:ml", "ml:c"), ("ml:a",)) == (
        "minao", "ml-density:a", "ml-unchecked:a", "two-level:ml:a", "ml:c")


def test_an_unknown_suite_is_named():
    known = ("quick, standard, times, builds, families, builds-large, convergence, one-build, energies, states, "
             "spinors, difficult, trust, full")
    with pytest.raises(ValueError, match=f"unknown suite 'slow'; known are {known}"):
        list(batches("slow"))
