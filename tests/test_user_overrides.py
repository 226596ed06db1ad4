"""What users put in the place of an SCF object's methods: a guess never ends their SCF, and does not change its end."""

import numpy as np
import pytest
from conftest import WATER, hubbard
from pyscf import dft, gto, lib, scf

import pyscf_mlguess
from pyscf_mlguess import accelerated


@pytest.fixture
def water():
    return gto.M(atom=WATER, basis="6-31g", verbose=0)


def kohn_sham(mol):
    mf = dft.RKS(mol, xc="pbe")
    mf.grids.level = 0
    return mf


def core_of_two_spins(mol):
    mf = scf.UHF(mol)
    core = mf.get_hcore()
    mf.get_hcore = lambda *_: (core, core)
    return mf


@pytest.mark.parametrize("key", ["ml", "minao+refine"])
def test_a_core_hamiltonian_for_each_spin_is_refused(key, water):
    mf = core_of_two_spins(water)
    with pytest.warns(pyscf_mlguess.GuessRefused, match=r"core Hamiltonian has the shape \(2, 13, 13\)") as record:
        mf.set(init_guess=key).kernel()
    assert len([w for w in record if issubclass(w.category, pyscf_mlguess.GuessRefused)]) == 1
    assert mf.e_tot == pytest.approx(core_of_two_spins(water).run().e_tot, abs=1e-8)


def untagged(mf):
    original = mf.get_veff
    mf.get_veff = lambda mol=None, dm=None, *_, **__: np.asarray(original(mol, dm))
    return mf


def with_potential(mf):
    """As constraints are done: something is added to the effective potential."""
    original, z = mf.get_veff, 0.1 * mf.mol.intor("int1e_r")[2]

    def get_veff(mol=None, dm=None, *_, **__):
        vhf = original(mol, dm)
        return lib.tag_array(np.asarray(vhf) + z, ecoul=vhf.ecoul, exc=vhf.exc)

    mf.get_veff = get_veff
    return mf


def test_an_energy_of_which_the_fock_matrix_is_not_the_derivative(water, taking_part):
    """Its error is of first order: what is left of the gradient at the end of two builds was 9e-7 Eh."""
    exact = with_potential(kohn_sham(water)).run(conv_tol=1e-12).e_tot
    mf = pyscf_mlguess.two_level(with_potential(kohn_sham(water))).run()
    assert mf.converged and abs(mf.e_tot - exact) < mf.energy_error < mf.conv_tol


def electrons(mol, number):
    mol = mol.copy()
    mol.nelectron = number
    return scf.RHF(mol)


OVERRIDES = {
    "two spins": core_of_two_spins,
    "get_hcore without arguments": lambda mol: (lambda mf, h: mf.set(get_hcore=lambda mol=None: h))(
        kohn_sham(mol), scf.hf.get_hcore(mol)),
    "get_ovlp": lambda mol: (lambda mf, s: mf.set(get_ovlp=lambda *_: s))(kohn_sham(mol), mol.intor("int1e_ovlp")),
    "get_veff untagged": lambda mol: untagged(scf.RHF(mol)),
    "get_veff with a potential": lambda mol: with_potential(kohn_sham(mol)),
    "energy_nuc": lambda mol: kohn_sham(mol).set(energy_nuc=lambda *_: 0.0),
    "energy_tot": lambda mol: (lambda mf, old: mf.set(energy_tot=lambda *a, **k: old(*a, **k) + 1))(
        *(lambda mf: (mf, mf.energy_tot))(kohn_sham(mol))),
    "get_occ": lambda mol: scf.addons.frac_occ(kohn_sham(mol)),
    "eig": lambda mol: (lambda mf, old: mf.set(eig=lambda h, s, *_, **__: old(h, s)))(
        *(lambda mf: (mf, mf.eig))(kohn_sham(mol))),
    "two electrons fewer": lambda mol: electrons(mol, 8),
    "two electrons more": lambda mol: electrons(mol, 12),
    "Hubbard model": lambda mol: hubbard(),
}


@pytest.mark.parametrize("how", ["ml", "accelerated", "two-level"])
@pytest.mark.parametrize("name", OVERRIDES)
@pytest.mark.filterwarnings("ignore::pyscf_mlguess.refusal.GuessRefused", "error::pyscf_mlguess.refusal.GuessFailed")
def test_overridden_methods_lead_to_the_same_end(name, how, water, request):
    if name != "Hubbard model":
        request.getfixturevalue("taking_part")
    plain, mf = OVERRIDES[name](water).run(), OVERRIDES[name](water)
    if how == "ml":
        mf.set(init_guess="ml").run()
    elif how == "two-level":
        mf = pyscf_mlguess.two_level(mf).run()
    else:
        with accelerated():
            mf.run()
    assert plain.converged and mf.converged and mf.e_tot == pytest.approx(plain.e_tot, abs=1e-7)
