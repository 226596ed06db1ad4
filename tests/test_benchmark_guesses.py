"""Every guess starts from what it says, and its own work is counted."""

import numpy as np
import pytest
from benchmark_runs import H2, HF_STO3G, OH, WATER, another_model, run

from pyscf_mlguess.benchmark import guesses
from pyscf_mlguess.benchmark.guesses import CLASSICAL, Start, check_guess, initial_density
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.report import markdown
from pyscf_mlguess.benchmark.summary import summarise
from pyscf_mlguess.models import available, load_model
from pyscf_mlguess.molecules.molecule import Molecule

PBE = Protocol(basis="def2-svp", grid_level=0)
CARBON = Molecule("C2", ("C", "C"), ((0.0, 0.0, 0.0), (0.0, 0.0, 1.24)))
TOO_CLOSE = Molecule("H2", ("H", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.05)))
IODINE = Molecule("HI", ("H", "I"), ((0.0, 0.0, 0.0), (0.0, 0.0, 1.61)))


def test_all_guesses_of_pyscf_reach_the_same_energy():
    protocol = Protocol(xc="pbe", basis="sto-3g", density_fit=False, grid_level=0)
    energies = [run(WATER, guess, protocol)[0]["energy"] for guess in CLASSICAL]
    assert np.ptp(energies) < 1e-8


def test_tags_of_the_guess_reach_the_scf(monkeypatch):
    seen = []
    mf_class = type(HF_STO3G.mean_field(WATER.mol("sto-3g")))
    scf = mf_class.scf
    monkeypatch.setattr(mf_class, "scf", lambda self, dm0, **kwargs: seen.append(dm0) or scf(self, dm0, **kwargs))
    run(WATER, "huckel")
    assert hasattr(seen[-1], "mo_coeff")  # the ones before are free atoms


@pytest.mark.parametrize("xc, builds", [("pbe", False), ("pbe0", True)])
def test_exchange_of_the_pre_scf_counts_where_the_scf_is_density_fitted(xc, builds):
    protocol = Protocol(xc=xc, basis="def2-svp", grid_level=1)
    minao, _ = run(WATER, "minao", protocol)
    row, _ = run(WATER, "pre-scf", protocol)
    assert row["error"] is None and row["cheap_iterations"] > 3
    assert row["cycles"] < minao["cycles"] and row["energy"] == pytest.approx(minao["energy"], abs=1e-8)
    assert row["guess_builds"] == (row["cheap_iterations"] + 2 if builds else 0)
    assert 0 < row["wall"]["cheap"] <= row["wall"]["guess"]


def test_pre_scf_of_exact_integrals_counts_as_time():
    row, _ = run(WATER, "pre-scf:1", Protocol(xc="b3lyp", basis="def2-svp", density_fit=False, grid_level=0))
    assert row["error"] is None and row["guess_builds"] == 0 and row["cheap_iterations"] > 3


@pytest.mark.parametrize("molecule", [WATER, OH])
def test_a_projected_density_is_that_of_orthonormal_orbitals(molecule):
    mf = PBE.mean_field(molecule.mol("def2-svp"))
    dm = initial_density(mf, "projected:sto-3g", Start(molecule, PBE))
    ovlp = mf.get_ovlp()
    for spin in [dm / 2] if dm.ndim == 2 else dm:
        assert spin @ ovlp @ spin == pytest.approx(spin, abs=1e-10)
    assert np.einsum("...ij,ji", dm, ovlp).sum() == pytest.approx(mf.mol.nelectron)


def test_projecting_on_the_same_basis_is_an_oracle():
    row, _ = run(WATER, "projected:def2-svp", PBE)
    assert row["cycles"] <= 3 and row["guess_builds"] == 0 and row["cheap_iterations"] > 3


def test_a_basis_of_other_core_potentials_is_not_projected():
    row, _ = run(IODINE, "projected:sto-3g", PBE)
    assert "different core potentials" in row["error"]


def test_the_converged_density_takes_one_cycle():
    _, dm = run(WATER, "minao", PBE)
    row, _ = run(WATER, "converged", PBE, converged=dm)
    assert row["cycles"] == 1 and abs(row["initial_energy"] - row["energy"]) < 1e-8
    assert row["initial_gradient"] < 1e-3


def test_exact_fit_is_better_than_minao():
    minao, dm = run(WATER, "minao", PBE)
    oracle, _ = run(WATER, "exact-fit", PBE, converged=dm)
    assert oracle["error"] is None
    assert oracle["cycles"] < minao["cycles"]
    assert oracle["energy"] == pytest.approx(minao["energy"], abs=1e-8)


@pytest.mark.parametrize("guess, whose", [("exact-fit", "this molecule"), ("converged", "this molecule"),
                                          ("previous", "the frame before")])
def test_a_missing_density_fails_as_such(guess, whose):
    row, _ = run(WATER, guess)
    assert row["error"] == f"RuntimeError: the SCF of {whose} from minao did not converge"


@pytest.mark.parametrize("guess", ["ml", "ml-density", "ml-unrefined", "ml-unchecked"])
def test_a_refused_guess_runs_from_minao_and_says_so(guess):
    row, _ = run(TOO_CLOSE, guess)
    minao, _ = run(TOO_CLOSE, "minao")
    assert row["error"] is None
    assert (row["cycles"], row["initial_energy"]) == (minao["cycles"], minao["initial_energy"])
    assert f"{guess!r} refused, falling back to minao" in row["refused"] and "on top of each other" in row["refused"]
    assert summarise([minao, row])[1].refused == 1
    assert f"H2, {guess} [{row['weights']}]: refused, " in markdown([minao, row])


def test_stages_of_a_learned_guess_are_timed():
    row, _ = run(WATER, "ml", PBE)
    wall = row["wall"]
    assert row["refused"] is None and row["weights"] == guesses.weights_of("ml")
    assert wall["model"] > 0 and wall["route"] > 0 and wall["model"] + wall["route"] <= wall["guess"]


def test_the_density_alone_is_another_guess_and_stays_one():
    mf = PBE.mean_field(WATER.mol("def2-svp"))
    corrected, alone, again = (np.asarray(initial_density(mf, guess, Start(WATER, PBE)))
                               for guess in ("ml-unrefined", "ml-density", "ml-unrefined"))
    assert np.abs(corrected - alone).max() > 1e-4 and np.allclose(corrected, again, rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", ["ml-unchecked", "ml-density"])
def test_a_variant_is_that_of_the_model_it_names(variant, tmp_path):
    mf, other = PBE.mean_field(WATER.mol("def2-svp")), another_model(tmp_path)
    named, own, default = (np.asarray(initial_density(mf, guess, Start(WATER, PBE)))
                           for guess in (f"{variant}:{other}", f"ml-unrefined:{other}", variant))
    assert np.allclose(named, own, rtol=0, atol=1e-10) == (variant == "ml-unchecked")
    assert np.abs(named - default).max() > 1e-4
    assert guesses.weights_of(f"{variant}:{other}") == guesses.weights_of(f"ml:{other}") != guesses.weights_of(variant)


def test_the_weights_of_a_guess_are_also_those_of_its_density():
    model = load_model("exchange-1")
    assert guesses.weights_of("ml:exchange-1") == f"{model.card['sha256'][:8]}+{model.density.card['sha256'][:8]}"
    assert guesses.weights_of("ml:linear-ace-3") == load_model("linear-ace-3").card["sha256"][:8]


def test_only_the_unchecked_guess_goes_on_where_quality_is_refused():
    refused, density, unchecked = (run(CARBON, guess, PBE)[0]["refused"]
                                   for guess in ("ml", "ml-density", "ml-unchecked"))
    assert "frontier gap" in refused and "frontier gap" in density and unchecked is None


def test_rows_tell_whether_the_model_knows_the_molecule(monkeypatch):
    water, strange = (Molecule(name, WATER.symbols, WATER.positions, inchikey=key) for name, key in (
        ("water", "XLYOFNOQVPJJNP-UHFFFAOYSA-N"), ("strange", "NOTAMOLECULEAT-UHFFFAOYSA-N")))
    assert run(water, "ml", PBE)[0]["trained_on"] is True
    assert run(strange, "ml", PBE)[0]["trained_on"] is False
    assert run(WATER, "ml", PBE)[0]["trained_on"] is None
    assert run(water, "minao")[0]["trained_on"] is None


@pytest.mark.parametrize("guess", ["minao2", "exactfit", "", "projected", "previous:1"])
def test_an_unknown_guess_is_named(guess):
    with pytest.raises(ValueError, match="unknown guess"):
        check_guess(guess, HF_STO3G)


@pytest.mark.parametrize("guess, message", [
    ("pre-scf:x", "grid level from 0 to 9, found 'x'"), ("pre-scf:12", "found '12'"),
    ("projected:nonsense", "does not know the basis 'nonsense'"), ("vsap", "not for hf"), ("ml:nonsense", "nonsense")])
def test_a_wrong_argument_is_named(guess, message):
    with pytest.raises(ValueError, match=message):
        check_guess(guess, HF_STO3G)


def test_every_known_guess_passes_the_check():
    model = available()[0]
    for guess in (*CLASSICAL, "pre-scf", "pre-scf:1", "projected:sto-3g", "previous", "converged", "exact-fit", "ml",
                  "ml-density", f"ml-density:{model}", "ml-unchecked", f"ml-unchecked:{model}"):
        check_guess(guess, PBE)
    assert [guesses.needs_converged(g) for g in ("converged", "exact-fit", "ml")] == [True, True, False]


def test_hydrogen_without_beta_electrons_is_projected():
    atom = Molecule("H", ("H",), ((0.0, 0.0, 0.0),), multiplicity=2)
    row, _ = run(atom, "projected:sto-3g", Protocol(xc="hf", basis="def2-svp"))
    assert row["converged"] and row["energy"] == pytest.approx(run(atom, "minao", Protocol(xc="hf"))[0]["energy"])
    assert run(H2, "projected:sto-3g")[0]["converged"]


def test_names_of_refined_and_two_level_guesses():
    protocol = Protocol(xc="pbe")
    for guess, source in (("minao+refine", "minao"), ("ml+refine", "ml"), ("two-level:ml", "ml"),
                          ("two-level:pre-scf:1", "pre-scf:1")):
        guesses.check_guess(guess, protocol)
        assert guesses.source_of(guess) == source and guesses.code_of(guess)
        assert guesses.is_two_level(guess) == guess.startswith("two-level")
        assert bool(guesses.weights_of(guess)) == (source == "ml")
    with pytest.raises(ValueError, match="refines its guess itself"):
        guesses.check_guess("two-level:ml+refine", protocol)
    with pytest.raises(ValueError, match="unknown guess 'two-level:nonsense'"):
        guesses.check_guess("two-level:nonsense", protocol)


@pytest.mark.parametrize("guess", ["minao+refine", "ml", "two-level:minao", "two-level:ml", "two-level:pre-scf"])
def test_refined_and_two_level_runs(guess):
    row, _ = run(WATER, guess, PBE)
    minao, _ = run(WATER, "minao", PBE)
    assert row["error"] is None and row["cycles"] < minao["cycles"]
    assert row["energy"] == pytest.approx(minao["energy"], abs=1e-8)
    # The two-level SCF needs no last build to have canonical orbitals.
    assert row["guess_builds"] == 0
    assert row["scf_builds"] == row["cycles"] + (1 if guess.startswith("two-level") else 2)
    assert row["cheap_iterations"] > 2
    wall = row["wall"]
    assert min(wall.values()) >= 0 and wall["model"] + wall["route"] + wall["cheap"] <= wall["guess"] + 1e-3


def test_the_learned_guess_without_refinement():
    minao, unrefined, learned = (run(WATER, guess, PBE)[0] for guess in ("minao", "ml-unrefined", "ml"))
    assert unrefined["error"] is None and unrefined["code"] and unrefined["weights"] == learned["weights"]
    assert unrefined["cheap_iterations"] == 0 < learned["cheap_iterations"]
    assert learned["cycles"] <= unrefined["cycles"] < minao["cycles"]
    assert unrefined["energy"] == pytest.approx(minao["energy"], abs=1e-8)
