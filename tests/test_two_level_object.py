"""A two-level SCF as an object: the user's own DIIS, copies, pickles, conversions, what it keeps and what it says."""

import copy
import io
import pickle
import sys
import types

import numpy as np
import pytest
from conftest import FORMAMIDE, WATER
from pyscf import dft, gto, scf

from pyscf_mlguess import GuessRefused, two_level
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.density_fitting.integrals import ThreeCentreIntegrals
from pyscf_mlguess.routes import auxiliary_density
from pyscf_mlguess.stages import listening
from pyscf_mlguess.two_level_diis import TwoLevelDIIS
from pyscf_mlguess.two_level_scf import TwoLevelSCF, cheap_scf


@pytest.fixture
def water():
    return gto.M(atom=WATER, basis="def2-svp", verbose=0)


def kohn_sham(mol, xc="pbe"):
    mf = dft.RKS(mol, xc=xc)
    mf.grids.level = 0
    return mf


def logging_to_string(mf, verbose=2):
    mf.verbose, mf.stdout = verbose, io.StringIO()
    return mf


class TestDIIS:
    """A DIIS class of the user takes the place of the scheme."""

    @pytest.mark.parametrize("cls", [scf.ADIIS, scf.EDIIS])
    @pytest.mark.parametrize("when", ["before", "afterwards"])
    def test_it_is_used_and_said(self, cls, when, water):
        plain = kohn_sham(water)
        plain.DIIS = cls
        plain.run(max_cycle=12)
        mf = logging_to_string(kohn_sham(water))
        if when == "before":
            mf.DIIS = cls
        mf = two_level(mf)
        if when == "afterwards":
            mf.DIIS = cls
        with listening() as times:
            mf.run(max_cycle=12)
        assert times.counts["cheap_iterations"] == 0
        assert mf.stdout.getvalue().count("two-level SCF") == 1
        assert f"two-level SCF: not in use, DIIS = {cls.__name__} takes its place" in mf.stdout.getvalue()
        # EDIIS has not converged by then; threads round differently, and it carries that on.
        assert mf.cycles == plain.cycles and mf.e_tot == pytest.approx(plain.e_tot, abs=1e-7)

    def test_it_is_readable_and_comes_back(self, water):
        mf = two_level(kohn_sham(water))
        assert mf.DIIS is TwoLevelDIIS
        mf.DIIS = scf.ADIIS
        assert mf.DIIS is scf.ADIIS and two_level(mf).undo_two_level().DIIS is scf.ADIIS
        del mf.DIIS
        assert mf.DIIS is TwoLevelDIIS
        assert mf.run().cycles <= 3
        assert mf.undo_two_level().DIIS is scf.hf.SCF.DIIS

    def test_its_settings_are_the_user_s(self, water):
        mf = kohn_sham(water).set(diis_space=3, diis_start_cycle=2)
        plain = mf.copy().run()
        assert two_level(mf).run().e_tot == pytest.approx(plain.e_tot, abs=1e-8)
        assert two_level(mf).undo_two_level().diis_start_cycle == 2


class TestCopies:
    def test_pickled_before_and_after_a_run(self, water):
        mf = two_level(kohn_sham(water, "b3lyp"))
        before = pickle.loads(pickle.dumps(mf))
        assert type(before) is type(mf) and before.run().cycles <= 3
        mf.run()
        after = pickle.loads(pickle.dumps(mf))
        assert type(after) is type(mf) and after.converged and not after._running
        assert after.e_tot == mf.e_tot == pytest.approx(before.e_tot, abs=1e-9)
        assert np.array_equal(after.make_rdm1(), mf.make_rdm1())
        assert after.run().cycles == 1 and isinstance(after.undo_two_level(), dft.rks.RKS)

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda mf: mf.copy()],
                             ids=["copy", "deepcopy", "mf.copy"])
    def test_a_copy_is_a_two_level_scf_of_its_own(self, duplicate, water):
        mf = two_level(kohn_sham(water))
        again = duplicate(mf)
        assert type(again) is type(mf) and again is not mf
        again.run()
        assert again.cycles <= 3 and not mf.converged and mf.mo_coeff is None
        assert duplicate(again).e_tot == again.e_tot

    @pytest.mark.parametrize("convert", [lambda mf: mf.newton(), lambda mf: mf.to_gks()], ids=["newton", "GKS"])
    def test_a_copy_of_what_does_not_use_the_scheme(self, convert, water):
        again = copy.copy(convert(two_level(kohn_sham(water))))
        assert not isinstance(again, TwoLevelSCF)
        assert again.run().e_tot == pytest.approx(kohn_sham(water).run().e_tot, abs=1e-8)


def test_the_gpu_gets_the_plain_object(water, monkeypatch):
    converted = []
    modules = {name: types.ModuleType(name) for name in ("cupy", "gpu4pyscf", "gpu4pyscf.dft", "gpu4pyscf.dft.rks")}
    modules["gpu4pyscf.dft.rks"].from_cpu = lambda mf: converted.append(mf) or "on the GPU"
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    mf = logging_to_string(two_level(kohn_sham(water)))
    assert mf.to_gpu() == "on the GPU"
    assert type(converted[0]) is dft.rks.RKS and converted[0].xc == "pbe"
    assert mf.stdout.getvalue().count("left behind by to_gpu()") == 1


class TestIntegrals:
    def test_pyscf_keeps_its_integrals_and_nobody_else_makes_them(self, water):
        mf, seen = two_level(kohn_sham(water, "b3lyp")), []
        original = mf.get_jk

        def get_jk(*args, **kwargs):
            seen.append(mf._eri is None)
            return original(*args, **kwargs)

        mf.get_jk = get_jk
        mf.run()
        assert mf.converged and seen[0] and not any(seen[1:])  # there after the first Fock matrix, not before
        assert mf._eri is not None
        pristine = two_level(kohn_sham(water, "b3lyp"))
        pristine._running = True
        pristine.get_init_guess(key="minao")
        assert pristine._eri is None and pristine._anderson is not None

    @pytest.mark.parametrize("xc", ["pbe", "b3lyp"])
    @pytest.mark.parametrize("fitted", [True, False], ids=["density-fitted", "exact"])
    def test_a_learned_start_goes_through_the_tensor(self, xc, fitted, water, monkeypatch):
        """No second set of three-centre integrals; those of free atoms, kept for the process, come before."""
        def make():
            mf = kohn_sham(water, xc).set(init_guess="ml")
            return mf.density_fit() if fitted else mf

        make().get_init_guess(key="ml")
        for name in ("project", "contract"):
            monkeypatch.setattr(ThreeCentreIntegrals, name, lambda *args: pytest.fail("integrals made a second time"))
        mf = two_level(make()).run()
        assert mf.converged and mf.cycles <= 3


@pytest.mark.parametrize("start", ["minao", "ml", "density matrix"])
def test_the_core_hamiltonian_is_made_once_in_a_run(start, water, monkeypatch):
    """That of X2C and of QM/MM is dear."""
    mf = two_level(kohn_sham(water).x2c())
    made = []
    original = mf.with_x2c.get_hcore
    monkeypatch.setattr(mf.with_x2c, "get_hcore", lambda mol: made.append(1) or original(mol))
    if start == "density matrix":
        mf.kernel(dm0=scf.hf.init_guess_by_minao(water))
    else:
        mf.set(init_guess=start).kernel()
    assert mf.converged and len(made) == 1
    mf.get_hcore()
    assert len(made) == 2  # nothing is kept beyond the run


class TestMessages:
    @pytest.mark.parametrize("key", ["ml", "ML", "ml:default"])
    def test_a_refusal_names_the_key_that_the_user_wrote(self, key, water, monkeypatch):
        monkeypatch.setattr(auxiliary_density, "SMALLEST_GAP", 10.0)
        mf = logging_to_string(two_level(kohn_sham(water))).set(init_guess=key)
        with pytest.warns(GuessRefused) as record:
            mf.kernel()
        messages = [str(w.message) for w in record if issubclass(w.category, GuessRefused)]
        assert len(messages) == 1
        assert messages[0].startswith(f"initial guess {key!r} refused, falling back to refined minao: ")
        assert messages[0] in mf.stdout.getvalue()
        assert mf.converged and mf.cycles <= 3  # minao, refined

    def test_what_cannot_be_served_is_one_warning(self, water, taking_part):
        mf = two_level(scf.RHF(water))
        mf._is_mem_enough = lambda: False
        logging_to_string(mf).max_memory = 1
        with pytest.warns(GuessRefused) as record:
            mf.set(init_guess="ml").kernel()
        messages = [str(w.message) for w in record if issubclass(w.category, GuessRefused)]
        assert len(messages) == 1 and "two-level SCF refused, falling back to plain DIIS: exact" in messages[0]
        assert mf.stdout.getvalue().count("exact exchange needs") == 1
        assert mf.e_tot == pytest.approx(scf.RHF(water).run().e_tot, abs=1e-8)


def test_what_only_changes_must_be_right_for_takes_fewer_auxiliary_functions():
    """Not for thresholds below PySCF's own, nor where one build must do."""
    mol = gto.M(atom=FORMAMIDE, basis="def2-svp", verbose=0)
    mf, tight = two_level(dft.RKS(mol, xc="b3lyp")), two_level(dft.RKS(mol, xc="b3lyp"))
    tight.conv_tol = 1e-10
    ranks = [cheap_scf(mf).problem.coulomb_tensor.rank for mf in (mf, tight, two_level(mf, verify=False))]
    assert ranks[0] < 0.8 * ranks[1] and ranks[1] == ranks[2]
    assert ranks[1] == CheapProblem(mf).coulomb_tensor.rank
