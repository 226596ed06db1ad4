"""What goes wrong inside a guess is one warning and PySCF's own way; the SCF never notices."""

import io
import warnings

import numpy as np
import pytest
from conftest import WATER
from pyscf import dft, gto, scf, sgx

import pyscf_mlguess
from pyscf_mlguess import GuessFailed, GuessRefused, pipeline, two_level
from pyscf_mlguess.cheap.anderson import Anderson, Correction
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.density_fitting.metric import Metric
from pyscf_mlguess.models.linear_density.model import LinearDensity
from pyscf_mlguess.scf_copy import ScfCopy
from pyscf_mlguess.two_level_diis import TwoLevelDIIS

UNLUCKY = {
    "linear algebra": np.linalg.LinAlgError("4-th leading minor not positive definite"),
    "overflow": FloatingPointError("overflow encountered in exp"),
    "division": ZeroDivisionError("float division by zero"),
    "memory": MemoryError("Unable to allocate 3.2 TiB"),
    "not finite": ValueError("array must not contain infs or NaNs"),
}
WRONG = {
    "TypeError": TypeError("unsupported operand"),
    "AttributeError": AttributeError("no attribute 'auxbasis'"),
    "KeyError": KeyError("Xx"),
    "ValueError": ValueError("operands could not be broadcast together"),
}
IN_THE_PREDICTION = {
    "contraction": (DensityFitting, "contract"),
    "metric": (Metric, "solve"),
    "model": (LinearDensity, "predict"),
    "orbitals": (ScfCopy, "orbitals"),
}
IN_THE_REFINEMENT = {
    "cheap Fock matrix": (CheapProblem, "fock"),
    "mixing": (Anderson, "next"),
    "set-up": (CheapProblem, "__post_init__"),
}


@pytest.fixture
def water():
    # Stretched on one side: more than two iterations of everything.
    return gto.M(atom="O 0 0 0; H 0 0.96 0.59; H 0 -0.76 0.59", basis="sto-3g", verbose=0)


def kohn_sham(mol, xc="pbe"):
    mf = dft.KS(mol, xc=xc)
    mf.grids.level = 0
    return mf


def fault(monkeypatch, where, error, calls_before=0):
    """Let ``where``, a class and the name of its method, raise ``error`` after some calls that go well."""
    cls, name = where
    original, seen = getattr(cls, name), []

    def broken(*args, **kwargs):
        seen.append(name)
        if len(seen) > calls_before:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(cls, name, broken)
    return seen


def told(record):
    """The package's warnings alone."""
    return [warning for warning in record if issubclass(warning.category, GuessRefused)]


def run_with_one_warning(mf, category=GuessRefused):
    """``mf`` after its kernel, and the one warning of the package, which its log repeats."""
    mf.verbose, mf.stdout = 2, io.StringIO()
    with pytest.warns(category) as record:
        mf.kernel()
    assert [warning.category for warning in told(record)] == [category]
    message = str(told(record)[0].message)
    assert mf.stdout.getvalue().count(message) == 1 and "Traceback" not in mf.stdout.getvalue()
    assert told(record)[0].filename == __file__
    return message


def energy(mol):
    mf = kohn_sham(mol).run()
    assert mf.converged
    return mf.e_tot


@pytest.mark.parametrize("error", UNLUCKY.values(), ids=UNLUCKY)
@pytest.mark.parametrize("where", IN_THE_PREDICTION.values(), ids=IN_THE_PREDICTION)
def test_a_prediction_that_fails_numerically_is_minao_refined(where, error, water, monkeypatch):
    fault(monkeypatch, where, error)
    mf = kohn_sham(water).set(init_guess="ml")
    message = run_with_one_warning(mf)
    assert message.startswith("initial guess 'ml' refused, falling back to refined minao: ") and str(error) in message
    with pytest.warns(GuessRefused):
        assert np.abs(mf.get_init_guess(key="ml") - mf.get_init_guess(key="minao+refine")).max() < 1e-8
    assert mf.converged and mf.e_tot == pytest.approx(energy(water), abs=1e-8)


@pytest.mark.parametrize("error", UNLUCKY.values(), ids=UNLUCKY)
@pytest.mark.parametrize("where", IN_THE_REFINEMENT.values(), ids=IN_THE_REFINEMENT)
@pytest.mark.parametrize("key, start", [("minao+refine", scf.hf.SCF.get_init_guess),
                                        ("ml", pipeline.initial_density_matrix)], ids=["minao+refine", "ml"])
def test_a_refinement_that_fails_numerically_is_left_out(key, start, where, error, water, monkeypatch):
    mf = kohn_sham(water).set(init_guess=key)
    start = start(mf)
    fault(monkeypatch, where, error)
    message = run_with_one_warning(mf)
    assert f"initial guess {key!r} refused, falling back to " in message and "unrefined" in message
    assert str(error) in message
    with pytest.warns(GuessRefused):
        unrefined = mf.get_init_guess(key=key)
        # A prediction that is to be refined comes from a coarser grid, and its correction is left to the refinement.
        assert np.abs(unrefined - start).max() < (0.1 if key == "ml" else 1e-12)
    assert mf.converged and mf.e_tot == pytest.approx(energy(water), abs=1e-8)


def test_what_fails_twice_is_told_once(water, monkeypatch):
    fault(monkeypatch, (ScfCopy, "orbitals"), np.linalg.LinAlgError("no convergence"))
    mf = kohn_sham(water).set(init_guess="ml")
    with pytest.warns(GuessRefused) as record:
        dm = mf.get_init_guess(key="ml")
    assert len(told(record)) == 1 and str(told(record)[0].message).count("no convergence") == 2
    assert np.array_equal(dm, mf.get_init_guess(key="minao"))


@pytest.mark.parametrize("error, category", [(UNLUCKY["linear algebra"], GuessRefused),
                                             (UNLUCKY["not finite"], GuessRefused),
                                             (UNLUCKY["memory"], GuessRefused),
                                             (WRONG["TypeError"], GuessFailed), (WRONG["KeyError"], GuessFailed)],
                         ids=["linear algebra", "not finite", "memory", "TypeError", "KeyError"])
@pytest.mark.parametrize("where, calls", [((CheapProblem, "__post_init__"), 0), ((Anderson, "next"), 0),
                                          ((Anderson, "next"), 3), ((Correction, "add"), 1),
                                          ((TwoLevelDIIS, "_point"), 1)],
                         ids=["set-up", "first step", "within the refinement", "first cycle", "second cycle"])
def test_a_two_level_scf_goes_on_with_plain_diis(where, calls, error, category, water, monkeypatch):
    # Tight enough for a second cycle.
    mf = two_level(kohn_sham(water)).set(conv_tol_grad=1e-7)
    start = mf.get_init_guess(key="minao")
    seen = fault(monkeypatch, where, error, calls)
    mf.verbose, mf.stdout = 2, io.StringIO()
    with pytest.warns(category) as record:
        mf.kernel(start)
    assert [warning.category for warning in told(record)] == [category]
    message = str(told(record)[0].message)
    assert message.startswith("two-level SCF ") and "plain DIIS: " in message and str(error) in message
    assert "falling back to " in message
    assert len(seen) == calls + 1  # not tried again
    assert mf.converged and mf._anderson is None and mf.e_tot == pytest.approx(energy(water), abs=1e-8)


@pytest.mark.parametrize("error", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("key, where, instead", [
    ("ml", IN_THE_PREDICTION["model"], "refined minao"), ("ml", IN_THE_PREDICTION["orbitals"], "refined minao"),
    ("minao+refine", IN_THE_REFINEMENT["mixing"], "the unrefined guess"),
    ("minao+refine", IN_THE_REFINEMENT["set-up"], "minao unrefined"),
], ids=["model", "route", "refinement", "refinement's set-up"])
def test_an_error_of_the_package_asks_to_be_reported(key, where, instead, error, water, monkeypatch):
    fault(monkeypatch, where, error)
    mf = kohn_sham(water).set(init_guess=key)
    message = run_with_one_warning(mf, GuessFailed)
    assert message.startswith(f"initial guess '{key}' failed, falling back to {instead}: {type(error).__name__}: ")
    assert str(error) in message and "please report it" in message
    assert mf.converged and mf.e_tot == pytest.approx(energy(water), abs=1e-8)


def test_the_traceback_of_such_an_error_is_in_the_debug_log(water, monkeypatch):
    fault(monkeypatch, IN_THE_PREDICTION["model"], WRONG["TypeError"])
    mf = kohn_sham(water)
    mf.verbose, mf.stdout = 5, io.StringIO()
    with pytest.warns(GuessFailed):
        pyscf_mlguess.guess(mf)
    assert "Traceback" in mf.stdout.getvalue() and "in broken" in mf.stdout.getvalue()


def test_errors_of_the_package_show_in_these_tests(water, monkeypatch):
    fault(monkeypatch, IN_THE_PREDICTION["model"], WRONG["TypeError"])
    with pytest.raises(GuessFailed, match="unsupported operand"):
        kohn_sham(water).set(init_guess="ml").kernel()


def test_a_refusal_can_be_made_an_error(water, monkeypatch):
    fault(monkeypatch, IN_THE_PREDICTION["metric"], UNLUCKY["memory"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuessRefused)
        with pytest.raises(GuessRefused, match="MemoryError"):
            kohn_sham(water).set(init_guess="ml").kernel()


def test_underflow_is_no_error_whatever_numpy_was_told(water):
    expected = np.asarray(kohn_sham(water).get_init_guess(key="ml"))
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error", GuessRefused)
        assert np.abs(kohn_sham(water).get_init_guess(key="ml") - expected).max() < 1e-4


def test_an_error_of_pyscf_is_not_swallowed(water, monkeypatch):
    fault(monkeypatch, (scf.hf.SCF, "init_guess_by_minao"), WRONG["KeyError"])
    with pytest.raises(KeyError, match="Xx"):
        kohn_sham(water).set(init_guess="minao+refine").kernel()


@pytest.mark.parametrize("make", [scf.RHF, kohn_sham, lambda mol: kohn_sham(mol, "b3lyp")], ids=["RHF", "PBE", "B3LYP"])
@pytest.mark.parametrize("key, scheme", [("ml", None), ("minao", two_level)], ids=["ml", "two-level"])
def test_semi_numerical_exchange(make, key, scheme, taking_part):
    mol = gto.M(atom=WATER, basis="def2-svp", verbose=0)
    plain = sgx.sgx_fit(make(mol)).run()
    mf = sgx.sgx_fit(make(mol)) if scheme is None else scheme(sgx.sgx_fit(make(mol)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuessRefused)
        mf.set(init_guess=key).kernel()
    assert mf.converged and mf.e_tot == pytest.approx(plain.e_tot, abs=1e-8)
    assert mf.cycles < plain.cycles


def test_a_density_matrix_as_the_guess_of_a_two_level_scf(water, monkeypatch):
    """``mf.init_guess = dm`` is refined; what fails on the way leaves it as it is."""
    plain = kohn_sham(water).run()
    mf = two_level(kohn_sham(water))
    mf.init_guess = np.asarray(mf.get_init_guess(key="minao"))
    fault(monkeypatch, (CheapProblem, "fock"), np.linalg.LinAlgError("singular matrix"))
    with pytest.warns(GuessRefused, match="unrefined density matrix.*LinAlgError: singular matrix"):
        mf.run()
    assert mf.converged and mf.e_tot == pytest.approx(plain.e_tot, abs=1e-8)
