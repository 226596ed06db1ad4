"""When a two-level SCF stops, what it leaves behind then, and starts that are handed over."""

import io

import numpy as np
import pytest
from conftest import FORMAMIDE, WATER
from pyscf import dft, gto, lib, scf

from pyscf_mlguess import two_level
from pyscf_mlguess.convergence import energy_error_of_potential

pytestmark = pytest.mark.usefixtures("taking_part")

RADICAL = {"atom": "N 0 0 0; O 0 1.0989 0.4653; O 0 -1.0989 0.4653", "spin": 1}
OXYGEN = {"atom": "O 0 0 0; O 0 0 1.21", "spin": 2}


def molecule(atom=WATER, **kwargs):
    return gto.M(**{"atom": atom, "basis": "def2-svp", "verbose": 0} | kwargs)


def kohn_sham(mol, xc="pbe", cls=dft.KS):
    mf = cls(mol, xc=xc).density_fit()
    mf.grids.level = 1
    return mf


CASES = {
    "RKS": lambda: kohn_sham(molecule(FORMAMIDE)),
    "hybrid": lambda: kohn_sham(molecule(FORMAMIDE), "b3lyp"),
    "RHF": lambda: scf.RHF(molecule(FORMAMIDE)).density_fit(),
    "UKS": lambda: kohn_sham(molecule(**RADICAL), "b3lyp", dft.UKS),
    "ROKS": lambda: kohn_sham(molecule(**RADICAL), "b3lyp", dft.ROKS),
    "ROHF": lambda: scf.ROHF(molecule(**RADICAL)).density_fit(),
    "symmetry": lambda: kohn_sham(molecule(symmetry=True)),
    "UKS symmetry": lambda: kohn_sham(molecule(**OXYGEN, symmetry=True), "pbe", dft.UKS),
    "ROKS symmetry": lambda: kohn_sham(molecule(**OXYGEN, symmetry=True), "b3lyp", dft.ROKS),
    "smearing": lambda: scf.addons.smearing(kohn_sham(molecule(OXYGEN["atom"])), sigma=0.01, method="fermi"),
    "metal": lambda: kohn_sham(molecule("Cu 0 0 0; Cl 0 0 2.051")),
}


def counted(mf):
    """``mf`` and the list that grows by one with every Fock build of its class, scanners and copies included."""
    built, original = [], type(mf).get_veff

    def get_veff(self, *args, **kwargs):
        built.append(1)
        return original(self, *args, **kwargs)

    mf.__class__ = type(type(mf).__name__, (type(mf),), {"get_veff": get_veff})
    return mf, built


@pytest.mark.parametrize("name", CASES)
def test_the_error_is_below_its_estimate_and_orbitals_are_canonical(name):
    exact = CASES[name]().run(conv_tol=1e-12, conv_tol_grad=1e-7, max_cycle=100)
    mf, built = counted(two_level(CASES[name]()))
    mf.run(conv_tol=1e-9)
    assert mf.converged and len(built) == mf.cycles + 1 <= 3
    # 1e-11: rounding of both.
    assert abs(mf.e_tot - exact.e_tot) < mf.energy_error + 1e-11 < 1e-9
    fock = mf.get_fock(dm=mf.make_rdm1())
    spins = zip([fock], [mf.mo_coeff], [mf.mo_energy]) if fock.ndim == 2 else zip(fock, mf.mo_coeff, mf.mo_energy)
    for matrix, orbitals, energies in spins:
        in_orbitals = orbitals.T @ matrix @ orbitals
        # Not between occupied and empty ones: that is the gradient.
        # With the full symmetry of a linear molecule PySCF makes pairs degenerate that the grid has split.
        assert np.abs(np.diag(in_orbitals) - energies).max() < (1e-4 if mf.mol.groupname == "Dooh" else 1e-8)
        assert np.abs(in_orbitals - np.diag(energies)).max() < 1e-4
    assert np.abs(np.sort(np.ravel(mf.mo_energy)) - np.sort(np.ravel(exact.mo_energy))).max() < 2e-5
    assert mf.scf_summary.keys() == exact.scf_summary.keys()
    assert mf.scf_summary["e1"] == pytest.approx(exact.scf_summary["e1"], abs=1e-3)
    stored = lib.chkfile.load(mf.chkfile, "scf")
    assert stored["e_tot"] == mf.e_tot and np.array_equal(stored["mo_occ"], mf.mo_occ)
    from_file, own = (scf.hf.make_rdm1(c, o) if np.ndim(o) == 1 else scf.uhf.make_rdm1(c, o)
                      for c, o in ((stored["mo_coeff"], stored["mo_occ"]), (mf.mo_coeff, mf.mo_occ)))
    assert np.abs(np.asarray(from_file) - own).max() < 1e-10


def test_tags_of_orbitals_are_those_of_pyscf():
    for name in ("symmetry", "ROKS symmetry"):
        plain, mf = CASES[name]().run(), two_level(CASES[name]()).run()
        assert np.array_equal(mf.mo_coeff.orbsym, plain.mo_coeff.orbsym)
    plain, mf = CASES["ROKS"]().run(), two_level(CASES["ROKS"]()).run()
    for spin in ("mo_ea", "mo_eb"):
        assert np.abs(getattr(mf.mo_energy, spin) - getattr(plain.mo_energy, spin)).max() < 2e-5


@pytest.mark.parametrize("when", ["before", "afterwards"])
def test_conv_check_set_by_hand_is_one_build_more(when):
    mf = kohn_sham(molecule())
    if when == "before":
        mf.conv_check = True
    mf, built = counted(two_level(mf))
    mf.conv_check = True
    mf.run()
    assert mf.converged and mf.conv_check and len(built) == mf.cycles + 2
    assert mf.e_tot == pytest.approx(kohn_sham(molecule()).run().e_tot, abs=1e-9)


@pytest.mark.parametrize("when", ["before", "afterwards"])
def test_check_convergence_of_the_user_decides(when):
    asked = []

    def third_cycle(envs):
        asked.append(envs["cycle"])
        return envs["cycle"] >= 2

    mf = kohn_sham(molecule())
    if when == "before":
        mf.check_convergence = third_cycle
    mf = two_level(mf)
    mf.check_convergence = third_cycle
    mf.run()
    assert asked == [0, 1, 2] and mf.cycles == 3 and mf.check_convergence is third_cycle


def test_tolerances_are_the_user_s():
    loose, tight = two_level(kohn_sham(molecule(FORMAMIDE))), two_level(kohn_sham(molecule(FORMAMIDE)))
    loose.run(conv_tol=1e-6)
    tight.run(conv_tol=1e-12, conv_tol_grad=1e-8)
    assert loose.cycles == 1 < tight.cycles and tight.energy_error < 1e-12
    assert np.linalg.norm(tight.get_grad(tight.mo_coeff, tight.mo_occ)) < 1e-8
    assert abs(loose.e_tot - tight.e_tot) < loose.energy_error + 1e-12


@pytest.mark.parametrize("xc", ["pbe", "b3lyp"])
@pytest.mark.parametrize("gradients", [False, True], ids=["energies", "gradients"])
def test_a_step_of_a_trajectory_is_two_builds(xc, gradients):
    mol = molecule(FORMAMIDE)
    shift = np.random.default_rng(0).normal(size=(mol.natm, 3))
    shift *= 0.02 / np.linalg.norm(shift, axis=1)[:, None]
    mf, built = counted(two_level(kohn_sham(mol, xc)))
    scan = mf.nuc_grad_method().as_scanner() if gradients else mf.as_scanner()
    for step in range(3):
        built.clear()
        moved = mol.set_geom_(mol.atom_coords() + step * shift, unit="Bohr", inplace=False)
        result = scan(moved)
        assert len(built) == 2
    expected = kohn_sham(moved, xc).run()
    assert (result[0] if gradients else result) == pytest.approx(expected.e_tot, abs=1e-9)
    if gradients:
        assert np.abs(result[1] - expected.nuc_grad_method().kernel()).max() < 2e-5


@pytest.mark.parametrize("name", ["RKS", "hybrid", "RHF", "UKS", "ROKS", "smearing", "ROKS symmetry"])
@pytest.mark.parametrize("how", ["dm0", "chkfile", "again"])
def test_what_is_converged_already_costs_two_builds(name, how):
    converged = CASES[name]().run(conv_tol=1e-10)
    mf, built = counted(two_level(CASES[name]()))
    if how == "again":
        mf.run()
        built.clear()
    if how == "chkfile":
        mf.set(chkfile=converged.chkfile, init_guess="chkfile")
    mf.kernel(converged.make_rdm1() if how == "dm0" else None)
    assert mf.converged and len(built) <= 2
    assert mf.e_tot == pytest.approx(converged.e_tot, abs=1e-9)


def test_the_log_says_how_right_the_energy_is():
    mf = two_level(kohn_sham(molecule()))
    mf.verbose, mf.stdout = 4, io.StringIO()
    mf.run()
    assert f"the energy is right to {mf.energy_error:.1e} Eh" in mf.stdout.getvalue()


@pytest.mark.parametrize("cls", [scf.RHF, scf.UHF, scf.ROHF])
def test_error_of_a_potential_without_an_energy(cls, water):
    mf = cls(water)
    both = [mf.get_init_guess(key=key) for key in ("minao", "1e")]
    potentials, hcore = [mf.get_veff(water, dm) for dm in both], mf.get_hcore()
    change = mf.energy_tot(both[1]) - mf.energy_tot(both[0])

    def error(added, left=0.1):
        pairs = ((dm, potential + added) for dm, potential in zip(both, potentials))
        return energy_error_of_potential(hcore, *pairs, change, left)

    # Hartree-Fock's energy is quadratic in the density matrix.
    assert error(0.0) < 1e-9 < abs(change)
    added = 0.1 * water.intor("int1e_r")[2]
    left_out = abs(np.vdot(added, (both[1] - both[0]).reshape(-1, *added.shape).sum(axis=0)))
    assert error(added) == pytest.approx(0.5 * left_out, rel=1e-6) and left_out > 1e-3
    assert error(added, 0.01) == pytest.approx(0.1 * error(added))


def test_from_a_converged_density_matrix_the_estimate_is_no_larger(water):
    """Gradients there are rounding, and so is the share of one that the other is."""
    exact = kohn_sham(water).run(conv_tol=1e-13)
    mf = two_level(kohn_sham(water))
    mf.kernel(dm0=exact.make_rdm1())
    assert mf.converged and mf.cycles == 1
    assert abs(mf.e_tot - exact.e_tot) < 1e-10 and mf.energy_error < 1e-10
