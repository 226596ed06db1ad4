"""Energies and dipoles of guesses, without an SCF."""

import numpy as np
import pytest
from conftest import FORMAMIDE, WATER
from pyscf import dft, gto, scf

import pyscf_mlguess
from pyscf_mlguess.hook import checked_guess
from pyscf_mlguess.refusal import Refusal

METHYL = {"atom": "C 0 0 0; H 0 1.08 0; H .935 -.54 0.1; H -.935 -.54 0", "spin": 1}


def molecule(atom=WATER, **kwargs):
    return gto.M(atom=atom, basis="def2-svp", verbose=0, **kwargs)


def kohn_sham(xc, cls=dft.KS, **kwargs):
    mf = cls(molecule(**kwargs), xc=xc)
    mf.grids.level = 1
    return mf


CASES = {
    "RHF": lambda: scf.RHF(molecule()),
    "RKS": lambda: kohn_sham("pbe", atom=FORMAMIDE),
    "hybrid": lambda: kohn_sham("b3lyp"),
    "UHF": lambda: scf.UHF(molecule(**METHYL)),
    "UKS": lambda: kohn_sham("pbe", **METHYL),
    "ROHF": lambda: scf.ROHF(molecule(**METHYL)),
    "ROKS": lambda: kohn_sham("b3lyp", dft.ROKS, **METHYL),
    "symmetry": lambda: kohn_sham("pbe", symmetry=True),
    "density fitting": lambda: kohn_sham("pbe0").density_fit(),
    "solvent": lambda: kohn_sham("pbe").PCM(),
    "two-level": lambda: pyscf_mlguess.two_level(kohn_sham("pbe")),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_functional_of_the_guess(case):
    mf = CASES[case]()
    found = pyscf_mlguess.energy(mf)
    dm = np.asarray(checked_guess(mf, "ml"))
    assert np.asarray(found.dm) == pytest.approx(dm, abs=1e-8)
    assert found.energy == pytest.approx(mf.energy_tot(dm), abs=1e-8)
    assert found.dipole == pytest.approx(mf.dip_moment(dm=dm, verbose=0), abs=1e-6)


@pytest.mark.parametrize("key", ["ml", "minao+refine"])
@pytest.mark.parametrize("case", [case for case in CASES if case != "two-level"])
def test_the_estimates_are_of_the_size_of_the_errors(case, key):
    mf = CASES[case]()
    found = pyscf_mlguess.energy(mf, key)
    mf.run(conv_tol=1e-11)
    # An idempotent density matrix has no energy below the SCF's.
    above = found.energy - mf.e_tot
    # Spins that answer to each other are softer than the independent electrons of the estimate.
    assert 0 < above < 0.06 and found.energy_error / 4 < above < (3 if mf.mol.spin else 2) * found.energy_error
    away = np.linalg.norm(found.dipole - mf.dip_moment(verbose=0))
    assert found.dipole_error / 6 < away + 1e-3 and away < 3 * found.dipole_error + 1e-3


def test_the_estimate_is_the_second_order_energy_of_independent_electrons():
    """sum_ia 2 F_ia^2 / (e_a - e_i) of orbitals that are canonical among occupied and among empty ones."""
    mf = CASES["RHF"]().run()
    nocc, rng = mf.mol.nelectron // 2, np.random.default_rng(0)
    turn = np.eye(mf.mol.nao)
    turn[:nocc, nocc:] = 1e-4 * rng.normal(size=(nocc, mf.mol.nao - nocc))
    turned = mf.mo_coeff @ np.linalg.qr((turn - np.triu(turn, 1).T).T)[0]
    dm = mf.make_rdm1(turned, mf.mo_occ)
    fock = turned.T @ mf.get_fock(dm=dm) @ turned
    levels, second = [], fock.copy()
    for part in (slice(0, nocc), slice(nocc, None)):
        values, vectors = np.linalg.eigh(fock[part, part])
        levels.append(values)
        second[part] = vectors.T @ second[part]
        second[:, part] = second[:, part] @ vectors
    expected = (2 * second[:nocc, nocc:] ** 2 / (levels[1] - levels[0][:, None])).sum()
    assert pyscf_mlguess.energy(mf, dm).energy_error == pytest.approx(expected, rel=1e-3)


def test_one_fock_build_and_any_density_matrix(monkeypatch):
    mf, built = CASES["RKS"](), []
    original = dft.rks.RKS.get_veff
    monkeypatch.setattr(dft.rks.RKS, "get_veff", lambda self, *args: built.append(args) or original(self, *args))
    found = pyscf_mlguess.energy(mf)
    assert len(built) == 1
    assert pyscf_mlguess.energy(mf, np.asarray(found.dm)).energy == pytest.approx(found.energy, abs=1e-9)
    assert pyscf_mlguess.energy(mf, "minao").energy_error > 100 * found.energy_error


def test_the_key_works_without_registration():
    mf = CASES["RKS"]()
    expected = pyscf_mlguess.energy(mf, "ml").energy
    pyscf_mlguess.unregister()
    try:
        assert pyscf_mlguess.energy(mf, "ml").energy == pytest.approx(expected, abs=1e-9)
    finally:
        pyscf_mlguess.register()


@pytest.mark.parametrize("make, guess, reason", [
    (lambda: kohn_sham("pbe", atom="C 0 0 0; C 0 0 1.24"), "ml", "'ml' is refused: .*frontier gap"),
    (lambda: kohn_sham("pbe", atom="C 0 0 0; C 0 0 1.24"), "ml", "is refused: .*frontier gap"),
    (lambda: scf.GHF(molecule()), "ml", "GHF is not supported"),
    (lambda: scf.RHF(molecule("H 0 0 0; H 0 0 0.01")), "ml", "on top of each other"),
    (lambda: kohn_sham("pbe").smearing(sigma=0.01), "ml", "smearing"),
    (lambda: scf.RHF(molecule()), np.eye(3), "shape"),
])
def test_what_is_not_served_is_an_error_and_no_other_guess(make, guess, reason, recwarn):
    with pytest.raises(Refusal, match=reason):
        pyscf_mlguess.energy(make(), guess)
    assert not recwarn.list


@pytest.mark.parametrize("key", ["minoa", "mlx", "ml:nonsense"])
def test_an_unknown_key_is_named(key):
    with pytest.raises((ValueError, FileNotFoundError), match="minoa|mlx|nonsense"):
        pyscf_mlguess.energy(scf.RHF(molecule()), key)
