import numpy as np
import pytest
from pyscf import dft, gto, scf
from pyscf.lib import NPArrayWithTag

from pyscf_mlguess.routes.occupation import occupy, spread_over_degenerate
from pyscf_mlguess.scf_copy import ScfCopy


def core_fock(mf):
    return mf.get_hcore() + np.asarray(scf.hf.RHF(mf.mol).get_veff(mf.mol, scf.hf.init_guess_by_minao(mf.mol)))


@pytest.mark.parametrize("kind", [scf.RHF, scf.UHF, scf.ROHF, dft.RKS, dft.UKS, dft.ROKS])
@pytest.mark.parametrize("cart", [False, True])
def test_electron_count_and_idempotency(kind, cart):
    charge, spin = (0, 0) if kind in (scf.RHF, dft.RKS) else (1, 1)
    mol = gto.M(atom="N 0 0 0; H 0 0.9 0.3; H 0.8 -0.5 0.3; H -0.8 -0.5 0.3", basis="6-31g*", charge=charge,
                spin=spin, cart=cart, verbose=0)
    mf = kind(mol)
    occupied = occupy(ScfCopy(mf), core_fock(mf))
    ovlp = mf.get_ovlp()
    spins = [occupied.dm / 2] if occupied.dm.ndim == 2 else occupied.dm
    assert [np.trace(d @ ovlp) for d in spins] == pytest.approx(list(mol.nelec)[: len(spins)], abs=1e-10)
    for dm in spins:
        assert dm @ ovlp @ dm == pytest.approx(np.asarray(dm), abs=1e-10)


def test_tags_describe_the_matrix():
    mf = scf.RHF(gto.M(atom="H 0 0 0; F 0 0 0.9", basis="def2-svp", verbose=0))
    dm = occupy(ScfCopy(mf), core_fock(mf)).dm
    assert isinstance(dm, NPArrayWithTag)
    assert (dm.mo_coeff * dm.mo_occ) @ dm.mo_coeff.T == pytest.approx(np.asarray(dm), abs=1e-12)


def test_symmetry_and_fixed_irreps_are_those_of_the_scf_object():
    mol = gto.M(atom="O 0 0 0; H 0 0.76 0.59; H 0 -0.76 0.59", basis="def2-svp", symmetry=True, verbose=0)
    mf = scf.RHF(mol)
    mf.irrep_nelec = {"A1": 4, "B1": 4, "B2": 2}
    occupied = occupy(ScfCopy(mf), core_fock(mf))
    counts = mf.get_irrep_nelec(mol, occupied.dm.mo_coeff, occupied.dm.mo_occ)
    assert {key: counts[key] for key in ("A1", "B1", "B2")} == mf.irrep_nelec


def test_smearing_occupies_fractionally():
    mf = scf.RHF(gto.M(atom="Be 0 0 0; Be 0 0 2.4", basis="def2-svp", verbose=0)).smearing(sigma=0.1)
    dm = occupy(ScfCopy(mf), core_fock(mf)).dm
    assert np.trace(np.asarray(dm) @ mf.get_ovlp()) == pytest.approx(8, abs=1e-6)
    assert np.any((dm.mo_occ > 0.01) & (dm.mo_occ < 1.99))


def test_degenerate_frontier_is_shared_without_tags():
    # Two of three p orbitals of carbon: a closed shell cannot choose between them.
    mf = scf.RHF(gto.M(atom="C", basis="def2-svp", verbose=0))
    occupied = occupy(ScfCopy(mf), core_fock(mf))
    assert occupied.gap < 1e-6 and "fractional" in occupied.notes[0]
    assert not isinstance(occupied.dm, NPArrayWithTag)
    assert np.trace(occupied.dm @ mf.get_ovlp()) == pytest.approx(6, abs=1e-10)
    p_block = np.diag(occupied.dm @ mf.get_ovlp())
    assert p_block[3:6] == pytest.approx(np.full(3, p_block[3]), abs=1e-6)


def test_spreading_keeps_the_count_of_each_spin():
    energies = np.array([[-1.0, -0.5, -0.5, 0.3], [-1.0, -0.6, -0.2, 0.3]])
    occupations = np.array([[1, 1, 0, 0], [1, 1, 0, 0]])
    spread = spread_over_degenerate(energies, occupations)
    assert spread[0] == pytest.approx([1, 0.5, 0.5, 0]) and spread[1] == pytest.approx([1, 1, 0, 0])


@pytest.mark.parametrize("breaksym", [0, 1])
def test_breaking_spin_symmetry_is_honoured(breaksym):
    mf = scf.UHF(gto.M(atom="H 0 0 0; H 0 0 2.5", basis="def2-svp", verbose=0))
    mf.init_guess_breaksym = breaksym
    alpha, beta = occupy(ScfCopy(mf), core_fock(mf)).dm
    assert np.allclose(alpha, beta) == (not breaksym)
