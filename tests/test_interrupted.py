"""Ctrl-C in any stage ends the run, and leaves an SCF object that runs again as if nothing had been."""

import warnings

import pytest
from pyscf import dft, gto

from pyscf_mlguess import GuessRefused, accelerated, two_level
from pyscf_mlguess.cheap.anderson import Anderson
from pyscf_mlguess.cheap.dielectric import Dielectric
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.models.linear_density.model import LinearDensity
from pyscf_mlguess.scf_copy import ScfCopy

# Class, method, and how many of its calls go well before.
PREDICTION = {
    "model": (LinearDensity, "predict", 0),
    "contraction": (DensityFitting, "contract", 0),
    "orbitals": (ScfCopy, "orbitals", 1),
}
CHEAP_PROBLEM = {
    "set-up": (CheapProblem, "__post_init__", 0),
    "first cheap Fock matrix": (CheapProblem, "energy_and_fock", 0),
    "later cheap Fock matrix": (CheapProblem, "energy_and_fock", 3),
    "mixing": (Anderson, "next", 1),
    "screening": (Dielectric, "step", 0),
}
SCF = {
    "first Fock build": (dft.rks.RKS, "get_veff", 0),
    "second Fock build": (dft.rks.RKS, "get_veff", 1),
}


def mean_field():
    """Water, stretched on one side: more than two iterations of everything."""
    mf = dft.RKS(gto.M(atom="O 0 0 0; H 0 0.96 0.59; H 0 -0.76 0.59", basis="6-31g", verbose=0), xc="b3lyp")
    mf.grids.level = 0
    return mf


WAYS = {
    "ml": (lambda: mean_field().set(init_guess="ml"), PREDICTION | CHEAP_PROBLEM | SCF),
    "two-level": (lambda: two_level(mean_field()), CHEAP_PROBLEM | SCF),
}


@pytest.fixture(scope="module")
def energy():
    return mean_field().run().e_tot


def interrupted(monkeypatch, mf, cls, name, calls):
    """``mf`` after a run that Ctrl-C ended in a method of ``cls``."""
    original, seen = getattr(cls, name), []

    def method(*args, **kwargs):
        seen.append(name)
        if len(seen) > calls:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error", GuessRefused)  # a user's Ctrl-C is no refusal
        patch.setattr(cls, name, method)
        with pytest.raises(KeyboardInterrupt):
            mf.kernel()
    return mf


@pytest.mark.parametrize("way, where", [(way, where) for way, (_, places) in WAYS.items() for where in places])
def test_it_runs_again(way, where, energy, monkeypatch, taking_part):
    make, places = WAYS[way]
    mf = make()
    cls, names = type(mf), vars(mf).keys()
    interrupted(monkeypatch, mf, *places[where])
    assert type(mf) is cls and not [name for name in vars(mf).keys() - names if "mlguess" in name]
    mf.kernel()
    assert mf.converged and mf.e_tot == pytest.approx(energy, abs=1e-8)


def test_the_context_ends_with_it(energy, monkeypatch, taking_part):
    mf = mean_field()
    cls = type(mf)
    with pytest.raises(KeyboardInterrupt), accelerated():
        interrupted(monkeypatch, mf, CheapProblem, "energy_and_fock", 3)
        raise KeyboardInterrupt
    assert type(mf) is cls and mf.kernel() == pytest.approx(energy, abs=1e-8) and mf.cycles > 4
