"""Open shells: what the spin density adds to the Fock matrix that both spins have in common.

It is asked where no step of the cheap problem parts the spins.
"""

import numpy as np
import pytest
from pyscf import dft, gto

from pyscf_mlguess import pipeline
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.routes import auxiliary_density

PHENYL = """C 1.2063 0.7064 0; C 1.2262 -0.6862 0; C 0 -1.3941 0; C -1.2262 -0.6862 0; C -1.2063 0.7064 0; C 0 1.33 0;
            H 2.1431 1.2613 0; H 2.1755 -1.2175 0; H 0 -2.4820 0; H -2.1755 -1.2175 0; H -2.1431 1.2613 0"""
ALLYL = """C 0 0 0.44; C 0 1.22 -0.2; C 0 -1.22 -0.2; H 0 0 1.53; H 0 2.16 0.36; H 0 -2.16 0.36; H 0 1.28 -1.29;
           H 0 -1.28 -1.29"""
ETHYLENE = {"atom": "C 0 0 0; C 0 0 1.33; H .92 0 -.56; H -.92 0 -.56; H .92 0 1.89; H -.92 0 1.89", "spin": 2}
OPEN = {"allyl": {"atom": ALLYL, "spin": 1}, "phenyl": {"atom": PHENYL, "spin": 1}, "ethylene triplet": ETHYLENE,
        "allyl, spin down": {"atom": ALLYL, "spin": -1}}


def mean_field(name, cls, xc="pbe"):
    mf = cls(gto.M(basis="6-31g", verbose=0, **OPEN[name]), xc=xc)
    mf.grids.level = 1
    return mf


def parted(mf):
    return np.asarray(pipeline.initial_density_matrix(mf, corrected=False))


def alike(mf, monkeypatch):
    """The guess without it: alpha and beta orbitals of one Fock matrix."""
    with monkeypatch.context() as patch:
        patch.setattr(auxiliary_density, "polarised", lambda scf, potential, fock, common: common)
        return parted(mf)


def distance(mf, first, second):
    """Between spin densities, in electrons."""
    values, vectors = np.linalg.eigh(mf.get_ovlp())
    root = (vectors * np.sqrt(values)) @ vectors.T
    return np.linalg.norm(root @ (first[0] - first[1] - second[0] + second[1]) @ root)


@pytest.mark.parametrize("cls", [dft.UKS, dft.ROKS])
@pytest.mark.parametrize("name", OPEN)
def test_determinants_of_the_right_number_of_electrons(name, cls):
    mf = mean_field(name, cls)
    for dm in (parted(mf), np.asarray(pipeline.initial_density_matrix(mf))):
        check(dm, mf)


def check(dm, mf):
    ovlp = mf.get_ovlp()
    assert np.einsum("sij,ji->s", dm, ovlp) == pytest.approx(mf.mol.nelec, abs=1e-10)
    assert max(np.abs(d @ ovlp @ d - d).max() for d in dm) < 1e-10


@pytest.mark.parametrize("xc", ["pbe", "b3lyp", "lda,vwn", "r2scan"])
def test_the_spin_density_is_nearer_to_the_converged_one(xc, monkeypatch):
    for name in ("allyl", "ethylene triplet"):
        mf = mean_field(name, dft.UKS, xc)
        before, guess = alike(mf, monkeypatch), parted(mf)
        end = np.asarray(mf.run().make_rdm1())
        assert mf.converged and distance(mf, guess, end) < 0.6 * distance(mf, before, end)


def test_open_shells_of_restricted_orbitals_gain_too(monkeypatch):
    mf = mean_field("phenyl", dft.ROKS)
    before, guess = alike(mf, monkeypatch), parted(mf)
    assert mf.energy_tot(guess) < mf.energy_tot(before)


def test_shared_electrons_stay_shared(monkeypatch):
    """The unpaired electrons of a planar ring lie in a degenerate pair: one of it would break the symmetry."""
    ring = gto.M(atom=[("C", (1.2 * np.cos(a), 1.2 * np.sin(a), 0)) for a in 2 * np.pi * np.arange(5) / 5]
                 + [("H", (2.3 * np.cos(a), 2.3 * np.sin(a), 0)) for a in 2 * np.pi * np.arange(5) / 5],
                 basis="def2-svp", spin=1, verbose=0)
    mf = dft.UKS(ring, xc="pbe")
    np.testing.assert_allclose(parted(mf), alike(mf, monkeypatch), rtol=0, atol=1e-10)


def test_restricted_orbitals_of_an_odd_number_of_electrons_stay_restricted():
    """As PySCF has them with smearing: one density matrix for both spins."""
    mf = dft.rks.RKS(gto.M(atom=ALLYL, basis="6-31g", spin=1, verbose=0), xc="pbe").smearing(sigma=0.01)
    assert np.asarray(pipeline.initial_density_matrix(mf)).shape == (mf.mol.nao, mf.mol.nao)


def test_refinement_does_not_ask_for_it(monkeypatch):
    """The cheap problem has both spins itself."""
    mf = mean_field("allyl", dft.UKS)
    dm = np.asarray(pipeline.initial_density_matrix(mf, cheap=CheapProblem(mf)))
    monkeypatch.setattr(auxiliary_density, "polarised", None)
    again = np.asarray(pipeline.initial_density_matrix(mf, cheap=CheapProblem(mf)))
    np.testing.assert_allclose(again, dm, rtol=0, atol=1e-10)
