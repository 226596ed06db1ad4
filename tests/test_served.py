"""What a model serves stands in its card, and ghost atoms neither help nor harm a guess."""

import re

import numpy as np
import pytest
from conftest import WATER
from pyscf import dft, gto

import pyscf_mlguess
from pyscf_mlguess import GuessRefused, load_model, pipeline, routes
from pyscf_mlguess.cheap.anderson import Anderson
from pyscf_mlguess.density_fitting.auxiliary_basis import AUXBASIS, auxiliary_mole
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.predictions import AuxiliaryDensity
from pyscf_mlguess.refusal import Refusal
from pyscf_mlguess.routes import auxiliary_density
from pyscf_mlguess.structure import Structure

SULFATE = "S 0 0 0; O .85 .85 .85; O -.85 -.85 .85; O -.85 .85 -.85; O .85 -.85 -.85"
# Twenty ghosts on a sphere around the molecule.
GHOSTS = "".join(f"; ghost-H {x:.4f} {y:.4f} {z:.4f}" for x, y, z in (
    4 * v / np.linalg.norm(v) for v in np.random.default_rng(0).normal(size=(20, 3))))


def mean_field(atoms, **kwargs):
    mol = gto.M(atom=atoms, basis="def2-svp", verbose=0, **kwargs)
    mf = dft.KS(mol, xc="pbe")
    mf.grids.level = 0
    return mf


def report_of(mf):
    model = load_model()
    prediction = model.predict(Structure.from_mol(mf.mol), LevelOfTheory.of(mf))
    return routes.density_matrix(mf, prediction, model.responses)[1]


def reason(mf):
    with pytest.raises(Refusal) as caught:
        pipeline.initial_density_matrix(mf)
    return str(caught.value)


def test_ghosts_do_not_make_up_for_missing_electrons():
    """Water's cation lacks too many electrons an atom; with 23 atoms in the denominator it would pass."""
    alone, among_ghosts = (mean_field(WATER + ghosts, charge=1, spin=1) for ghosts in ("", GHOSTS))
    missing = report_of(alone).electrons_missing
    limit = auxiliary_density.MOST_ELECTRONS_MISSING
    assert abs(missing) / 23 < limit < abs(missing) / 3
    assert reason(alone) == reason(among_ghosts)
    assert re.search(r"electrons too (few|many) \([\d.]+ an atom, limit 0.1\)", reason(alone))


def test_ghosts_do_not_make_up_for_negative_density(monkeypatch):
    alone, among_ghosts = mean_field(WATER), mean_field(WATER + GHOSTS)
    monkeypatch.setattr(auxiliary_density, "MOST_NEGATIVE_ELECTRONS", 0.5 * report_of(alone).negative_electrons / 3)
    assert "the predicted density is negative over" in reason(alone)
    assert reason(alone) == reason(among_ghosts)


def test_ghosts_do_not_spoil_a_good_guess():
    mf = mean_field(WATER + GHOSTS)
    dm = pipeline.initial_density_matrix(mf)
    assert np.einsum("ij,ji", dm, mf.get_ovlp()) == pytest.approx(10, abs=1e-8)


@pytest.mark.parametrize("make, message", [
    (lambda: mean_field(SULFATE, charge=-2), "the total charge is -2; the model {} serves -1, 0, 1"),
    (lambda: mean_field("N 0 0 0; H 0 0.9 0.3; H 0.8 -0.5 0.3; H -0.8 -0.5 0.3", charge=2),
     "the total charge is 2; the model {} serves -1, 0, 1"),
    (lambda: mean_field("C 0 0 0; C 0 0 1.4; H 0 0.9 -0.5; H 0 0.9 1.9", spin=4),
     "the number of unpaired electrons is 4; the model linear-ace-5 serves 0, 1, 2"),
    (lambda: mean_field(WATER, charge=-1, spin=-3),
     "the number of unpaired electrons is 3; the model linear-ace-5 serves 0, 1, 2"),
], ids=["dianion", "dication", "quintet", "quartet, spin down"])
def test_the_card_is_asked_for_charge_and_spin(make, message):
    mf = make()
    assert reason(mf) == message.format(load_model().card["name"])
    what = "falling back to refined minao: the (total charge|number of unpaired electrons) is"
    with pytest.warns(GuessRefused, match=what) as caught:
        dm = pyscf_mlguess.guess(mf)
    assert len(caught) == 1
    assert np.abs(dm - mf.get_init_guess(key="minao+refine")).max() < 1e-8


def test_a_refused_guess_whose_refinement_fails_is_minao(monkeypatch):
    mf = mean_field(SULFATE, charge=-2)
    monkeypatch.setattr(Anderson, "next", lambda self: np.linalg.inv(np.zeros((2, 2))))
    with pytest.warns(GuessRefused) as caught:
        dm = pyscf_mlguess.guess(mf)
    assert len(caught) == 1 and re.search("refined minao: the total charge .*; refused, falling back to the unrefined "
                                          "guess: .*Singular", str(caught[0].message))
    assert np.array_equal(dm, mf.get_init_guess(key="minao"))


FERRATE = ("Fe 0 0 0; C 1 1 1; O 1.69 1.69 1.69; C 1 -1 -1; O 1.69 -1.69 -1.69; C -1 1 -1; O -1.69 1.69 -1.69; "
           "C -1 -1 1; O -1.69 -1.69 1.69")


@pytest.mark.parametrize("atoms, kwargs", [
    (FERRATE, {"charge": -2}), (SULFATE, {"charge": -2}), ("Mn 0 0 0; Cl 0 0 2.2; Cl 0 0 -2.2", {"spin": 5})],
    ids=["tetracarbonylferrate", "sulfate", "manganese dichloride"])
def test_a_refused_guess_saves_cycles(atoms, kwargs):
    plain, mf = mean_field(atoms, **kwargs).run(), mean_field(atoms, **kwargs).set(init_guess="ml")
    with pytest.warns(GuessRefused):
        mf.kernel()
    assert mf.converged and mf.cycles < plain.cycles and mf.e_tot < plain.e_tot + 1e-7


def test_what_the_card_excludes_can_be_had_unchecked():
    mf = mean_field(SULFATE, charge=-2)
    dm = pipeline.initial_density_matrix(mf, checked=False)
    assert np.einsum("ij,ji", dm, mf.get_ovlp()) == pytest.approx(50, abs=1e-8)
    quintet = mean_field("C 0 0 0; C 0 0 1.4; H 0 0.9 -0.5; H 0 0.9 1.9", spin=4)
    alpha, beta = np.einsum("sij,ji->s", pipeline.initial_density_matrix(quintet, checked=False), quintet.get_ovlp())
    assert (alpha, beta) == pytest.approx((9, 5), abs=1e-8)


def test_a_prediction_in_another_auxiliary_basis_is_refused_by_name():
    mf = mean_field(WATER)
    own = AuxiliaryDensity.split(AUXBASIS, np.zeros(auxiliary_mole(mf.mol).nao), auxiliary_mole(mf.mol))
    routes.density_matrix(mf, own)
    other = AuxiliaryDensity("def2-universal-jfit", own.blocks, own.novelty)
    with pytest.raises(Refusal, match="'def2-universal-jfit'.*'def2-universal-jkfit'"):
        routes.density_matrix(mf, other)


def test_a_prediction_without_a_route_is_refused_by_its_type():
    with pytest.raises(Refusal, match="predictions of the type dict"):
        routes.density_matrix(mean_field(WATER), {})
