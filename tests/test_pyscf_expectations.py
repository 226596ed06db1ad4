"""What is behind those of PySCF's own tests that depend on the start: what must hold whatever an SCF starts from."""

import numpy as np
import pytest
from conftest import WATER
from pyscf import gto, scf
from pyscf.scf import hf

from pyscf_mlguess import accelerated


@pytest.fixture(params=["plain", "ml is the default", "two-level"])
def way(request, monkeypatch):
    """Runs the block of a test in each of the ways, where Hartree-Fock in memory takes part, too."""
    if request.param == "two-level":
        request.getfixturevalue("taking_part")
        with accelerated():
            yield request.param
        return
    if request.param == "ml is the default":
        monkeypatch.setattr(hf.SCF, "init_guess", "ml")
    yield request.param


@pytest.fixture
def water():
    return gto.M(atom=WATER, basis="6-31g", verbose=0)


@pytest.fixture
def nitrogen():
    return gto.M(atom="N 0 0 0; N 0 0 1", symmetry=True, basis="6-31g", verbose=0)


def test_properties_of_a_converged_object(way, nitrogen, water):
    mf = scf.RHF(water).run(conv_tol=1e-11)
    (_, charges), dipole = mf.analyze(verbose=0)
    assert np.linalg.norm(dipole) == pytest.approx(2.6347902, abs=1e-6)
    assert charges == pytest.approx([-2 * charges[1], charges[1], charges[1]], abs=1e-6)
    mf = scf.RHF(nitrogen).run(conv_tol=1e-11)
    assert np.linalg.norm(mf.analyze(verbose=0)[1]) == pytest.approx(0, abs=1e-6)
    assert mf.view(scf.hf_symm.ROHF).analyze(verbose=0) is not None


def test_the_user_s_check_of_convergence_decides(way, nitrogen):
    seen, mf = [], scf.RHF(nitrogen)

    def check(envs):
        seen.append(envs["norm_gorb"])
        return envs["norm_gorb"] < 0.1

    mf.check_convergence = check
    mf.kernel()
    # Asked after every cycle, and once more after PySCF's extra one at the end, which a two-level SCF leaves out.
    assert mf.converged and seen[mf.cycles - 1] < 0.1 and all(norm >= 0.1 for norm in seen[:mf.cycles - 1])
    assert len(seen) == mf.cycles + (way != "two-level")


@pytest.mark.parametrize("kind", ["class", "object"])
def test_a_diis_of_the_user_does_what_it_does(kind, way, water):
    dm, energies = hf.init_guess_by_minao(water), []
    for cycles in (1, 3):
        mf = scf.RHF(water).set(max_cycle=cycles)
        if kind == "class":
            mf.DIIS = scf.ADIIS
        else:
            mf.diis = scf.ADIIS(mf)
        energies.append(mf.kernel(dm))
    assert not mf.converged
    assert energies == pytest.approx([-75.945522741, -75.980679307], abs=1e-8)


def test_a_half_filled_pair_with_smearing(way):
    """The fractional state, or one below it."""
    mol = gto.M(atom="N 0 0 -0.7; N 0 0 0.7", charge=1, spin=1, basis="6-31g", verbose=0)
    halves = scf.addons.frac_occ(scf.RHF(mol)).run()
    mf = scf.RHF(mol).smearing(sigma=1e-3, method="fermi").run()
    assert halves.mo_occ[5:7] == pytest.approx([1.5, 1.5], abs=1e-8)
    assert mf.converged and mf.mo_occ.sum() == pytest.approx(mol.nelectron, abs=1e-8)
    assert mf.e_tot < halves.e_tot + 1e-6 and mf.e_free <= mf.e_tot and mf.entropy >= 0


def test_a_core_hamiltonian_of_two_spins(way, nitrogen):
    core = hf.get_hcore(nitrogen)
    mf = scf.UHF(nitrogen)
    mf.get_hcore = lambda *_: (core, core)
    assert mf.kernel() == pytest.approx(scf.UHF(nitrogen).run().e_tot, abs=1e-8)
    one = scf.uhf.HF1e(nitrogen)
    one.get_hcore = lambda *_: (core, core)
    assert one.kernel() == pytest.approx(np.linalg.eigvals(
        np.linalg.solve(hf.get_ovlp(nitrogen), core)).real.min() + nitrogen.energy_nuc(), abs=1e-8)
