"""The suites hold what they say, on molecules that no shipped model was trained on."""

import pytest

from pyscf_mlguess.benchmark.guesses import CLASSICAL, check_guess, source_of
from pyscf_mlguess.benchmark.suites import SUITES, batches
from pyscf_mlguess.models import available, trained_on


@pytest.mark.parametrize("suite", SUITES)
def test_levels_and_guesses_exist_and_have_their_baseline(suite):
    chosen = list(batches(suite))
    for batch in chosen:
        assert batch.molecules and "minao" in batch.guesses
        assert any(source_of(guess) == "ml" for guess in batch.guesses)
        batch.protocol.check()
        for guess in batch.guesses:
            check_guess(guess, batch.protocol)


@pytest.mark.parametrize("suite", ["standard", "full"])
def test_the_larger_suites_cover_what_users_run(suite):
    chosen = list(batches(suite))
    assert {batch.protocol.xc for batch in chosen} >= {"pbe", "b3lyp", "hf", "r2scan", "camb3lyp"}
    assert {batch.protocol.basis for batch in chosen} >= {"def2-svp", "def2-tzvp", "6-31g*", "cc-pvtz", "6-31+g*"}
    assert {batch.set for batch in chosen} >= {"qm9_size", "drug_like", "ions", "radicals", "elements", "distorted",
                                               "path"}
    assert any(not batch.protocol.density_fit for batch in chosen)
    guesses = {guess for batch in chosen if batch.set == "qm9_size" for guess in batch.guesses}
    assert guesses >= {*CLASSICAL, "pre-scf", "projected:sto-3g", "projected:def2-svp", "converged", "exact-fit"}


@pytest.mark.parametrize("model", available())
def test_no_model_was_trained_on_a_molecule_of_the_suites(model):
    keys = trained_on(model)
    assert len(keys) > 100
    molecules = {m for batch in batches("full") for m in batch.molecules}
    assert len(molecules) > 180
    assert not [m.name for m in molecules if m.inchikey in keys]
    assert not [m.name for m in molecules if not m.inchikey]


def test_models_take_the_place_of_the_default_one():
    (batch, *_) = batches("quick", ("ml:a", "ml:b"))
    assert "ml" not in batch.guesses and {"ml:a", "ml:b"} <= set(batch.guesses)


def test_an_unknown_suite_is_named():
    with pytest.raises(ValueError, match="unknown suite 'slow'; known are quick, standard, learned, two-level, times"):
        list(batches("slow"))
