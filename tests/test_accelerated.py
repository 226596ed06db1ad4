"""``with accelerated():`` every SCF inside is two-level, wherever it is run, and PySCF is as it was afterwards."""

import io
import threading
import warnings

import benchmark_runs
import numpy as np
import pytest
from conftest import WATER, hubbard
from pyscf import dft, gto, mcscf, scf
from pyscf.pbc import gto as pbc_gto
from pyscf.pbc import scf as pbc_scf
from pyscf.scf import dhf, hf
from pyscf.soscf import newton_ah

import pyscf_mlguess
from pyscf_mlguess import accelerated, accelerated_scf
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.stages import listening


@pytest.fixture
def water():
    return gto.M(atom=WATER, basis="6-31g", verbose=0)


def kohn_sham(mol, xc="pbe", cls=dft.KS):
    mf = cls(mol, xc=xc)
    mf.grids.level = 0
    return mf


def logging_to_string(mf):
    mf.verbose, mf.stdout = 3, io.StringIO()
    return mf


def drivers():
    return [vars(cls)[name] for cls, name in ((hf.SCF, "scf"), (dhf.DHF, "scf"), (newton_ah._CIAH_SOSCF, "kernel"))]


@pytest.fixture(autouse=True)
def pyscf_is_as_it_was():
    before = drivers()
    yield
    assert drivers() == before and accelerated_scf._open == 0


class TestObjects:
    def test_results_and_class_are_those_of_the_plain_object(self, water):
        plain, mf = kohn_sham(water).run(), kohn_sham(water)
        with accelerated():
            mf.run()
        assert type(mf) is type(plain) and vars(mf).keys() == vars(plain).keys()
        assert mf.converged and mf.cycles < plain.cycles
        assert mf.e_tot == pytest.approx(plain.e_tot, abs=1e-8)
        assert mf.mo_energy == pytest.approx(plain.mo_energy, abs=1e-5)
        assert mf.scf_summary.keys() == plain.scf_summary.keys()
        assert np.array_equal(mf.mo_occ, plain.mo_occ) and mf.chkfile is not None

    def test_smearing_leaves_what_it_leaves(self, water):
        plain, mf = (kohn_sham(water).smearing(sigma=0.01) for _ in range(2))
        plain.run()
        with accelerated():
            mf.run()
        assert vars(mf).keys() == vars(plain).keys() and mf.cycles < plain.cycles
        for name in ("entropy", "e_free", "e_zero"):
            assert getattr(mf, name) == pytest.approx(getattr(plain, name), abs=1e-7)

    def test_what_the_user_put_into_the_object_is_called_with_it(self, water):
        seen, mf = [], kohn_sham(water)
        mf.callback = lambda envs: seen.append(envs["mf"])
        with accelerated():
            mf.run()
        assert seen == [mf] and type(mf) is dft.rks.RKS

    def test_it_is_what_it_was_after_an_exception(self, water):
        def interrupt(envs):
            raise KeyboardInterrupt

        mf = kohn_sham(water)
        names, mf.callback = set(vars(mf)), interrupt
        with pytest.raises(KeyboardInterrupt), accelerated():
            mf.run()
        assert type(mf) is dft.rks.RKS and not {"_running", "_anderson", "_descent"} & set(vars(mf))
        mf.callback = None
        assert mf.run().converged and names <= set(vars(mf))

    @pytest.mark.filterwarnings("ignore::pyscf_mlguess.refusal.GuessFailed")
    def test_an_error_of_ours_leaves_plain_pyscf(self, water, monkeypatch):
        monkeypatch.setattr(accelerated_scf, "two_level", None)
        plain, mf = kohn_sham(water).run(), kohn_sham(water)
        with accelerated():
            mf.run()
        assert mf.cycles == plain.cycles and mf.e_tot == pytest.approx(plain.e_tot, abs=1e-11)

    def test_two_level_objects_stay_so(self, water):
        mf = pyscf_mlguess.two_level(kohn_sham(water))
        with accelerated():
            mf.run()
        assert type(mf).__name__ == "TwoLevelRKS" and mf.energy_error < 1e-9


class TestWhoRunsIt:
    """Objects that other modules make and run."""

    def test_a_scanner(self, water):
        moved = water.set_geom_(1.01 * water.atom_coords(), unit="Bohr", inplace=False)
        with accelerated(), listening() as times:
            scanner = kohn_sham(water).as_scanner()
            scanner(water)
            energy, cycles = scanner(moved), scanner.cycles
        assert times.counts["cheap_iterations"] and cycles <= 2
        assert energy == pytest.approx(kohn_sham(moved).run().e_tot, abs=1e-8)

    def test_a_geometry_optimisation(self, water):
        pytest.importorskip("geometric")
        with accelerated(), listening() as times:
            optimizer = kohn_sham(water).Gradients().optimizer(solver="geomeTRIC")
            optimizer.max_cycle = 2
            assert optimizer.kernel().natm == 3
        assert times.counts["cheap_iterations"] > 10

    def test_methods_on_top(self, water, taking_part):
        with accelerated():
            energies = [mf.CCSD().run().e_tot for mf in [scf.RHF(water).run()]]
            energies.append(mcscf.CASSCF(scf.RHF(water).run(), 4, 4).run().e_tot)
        plain = scf.RHF(water).run()
        assert energies == pytest.approx([plain.CCSD().run().e_tot, mcscf.CASSCF(plain, 4, 4).run().e_tot], abs=1e-6)

    def test_threads(self, water):
        radical = gto.M(atom=WATER, charge=1, spin=1, basis="6-31g", verbose=0)
        cases = [lambda: kohn_sham(water), lambda: kohn_sham(radical), lambda: kohn_sham(water, "b3lyp")]
        energies = [make().run().e_tot for make in cases]
        runs = [make() for make in cases]
        with accelerated(), listening():
            threads = [threading.Thread(target=mf.kernel) for mf in runs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert [mf.e_tot for mf in runs] == pytest.approx(energies, abs=1e-8)
        assert all(mf.cycles <= 3 for mf in runs)


class TestBlocks:
    def test_nested(self, water):
        before = drivers()
        with accelerated():
            with accelerated():
                pass
            assert drivers() != before
            assert kohn_sham(water).run().cycles <= 2
        assert drivers() == before and kohn_sham(water).run().cycles > 4

    def test_in_threads_that_overlap(self):
        before, inside, done = drivers(), threading.Barrier(2), threading.Event()

        def stay():
            with accelerated():
                inside.wait()
                done.wait()

        other = threading.Thread(target=stay)
        with accelerated():
            other.start()
            inside.wait()
        assert drivers() != before
        done.set()
        other.join()
        assert drivers() == before

    def test_references_are_left_as_they_are(self, water):
        plain = kohn_sham(water).run()
        with accelerated():
            with accelerated_scf.as_they_are():
                assert kohn_sham(water).run().cycles == plain.cycles
            assert kohn_sham(water).run().cycles < plain.cycles

    def test_the_benchmark_s_baseline_is_plain_pyscf(self):
        protocol = Protocol(xc="pbe", basis="sto-3g")
        row, _ = benchmark_runs.run(benchmark_runs.WATER, "minao", protocol)
        with accelerated():
            again, _ = benchmark_runs.run(benchmark_runs.WATER, "minao", protocol)
        assert again["scf_builds"] == row["scf_builds"] > 5 and again["cheap_iterations"] == 0

    def test_switching_off_too_often_does_nothing(self):
        accelerated_scf.switch_off()
        with accelerated():
            assert accelerated_scf._open == 1


def own_driver(mol):
    class Counting(dft.rks.RKS):
        runs = 0

        def scf(self, *args, **kwargs):
            self.runs += 1
            return super().scf(*args, **kwargs)

    return Counting(mol, xc="lda")


def cell(mol):
    return pbc_scf.RHF(pbc_gto.M(atom="H 0 0 0; H 0 0 0.8", a=np.eye(3) * 4, basis="gth-szv", pseudo="gth-pade",
                                 verbose=0))


LEFT_ALONE = {
    "GHF": (scf.GHF, "GHF is not supported"),
    "DHF": (lambda mol: scf.DHF(gto.M(atom="He", basis="6-31g", verbose=0)), "DHF is not supported"),
    "newton": (lambda mol: kohn_sham(mol).newton(), "second-order"),
    "cell": (cell, "not supported"),
    "EDIIS": (lambda mol: kohn_sham(mol).set(DIIS=scf.ADIIS), "DIIS settings of its own"),
    "DIIS object": (lambda mol: (lambda mf: mf.set(diis=scf.CDIIS(mf)))(kohn_sham(mol)), "DIIS settings of its own"),
    "frac_occ": (lambda mol: scf.addons.frac_occ(kohn_sham(mol)), "get_occ of its own"),
    "own driver": (own_driver, "Counting has an scf of its own"),
    "Hubbard model": (lambda mol: hubbard(), "no atoms"),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_is_not_served_is_plain_pyscf_with_one_line(name, water):
    make, reason = LEFT_ALONE[name]
    plain, mf = make(water).run(), logging_to_string(make(water))
    with accelerated(), warnings.catch_warnings():
        warnings.simplefilter("error", pyscf_mlguess.GuessRefused)
        mf.run()
    assert mf.e_tot == pytest.approx(plain.e_tot, abs=1e-11) and mf.cycles == plain.cycles
    assert getattr(mf, "runs", 1) == 1
    lines = [line for line in mf.stdout.getvalue().splitlines() if "two-level" in line]
    assert len(lines) == 1 and lines[0].startswith("two-level SCF: plain PySCF runs, ") and reason in lines[0]


def test_the_energy_of_a_guess_is_that_of_the_guess(water):
    """Without cycles."""
    energy = kohn_sham(water).run(max_cycle=0).e_tot
    with accelerated():
        assert kohn_sham(water).run(max_cycle=0).e_tot == pytest.approx(energy, abs=1e-11)


def test_guesses_from_atoms_are_pyscfs(water):
    """Without a line for each of the atoms."""
    plain, mf = logging_to_string(scf.RHF(water)), logging_to_string(scf.RHF(water))
    water.verbose, water.stdout = 3, mf.stdout
    dm = plain.get_init_guess(key="atom")
    with accelerated():
        np.testing.assert_allclose(mf.get_init_guess(key="atom"), dm, rtol=0, atol=1e-12)
    assert "plain PySCF" not in mf.stdout.getvalue()
