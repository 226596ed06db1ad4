"""The key 'ml' in PySCF's SCF classes; the prediction itself is replaced by a stand-in."""

import io
import os
import subprocess
import sys
import types

import numpy as np
import pytest
from pyscf import __config__, dft, gto, qmmm, scf
from pyscf.pbc import gto as pbc_gto
from pyscf.pbc import scf as pbc_scf
from pyscf.scf import hf

import pyscf_mlguess
from pyscf_mlguess import GuessRefused, hook, models, pipeline
from pyscf_mlguess.models import ModelError
from pyscf_mlguess.refusal import Refusal, check_molecule

WATER = "O 0 0 0; H 0 0.757 0.587; H 0 -0.757 0.587"


@pytest.fixture
def water():
    return gto.M(atom=WATER, basis="sto-3g", verbose=0)


@pytest.fixture
def hydroxyl():
    return gto.M(atom="O 0 0 0; H 0 0 0.97", basis="sto-3g", spin=1, verbose=0)


@pytest.fixture
def cell():
    return pbc_gto.M(atom="H 0 0 0; H 0 0 0.8", a=np.eye(3) * 4, basis="gth-szv", pseudo="gth-pade", verbose=0)


@pytest.fixture
def prediction(monkeypatch):
    """Stands in for the pipeline: notes (mf, model) in ``calls``, returns PySCF's core guess, or raises ``error``."""
    stand_in = types.SimpleNamespace(calls=[], error=None)

    def initial_density_matrix(mf, model, cheap):
        stand_in.calls.append((mf, model))
        if stand_in.error is not None:
            raise stand_in.error
        return mf.get_init_guess(mf.mol, "1e")

    monkeypatch.setattr(models, "load_model", lambda name: name)
    monkeypatch.setattr(pipeline, "initial_density_matrix", initial_density_matrix)
    return stand_in


@pytest.fixture(autouse=True)
def registered():
    """Every test starts registered, and leaves PySCF so."""
    hook.register()
    yield
    hook.register()


def rks(mol):
    mf = dft.RKS(mol)
    mf.xc, mf.grids.level = "pbe", 0
    return mf


def refusals(record):
    """The package's warnings alone: recording catches those of PySCF and of the garbage collector too."""
    return [warning for warning in record if warning.category is GuessRefused]


def symmetric(mol):
    return scf.RHF(gto.M(atom=WATER, basis="sto-3g", symmetry=True, verbose=0))


CLOSED_SHELL = {
    "RHF": scf.RHF,
    "RKS": rks,
    "density fitting": lambda mol: scf.RHF(mol).density_fit(),
    "newton": lambda mol: scf.RHF(mol).newton(),
    "newton of a density-fitted object": lambda mol: scf.RHF(mol).density_fit().newton(),
    "symmetry": symmetric,
    "smearing": lambda mol: scf.RHF(mol).smearing(0.01),
    "sfX2C": lambda mol: scf.RHF(mol).x2c(),
    "QM/MM": lambda mol: qmmm.mm_charge(scf.RHF(mol), [[0.0, 0.0, 4.0]], [0.5]),
    "solvent": lambda mol: scf.RHF(mol).ddCOSMO(),
}
OPEN_SHELL = {
    "UHF": scf.UHF,
    "UKS": lambda mol: rks(mol).to_uks(),
    "ROHF": scf.ROHF,
    "ROKS": lambda mol: dft.ROKS(mol).set(xc="lda"),
    "UHF newton": lambda mol: scf.UHF(mol).newton(),
}


def with_own(name, mf, value):
    setattr(mf, name, lambda *_: value)
    return mf


REFUSED = {
    "GHF": lambda mol: with_own("get_hcore", scf.GHF(mol), np.eye(2 * mol.nao)),
    "GKS": lambda mol: with_own("get_ovlp", dft.GKS(mol), np.eye(2 * mol.nao)),
    "spinor X2C": lambda mol: with_own("get_hcore", scf.X2C(mol), np.eye(2 * mol.nao)),
}
PERIODIC = {
    "RHF": pbc_scf.RHF,
    "UHF": pbc_scf.UHF,
    "ROHF": pbc_scf.ROHF,
    "GHF": pbc_scf.GHF,
    "KRHF": lambda cell: pbc_scf.KRHF(cell, cell.make_kpts([2, 1, 1])),
    "KUHF": lambda cell: pbc_scf.KUHF(cell, cell.make_kpts([2, 1, 1])),
    "molecular RHF": scf.RHF,
}


@pytest.mark.parametrize("make", CLOSED_SHELL.values(), ids=CLOSED_SHELL)
def test_closed_shell_classes_start_from_the_prediction(make, water, prediction):
    mf = make(water).set(init_guess="ml")
    mf.kernel()
    assert mf.converged
    assert prediction.calls == [(mf, "default")]


@pytest.mark.parametrize("make", OPEN_SHELL.values(), ids=OPEN_SHELL)
def test_open_shell_classes_start_from_the_prediction(make, hydroxyl, prediction):
    mf = make(hydroxyl).set(init_guess="ml", max_cycle=2)
    mf.kernel()
    assert prediction.calls == [(mf, "default")]
    assert mf.get_init_guess(hydroxyl, "ml").shape == (2, hydroxyl.nao, hydroxyl.nao)


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_classes_that_are_not_served_warn_once_and_take_minao(make, water):
    mf = make(water).set(init_guess="ml", max_cycle=0)
    expected = mf.get_init_guess(water, "minao")
    reason = rf"falling back to minao: {type(mf).__name__} with a get_\w+ of its own"
    with pytest.warns(GuessRefused, match=reason) as record:
        dm = mf.get_init_guess(water, "ml")
    assert len(refusals(record)) == 1
    np.testing.assert_array_equal(dm, expected)


def test_dirac_kernel_asks_once(prediction):
    mf = scf.DHF(gto.M(atom="He", basis="6-31g", verbose=0)).set(init_guess="ml")
    mf.kernel()
    assert mf.converged and len(prediction.calls) == 1


@pytest.mark.parametrize("make", PERIODIC.values(), ids=PERIODIC)
def test_periodic_cells_warn_once_and_take_minao(make, cell):
    mf = make(cell)
    expected = mf.get_init_guess(cell, "minao")
    with pytest.warns(GuessRefused, match="what works is .* of molecules") as record:
        dm = mf.get_init_guess(cell, "ml")
    assert len(refusals(record)) == 1
    np.testing.assert_allclose(dm, expected)


def test_scanner_asks_once(water, prediction):
    scanner = scf.RHF(water).set(init_guess="ml").as_scanner()
    scanner(water)
    scanner(water.set_geom_(water.atom_coords() * 1.01, unit="Bohr", inplace=False))
    assert len(prediction.calls) == 1


@pytest.mark.parametrize(
    "key, passed",
    [("ml", "default"), ("ML", "default"), ("ml:x", "x"), ("Ml:/Some/Path", "/Some/Path")],
)
def test_prefix_ignores_case_and_the_path_keeps_its_own(key, passed, water, prediction):
    mf = scf.RHF(water)
    mf.get_init_guess(water, key, s1e=mf.get_ovlp())
    assert prediction.calls == [(mf, passed)]


@pytest.mark.parametrize("key", ["minao", "atom", "huckel", "1e", "sap", "nonsense"])
def test_other_keys_act_as_in_pyscf(key, water, prediction):
    mf = scf.RHF(water)
    dm = mf.get_init_guess(water, key)
    hook.unregister()
    np.testing.assert_allclose(dm, mf.get_init_guess(water, key), rtol=0, atol=1e-12)
    assert not prediction.calls


def test_array_as_guess_is_untouched(water, prediction):
    mf = scf.RHF(water)
    dm = mf.get_init_guess(water, "minao")
    assert mf.get_init_guess(water, dm) is dm
    mf.set(init_guess=dm).kernel()
    assert mf.converged and not prediction.calls


def test_refusal_warns_once_at_the_caller_and_logs_one_line(water, prediction, capfd):
    prediction.error = Refusal("the gap is gone")
    mf = scf.RHF(water).set(init_guess="ml", verbose=2, stdout=io.StringIO())
    with pytest.warns(GuessRefused, match="falling back to refined minao: the gap is gone") as record:
        mf.kernel()
    assert mf.converged
    assert len(refusals(record)) == 1 and refusals(record)[0].filename == __file__
    assert mf.stdout.getvalue().count("the gap is gone") == 1
    assert "the gap is gone" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("key, passed", [("ml+refine", "default"), ("ML+Refine:x", "x")])
def test_a_refined_key_names_the_model_behind(key, passed, water, prediction):
    mf = scf.RHF(water)
    mf.get_init_guess(water, key)
    assert prediction.calls == [(mf, passed)]


@pytest.mark.parametrize("key, error", [("ml:nonsense", ModelError), ("ml:x.safetensors", FileNotFoundError)])
def test_a_model_that_is_not_there_is_an_error(key, error, water):
    with pytest.raises(error, match=key.removeprefix("ml:")):
        scf.RHF(water).set(init_guess=key).kernel()


def test_foreign_molecule_is_refused_and_gets_its_own_minao(water, hydroxyl, prediction):
    with pytest.warns(GuessRefused, match="not that of the SCF object"):
        dm = scf.RHF(water).get_init_guess(hydroxyl, "ml")
    assert dm.shape == (hydroxyl.nao, hydroxyl.nao) and not prediction.calls


@pytest.mark.parametrize(
    "atom, reason",
    [
        ([], "no atoms"),
        ("ghost-O 0 0 0", "0 electrons"),
        ("O 0 0 0; H 0 0 1; H 0 1 0.05; H 0 1 0", r"atoms 2 \(H\) and 3 \(H\) at 0.05 angstrom"),
        ("O 0 0 0; H 0 0 nan", r"atom 1 \(H\) at .*nan"),
    ],
)
def test_bad_molecules_are_refused(atom, reason):
    mol = gto.M(atom=atom, basis="sto-3g", spin=None, verbose=0)
    with pytest.raises(Refusal, match=reason):
        check_molecule(mol)


def test_ghost_atoms_may_sit_on_real_ones():
    check_molecule(gto.M(atom=WATER + "; ghost-O 0 0 0.01", basis="sto-3g", verbose=0))


def test_molecule_without_atoms_takes_the_core_guess():
    mol = gto.M(verbose=0)
    mol.nelectron = 2
    mf = scf.RHF(mol)
    mf.get_hcore, mf.get_ovlp = lambda *_: np.diag([-1.0, 1.0]), lambda *_: np.eye(2)
    with pytest.warns(GuessRefused, match="no atoms"):
        dm = mf.get_init_guess(mol, "ml")
    np.testing.assert_allclose(dm, np.diag([2.0, 0.0]), atol=1e-12)


@pytest.mark.parametrize("key", ["atom", "huckel"])
def test_inner_atomic_scf_ignores_the_configured_default(key, water, prediction, monkeypatch):
    expected = scf.RHF(water).get_init_guess(water, key)
    monkeypatch.setattr(hf.SCF, "init_guess", "ml")
    np.testing.assert_allclose(scf.RHF(water).get_init_guess(water, key), expected, rtol=0, atol=1e-12)
    assert not prediction.calls
    mf = scf.RHF(water).run()
    assert mf.converged and prediction.calls == [(mf, "default")]


def test_guess_function_works_unregistered(water, prediction):
    hook.unregister()
    mf = scf.RHF(water)
    assert pyscf_mlguess.guess(mf, "ml:x").shape == (water.nao, water.nao)
    assert prediction.calls == [(mf, "x")]
    prediction.error = Refusal("no trust")
    with pytest.warns(GuessRefused, match="no trust"):
        np.testing.assert_allclose(pyscf_mlguess.guess(mf), pyscf_mlguess.refine(mf, mf.get_init_guess(water, "minao")),
                                   rtol=0, atol=1e-8)
    with pytest.raises(ValueError, match="minao"):
        pyscf_mlguess.guess(mf, "minao")


def test_register_is_idempotent_and_unregister_exact():
    hook.unregister()
    before = dict(vars(hf.SCF))
    hook.unregister()
    assert vars(hf.SCF)["get_init_guess"] is before["get_init_guess"]
    hook.register()
    handler = vars(hf.SCF)["get_init_guess"]
    hook.register()
    assert vars(hf.SCF)["get_init_guess"] is handler is not before["get_init_guess"]
    hook.unregister()
    assert dict(vars(hf.SCF)) == before


def test_a_configured_default_of_ours_comes_and_goes_with_the_key(monkeypatch):
    monkeypatch.setattr(__config__, "scf_hf_SCF_init_guess", "ml", raising=False)
    hook.unregister()
    hook.register()
    assert hf.SCF.init_guess == "ml"
    hook.unregister()
    assert hf.SCF.init_guess == "minao"  # which PySCF would run under the name of 'ml'


def test_import_loads_nothing_heavy():
    code = (
        "import sys, pyscf_mlguess; from pyscf.scf import hf;"
        "assert not {'torch', 'e3nn', 'cupy', 'pyscf.pbc', 'pyscf_mlguess.models'} & set(sys.modules);"
        "assert callable(pyscf_mlguess.guess) and hasattr(hf.SCF.get_init_guess, '__wrapped__')"
    )
    root = os.path.dirname(os.path.dirname(pyscf_mlguess.__file__))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_namespace_shim():
    pytest.importorskip("pyscf.mlguess", reason="the package is not installed")
    from pyscf import mlguess

    assert mlguess is pyscf_mlguess
