"""The two-level SCF: the same energy and state in fewer cycles, and otherwise PySCF as users know it."""

import io

import numpy as np
import pytest
from conftest import FORMAMIDE, WATER, broken_symmetry
from pyscf import dft, gto, lib, qmmm, scf

from pyscf_mlguess import two_level, two_level_diis
from pyscf_mlguess.stages import listening
from pyscf_mlguess.two_level_scf import TwoLevelSCF

RADICAL = {"atom": "N 0 0 0; O 0 1.0989 0.4653; O 0 -1.0989 0.4653", "spin": 1}
OXYGEN = {"atom": "O 0 0 0; O 0 0 1.21", "spin": 2}


def molecule(atom=WATER, **kwargs):
    return gto.M(**{"atom": atom, "basis": "def2-svp", "verbose": 0} | kwargs)


def kohn_sham(mol, xc="pbe", cls=dft.KS, **attributes):
    mf = cls(mol, xc=xc)
    mf.grids.level = 1
    for name, value in attributes.items():
        setattr(mf, name, value)
    return mf


def non_local(mf):
    mf.nlcgrids.level = 0
    return mf


def direct(mf):
    """``mf`` with integrals computed in every cycle, as for large molecules."""
    mf._is_mem_enough = lambda: False
    return mf


CASES = {
    "RHF": lambda: direct(scf.RHF(molecule(FORMAMIDE))),
    "UHF": lambda: direct(scf.UHF(molecule(**RADICAL))),
    "ROHF": lambda: direct(scf.ROHF(molecule(**RADICAL))),
    "HF density fitting": lambda: scf.RHF(molecule()).density_fit(),
    "LDA": lambda: kohn_sham(molecule(), "svwn"),
    "GGA": lambda: kohn_sham(molecule(FORMAMIDE)),
    "GGA density fitting": lambda: kohn_sham(molecule()).density_fit(),
    "hybrid": lambda: kohn_sham(molecule(FORMAMIDE), "b3lyp"),
    "hybrid density fitting": lambda: kohn_sham(molecule(), "b3lyp").density_fit(),
    "Coulomb fitted only": lambda: kohn_sham(molecule(), "b3lyp").density_fit(only_dfj=True),
    "meta-GGA": lambda: kohn_sham(molecule(), "r2scan"),
    "meta-hybrid": lambda: kohn_sham(molecule(), "m062x"),
    "range-separated": lambda: kohn_sham(molecule(), "camb3lyp"),
    "screened": lambda: kohn_sham(molecule(), "hse06"),
    "non-local": lambda: non_local(kohn_sham(molecule(), "wb97x-v")),
    "UKS": lambda: kohn_sham(molecule(**RADICAL), "b3lyp", dft.UKS),
    "ROKS": lambda: kohn_sham(molecule(**OXYGEN), "pbe", dft.ROKS),
    "symmetry": lambda: kohn_sham(molecule(symmetry=True)),
    "ROKS symmetry": lambda: kohn_sham(molecule(**OXYGEN, symmetry=True), "b3lyp", dft.ROKS),
    "smearing": lambda: scf.addons.smearing(kohn_sham(molecule(OXYGEN["atom"])), sigma=0.01, method="fermi"),
    "core potential": lambda: kohn_sham(molecule("I 0 0 0; I 0 0 2.67", ecp="def2-svp")),
    "X2C": lambda: kohn_sham(molecule()).x2c(),
    "cartesian": lambda: kohn_sham(molecule(cart=True), "b3lyp"),
    "ghost": lambda: kohn_sham(molecule(WATER + "; ghost-O 0 0 3"), "b3lyp"),
    "solvent": lambda: kohn_sham(molecule(), "b3lyp").ddCOSMO(),
    "QM/MM": lambda: qmmm.mm_charge(kohn_sham(molecule(), "b3lyp"), np.array([[0, 0, 4.0]]), np.array([0.5])),
    "diffuse": lambda: kohn_sham(molecule("C 0 0 0; C 0 0 1.2; H 0 0 -1.06; H 0 0 2.26", basis="aug-cc-pvdz")),
    "anion": lambda: kohn_sham(molecule("O 0 0 0; H 0 0 0.96", basis="6-31+g*", charge=-1), "b3lyp"),
    "stretched": lambda: kohn_sham(molecule("H 0 0 0; H 0 0 2.5"), cls=dft.RKS),
    "transition metal": lambda: kohn_sham(molecule("Cu 0 0 0; Cl 0 0 2.051")),
    "level shift": lambda: kohn_sham(molecule(), level_shift=0.2),
    "damping": lambda: kohn_sham(molecule(), damp=0.3),
}


@pytest.mark.parametrize("conv_tol", [1e-9, 1e-10])
@pytest.mark.parametrize("name", CASES)
def test_same_energy_in_fewer_cycles(name, conv_tol, taking_part):
    """Below PySCF's own threshold with all auxiliary functions, at it with fewer."""
    plain = CASES[name]().run(conv_tol=1e-10)
    mf = two_level(CASES[name]()).run(conv_tol=conv_tol)
    assert plain.converged and mf.converged
    assert mf.e_tot == pytest.approx(plain.e_tot, abs=1e-8)
    assert mf.cycles <= max(3, 0.5 * plain.cycles)
    assert np.abs(np.sort(mf.mo_energy) - np.sort(plain.mo_energy)).max() < 1e-4
    assert mf._anderson is None  # memory given back


def test_a_finer_grid_corrects_the_step_where_the_coarse_one_would_leave_much(monkeypatch):
    """Of wB97X-D, whose gradient after the first build is the coarse grid's, a quarter or less is left."""
    def gradient(share):
        monkeypatch.setattr(two_level_diis, "left_by_grid", lambda mf: share)
        mol = gto.M(atom=FORMAMIDE, basis="def2-svp", verbose=0)
        mf = two_level(dft.RKS(mol, xc="hyb_gga_xc_wb97x_d").density_fit())
        gradients = []
        mf.callback = lambda envs: gradients.append(envs["norm_gorb"])
        mf.kernel()
        return gradients[0], mf.e_tot

    (left, energy), (less, same) = gradient(0.0), gradient(1.0)
    assert less < 0.4 * left and abs(energy - same) < 1e-9


def test_a_broken_symmetry_singlet_keeps_its_state():
    mol = molecule("H 0 0 0; H 0 0 2.5")
    plain = kohn_sham(mol, cls=dft.UKS).run(broken_symmetry(mol))
    mf = two_level(kohn_sham(mol, cls=dft.UKS)).run(broken_symmetry(mol))
    assert mf.spin_square()[0] == pytest.approx(plain.spin_square()[0], abs=1e-4) and mf.spin_square()[0] > 0.5
    assert mf.e_tot == pytest.approx(plain.e_tot, abs=1e-8)


def test_other_methods_build_on_it():
    mf = two_level(direct(scf.RHF(molecule()))).run()
    assert mf.MP2().run().e_corr == pytest.approx(scf.RHF(molecule()).run().MP2().run().e_corr, abs=1e-6)
    unrestricted = two_level(kohn_sham(molecule())).run().to_uks()
    assert isinstance(unrestricted, TwoLevelSCF) and unrestricted.run().cycles <= 2


def test_decorator_and_back():
    plain = kohn_sham(molecule(), "b3lyp")
    mf = two_level(plain)
    assert isinstance(mf, TwoLevelSCF) and isinstance(mf, dft.rks.RKS) and type(mf).__name__ == "TwoLevelRKS"
    assert two_level(mf) is mf
    assert plain is not mf and type(plain) is dft.rks.RKS
    undone = mf.undo_two_level()
    assert type(undone) is dft.rks.RKS and undone.xc == "b3lyp" and undone.diis_start_cycle == plain.diis_start_cycle


def test_it_combines_with_density_fitting_in_both_orders():
    energies = []
    before, after = kohn_sham(molecule(), "b3lyp"), kohn_sham(molecule(), "b3lyp").density_fit()
    for mf in (two_level(before).density_fit(), two_level(after)):
        assert isinstance(mf, TwoLevelSCF)
        mf.run()
        assert mf.cycles <= 3
        energies.append(mf.e_tot)
        assert not isinstance(mf.undo_two_level(), TwoLevelSCF)
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)
    assert energies[0] == pytest.approx(kohn_sham(molecule(), "b3lyp").density_fit().run().e_tot, abs=1e-8)


def test_second_order_scf():
    reference = kohn_sham(molecule()).run()
    newton = two_level(kohn_sham(molecule())).newton().run()
    assert newton.converged and newton.e_tot == pytest.approx(reference.e_tot, abs=1e-8)
    with pytest.raises(TypeError, match="second-order SCF does not use DIIS"):
        two_level(kohn_sham(molecule()).newton())


def test_what_is_not_served_is_named():
    with pytest.raises(TypeError, match="GHF is not supported"):
        two_level(scf.GHF(molecule()))
    converted = two_level(kohn_sham(molecule())).to_gks()
    converted.verbose, converted.stdout = 2, io.StringIO()
    assert converted.run().converged
    assert "GKS is not supported" in converted.stdout.getvalue()


def test_hartree_fock_in_memory_is_left_alone():
    plain = scf.RHF(molecule()).run()
    mf = two_level(scf.RHF(molecule()))
    mf.verbose, mf.stdout = 3, io.StringIO()
    mf.run()
    assert "stays out of the way: it would take some" in mf.stdout.getvalue()
    assert mf.cycles == plain.cycles and mf.e_tot == pytest.approx(plain.e_tot, abs=1e-12)


def test_what_does_not_fit_into_memory_is_said_once(taking_part):
    plain = direct(scf.RHF(molecule())).run()
    mf = two_level(direct(scf.RHF(molecule())))
    mf.verbose, mf.stdout, mf.max_memory = 2, io.StringIO(), 1
    mf.run()
    assert mf.stdout.getvalue().count("exact exchange needs") == 1
    assert mf.cycles == plain.cycles and mf.e_tot == pytest.approx(plain.e_tot, abs=1e-10)


def test_max_cycle_is_pyscf_s():
    plain, mf = kohn_sham(molecule(FORMAMIDE)).run(), two_level(kohn_sham(molecule(FORMAMIDE)))
    mf.conv_tol = 1e-14
    mf.run(max_cycle=1)
    assert not mf.converged and mf.cycles == 1 and mf._anderson is None
    mf.run(max_cycle=50, conv_tol=1e-9)  # goes on from its orbitals
    assert mf.converged and mf.e_tot == pytest.approx(plain.e_tot, abs=1e-8)
    energy = two_level(kohn_sham(molecule(FORMAMIDE))).run(max_cycle=0).e_tot
    assert energy > plain.e_tot


def test_interruption_leaves_a_usable_object():
    def interrupt(envs):
        raise KeyboardInterrupt

    mf = two_level(kohn_sham(molecule()))
    mf.callback = interrupt
    with pytest.raises(KeyboardInterrupt):
        mf.kernel()
    assert mf._anderson is None and not mf._running
    mf.callback = None
    assert mf.run().converged


def test_work_is_bounded_where_mixing_fails():
    """C2 in PBE has filled orbitals above empty ones, which mixing cannot find."""
    mf = two_level(kohn_sham(molecule("C 0 0 0; C 0 0 1.2425")))
    mf.max_cycle = 20
    with listening() as times:
        mf.run()
    assert mf.converged and mf.cycles <= 4
    # Twice the refinement's limit, and that of a few minimisations; which it is hangs on rounding.
    assert times.counts["cheap_iterations"] < 2 * 20 + 4 * 10


def test_a_diis_object_of_the_user_takes_precedence():
    mf = two_level(kohn_sham(molecule()))
    mf.diis, mf.verbose, mf.stdout = scf.ADIIS(mf), 3, io.StringIO()
    with listening() as times:
        assert mf.run().converged
    assert times.counts["cheap_iterations"] == 0
    assert "set mf.diis = True" in mf.stdout.getvalue()


def test_gradients_and_excitations_are_those_of_the_plain_object():
    plain = kohn_sham(molecule()).run(conv_tol=1e-11)
    mf = two_level(kohn_sham(molecule())).run(conv_tol=1e-11)
    excitations = [m.TDA().run(nstates=2).e for m in (mf, plain)]
    assert np.abs(excitations[0] - excitations[1]).max() < 1e-6
    assert np.abs(mf.nuc_grad_method().kernel() - plain.nuc_grad_method().kernel()).max() < 1e-6
    moved = molecule("O 0 0 0; H 0 0.80 0.59; H 0 -0.76 0.59")
    (_, gradient), (_, expected) = (m.nuc_grad_method().as_scanner()(moved) for m in (mf, plain))
    assert np.abs(gradient - expected).max() < 1e-6


def test_the_configuration_of_the_process_stays():
    threads, start = lib.num_threads(), scf.hf.SCF.diis_start_cycle
    two_level(kohn_sham(molecule())).run()
    assert lib.num_threads() == threads and scf.hf.SCF.diis_start_cycle == start
