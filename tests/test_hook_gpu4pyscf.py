"""The key 'ml' in gpu4pyscf's SCF class, whose import is imitated; the prediction is replaced by a stand-in."""

import functools
import sys
import types
import warnings

import numpy as np
import pytest
from pyscf import gto, lib, scf
from pyscf.scf import hf

import pyscf_mlguess
from pyscf_mlguess import GuessRefused, hook, models, pipeline


class DeviceArray:
    """Imitates a cupy array."""

    def __init__(self, array):
        self.array = np.array(array)


@pytest.fixture
def import_gpu4pyscf(monkeypatch):
    """Imitates the import of gpu4pyscf: its SCF class decorates a copy of PySCF's function, and inherits nothing."""

    def return_cupy_array(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            dm = function(*args, **kwargs)
            return DeviceArray(dm) if isinstance(dm, np.ndarray) else dm

        return wrapper

    def run_import():
        class SCF(lib.StreamObject):
            get_init_guess = return_cupy_array(hf.SCF.get_init_guess)
            init_guess_by_minao = hf.SCF.init_guess_by_minao
            init_guess_breaksym = 0

            def __init__(self, cpu):
                self.mol, self.cpu, self.verbose, self.stdout = cpu.mol, cpu, cpu.verbose, cpu.stdout

            def to_cpu(self):
                return self.cpu

        SCF.__module__ = "gpu4pyscf.scf.hf"
        gpu_hf = types.ModuleType(SCF.__module__)
        gpu_hf.SCF, gpu_hf.return_cupy_array = SCF, return_cupy_array
        cupy = types.ModuleType("cupy")
        cupy.asarray = DeviceArray
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setitem(sys.modules, SCF.__module__, gpu_hf)
        return SCF

    return run_import


@pytest.fixture(params=["gpu4pyscf first", "pyscf_mlguess first"])
def gpu_class(request, import_gpu4pyscf):
    """The class in both import orders; afterwards PySCF is registered and without it."""
    hook.unregister()
    if request.param == "gpu4pyscf first":
        cls = import_gpu4pyscf()
        hook.register()
    else:
        hook.register()
        cls = import_gpu4pyscf()
    yield cls
    hook.register()


@pytest.fixture
def water():
    return gto.M(atom="O 0 0 0; H 0 0.757 0.587; H 0 -0.757 0.587", basis="sto-3g", verbose=0)


def test_guess_is_made_on_the_cpu_and_returned_to_the_device(gpu_class, water, monkeypatch):
    calls = []

    def initial_density_matrix(mf, model, cheap):
        calls.append((mf, mf.init_guess_breaksym, model))
        return np.zeros((2, water.nao, water.nao))

    monkeypatch.setattr(models, "load_model", lambda name: name)
    monkeypatch.setattr(pipeline, "initial_density_matrix", initial_density_matrix)
    mf = gpu_class(scf.UHF(water))
    for dm in (mf.get_init_guess(water, "ML:x"), pyscf_mlguess.guess(mf, "ml:x")):
        assert isinstance(dm, DeviceArray) and dm.array.shape == (2, water.nao, water.nao)
    assert calls == [(mf.cpu, 0, "x")] * 2


def test_refusal_takes_minao_of_the_device(gpu_class, water):
    mf = gpu_class(scf.GHF(water).set(get_hcore=lambda *_: np.eye(2 * water.nao)))
    minao = mf.get_init_guess(water, "minao").array
    for reason in ("get_hcore of its own", "no conversion"):
        with pytest.warns(GuessRefused, match=reason) as record:
            dm = mf.get_init_guess(water, "ml")
        assert [warning.category for warning in record].count(GuessRefused) == 1
        np.testing.assert_array_equal(dm.array, minao)
        mf.to_cpu = NotImplemented


def test_register_again_changes_nothing(gpu_class):
    handler = vars(gpu_class)["get_init_guess"]
    hook.register()
    assert vars(gpu_class)["get_init_guess"] is handler


def test_unregister_restores_both_classes(gpu_class, water):
    hook.unregister()
    original, gpu_original = vars(hf.SCF)["get_init_guess"], vars(gpu_class)["get_init_guess"]
    assert not hasattr(original, "__wrapped__") and gpu_original.__wrapped__ is original
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuessRefused)
        assert isinstance(gpu_class(scf.RHF(water)).get_init_guess(water, "ml"), DeviceArray)


def test_unregister_puts_back_the_very_function(import_gpu4pyscf):
    hook.unregister()
    gpu_class = import_gpu4pyscf()
    original = vars(gpu_class)["get_init_guess"]
    hook.register()
    assert vars(gpu_class)["get_init_guess"] is not original
    hook.unregister()
    assert vars(gpu_class)["get_init_guess"] is original
    hook.register()
