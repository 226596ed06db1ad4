import numpy as np
import pytest
from pyscf import dft, gto, scf

from pyscf_mlguess.functional import SemilocalPotential

DENSITY = np.array([[0.3, 0.01, 1.2], [0.1, 0.003, 0.0], [0.0, -0.002, 0.4], [0.2, 0.0, 0.1]])


@pytest.fixture
def mol():
    return gto.M(atom="H 0 0 0; F 0 0 0.9", basis="sto-3g", verbose=0)


@pytest.mark.parametrize("xc, note", [
    ("lda,vwn", None), ("pbe", None), ("b3lyp", "20% exact exchange replaced by as much of PBE exchange"),
    ("b3lyp-d3bj", "20% exact exchange replaced"), ("r2scan", "r2scan replaced by PBE"),
    ("m06-2x", "m06-2x replaced by PBE"), ("hse06", "25% exact exchange"), ("wb97x", "16% exact exchange"),
    ("wb97x-v", "non-local correlation left out"), ("hf", "hf replaced by PBE"),
])
def test_every_kind_of_functional_gets_a_finite_potential(mol, xc, note):
    potential = SemilocalPotential.of(dft.RKS(mol, xc=xc))
    assert any(note in n for n in potential.notes) if note else potential.notes == []
    assert np.isfinite(potential.first_derivative(DENSITY)).all()


def test_hartree_fock_objects_get_the_stand_in(mol):
    assert SemilocalPotential.of(scf.RHF(mol)).notes == ["Hartree-Fock exchange replaced by PBE"]


@pytest.mark.parametrize("xc, stand_in", [("pbe", 0), ("pbe0", 0.25), ("camb3lyp", 0.19), ("hf", 1), ("lrc-wpbe", 0)])
def test_where_exact_exchange_is_known_no_note_tells_of_a_stand_in(mol, xc, stand_in):
    mf = dft.RKS(mol, xc=xc)
    potential = SemilocalPotential.of(mf, exchange_known=True)
    assert potential.notes == []
    own = 0.0 if xc == "hf" else SemilocalPotential(mf._numint, [(1.0, xc)]).first_derivative(DENSITY)
    exchange = SemilocalPotential(mf._numint, [(1.0, "pbe,")]).first_derivative(DENSITY)
    assert potential.first_derivative(DENSITY) == pytest.approx(own + stand_in * exchange, abs=1e-10)


def test_hartree_fock_has_no_correlation_where_its_exchange_is_known(mol):
    first, second = (SemilocalPotential.of(mf, exchange_known=True).first_derivative(DENSITY)
                     for mf in (scf.RHF(mol), dft.RKS(mol, xc="hf")))
    assert first == pytest.approx(second, abs=1e-12)
    # What is left out altogether is still told.
    notes = SemilocalPotential.of(dft.RKS(mol, xc="m06-2x"), exchange_known=True).notes
    assert notes == ["m06-2x replaced by PBE"]


def test_custom_functionals_are_evaluated_by_the_users_own_integrator(mol):
    mf = dft.RKS(mol)
    mf.define_xc_(lambda xc, rho, spin=0, relativity=0, deriv=1, omega=None, verbose=None:
                  dft.libxc.eval_xc("b88,p86", rho, spin, relativity, deriv, omega, verbose), "GGA")
    expected = SemilocalPotential.of(dft.RKS(mol, xc="b88,p86")).first_derivative(DENSITY)
    assert SemilocalPotential.of(mf).first_derivative(DENSITY) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("xc", ["lda,vwn", "pbe", "b3lyp"])
def test_second_derivative_is_that_of_the_first(mol, xc):
    potential = SemilocalPotential.of(dft.RKS(mol, xc=xc))
    step = np.array([1e-5, 2e-5, -1e-5, 3e-5])[:, None] * DENSITY[:1]
    change = potential.first_derivative(DENSITY + step) - potential.first_derivative(DENSITY - step)
    predicted = 2 * np.einsum("abn,bn->an", potential.second_derivative(DENSITY), step)
    assert change == pytest.approx(predicted, rel=1e-4, abs=1e-10)
