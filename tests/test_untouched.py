"""A guess works on a copy: the user's SCF object stays as it was, its dear integrals are asked for once."""

import functools
import io

import numpy as np
import pytest
from conftest import WATER
from pyscf import dft, gto, qmmm, scf

import pyscf_mlguess
from pyscf_mlguess import pipeline, two_level

KEYS = ["ml", "minao+refine"]
METHYL = {"atom": "C 0 0 0; H 0 1.08 0; H .935 -.54 0.1; H -.935 -.54 0", "spin": 1}
METHANE_AND_KRYPTON = "Kr 0 0 -4.0; H 0 0 -1.09; C 0 0 0; H 1.03 0 0.35; H -0.51 0.89 0.35; H -0.51 -0.89 0.35"


def molecule(atom=WATER, basis="def2-svp", **kwargs):
    return gto.M(atom=atom, basis=basis, verbose=0, **kwargs)


def kohn_sham(mol, xc="pbe"):
    mf = dft.KS(mol, xc=xc)
    mf.grids.level = 0
    return mf


CASES = {
    "RHF": lambda: scf.RHF(molecule()),
    "RKS": lambda: kohn_sham(molecule(), "camb3lyp"),
    "UKS": lambda: kohn_sham(molecule(**METHYL), "b3lyp"),
    "ROHF": lambda: scf.ROHF(molecule(**METHYL)),
    "smearing": lambda: kohn_sham(molecule()).smearing(sigma=0.01),
    "symmetry": lambda: scf.RHF(molecule(symmetry=True)),
    "X2C": lambda: kohn_sham(molecule()).x2c(),
    "QM/MM": lambda: qmmm.mm_charge(scf.RHF(molecule()), [[0.0, 0.0, 4.0]], [0.5]),
    "density fitting": lambda: kohn_sham(molecule()).density_fit(),
}
WITH_ENERGY = {name: make for name, make in CASES.items() if name != "smearing"} | {
    "exchange with density fitting": lambda: scf.ROHF(molecule(**METHYL)).density_fit(),
    "solvent": lambda: kohn_sham(molecule()).PCM(),
    "newton": lambda: kohn_sham(molecule()).newton(),
    "two-level": lambda: two_level(kohn_sham(molecule())),
    "minao": lambda: kohn_sham(molecule()),
}
PARTS = ("grids", "with_x2c", "with_df", "with_solvent", "_scf")


def guess(mf, key):
    return np.asarray(mf.get_init_guess(key=key))


def snapshot(thing):
    """Attributes by name: the objects themselves, and what they hold."""
    def content(value):
        return np.array(value) if isinstance(value, np.ndarray) else dict(value) if isinstance(value, dict) else None

    return {name: (value, content(value)) for name, value in vars(thing).items()}


def assert_unchanged(thing, before):
    assert vars(thing).keys() == before.keys()
    for name, (value, content) in before.items():
        assert vars(thing)[name] is value, name
        if isinstance(content, np.ndarray):
            np.testing.assert_array_equal(value, content, err_msg=name)
        elif isinstance(content, dict):
            assert value.keys() == content.keys() and all(value[key] is content[key] for key in content), name


def assert_leaves_alone(mf, work):
    parts = [mf, mf.mol, *(getattr(mf, name) for name in PARTS if getattr(mf, name, None))]
    before = [snapshot(part) for part in parts]
    assert np.isfinite(work()).all()
    for part, attributes in zip(parts, before):
        assert_unchanged(part, attributes)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("case", CASES)
def test_the_scf_object_stays_as_it_was(case, key):
    mf = CASES[case]()
    if case in ("RKS", "UKS"):
        # A Fock matrix corrects these guesses: grid and integrals, which it leaves for the SCF, are there already.
        mf.get_veff(dm=mf.get_init_guess(key="minao"))
    assert_leaves_alone(mf, lambda: guess(mf, key))


@pytest.mark.parametrize("own_potential", [False, True])
@pytest.mark.parametrize("case", ["RKS", "UKS"])
def test_what_a_fock_matrix_of_the_guess_needs_is_made_once(case, own_potential):
    mf = CASES[case]()
    if own_potential:
        # As a user's own potential hangs on the object.
        mf.get_veff = functools.partial(mf.get_veff)
    guess(mf, "minao+refine")
    grid, integrals = mf.grids.coords, mf._eri
    mf.kernel()
    assert grid is not None and mf.grids.coords is grid
    assert integrals is not None and mf._eri is integrals


@pytest.mark.parametrize("case", WITH_ENERGY)
def test_an_energy_leaves_no_trace(case):
    mf, key = WITH_ENERGY[case](), case if case == "minao" else "ml"
    mf.energy_nuc()  # which PySCF keeps in the molecule
    assert_leaves_alone(mf, lambda: pyscf_mlguess.energy(mf, key).energy)


def test_a_converged_object_keeps_its_results(tmp_path):
    mf = kohn_sham(molecule(**METHYL), "b3lyp")
    mf.chkfile = str(tmp_path / "scf.chk")
    mf.verbose, mf.stdout = 3, io.StringIO()
    mf.kernel()
    before, file, log = snapshot(mf), (tmp_path / "scf.chk").read_bytes(), mf.stdout.getvalue()
    for key in KEYS:
        guess(mf, key)
        pyscf_mlguess.energy(mf, key)
    assert_unchanged(mf, before)
    assert (tmp_path / "scf.chk").read_bytes() == file and mf.stdout.getvalue() == log


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("case", ["RHF", "ROHF", "X2C", "QM/MM", "density fitting"])
def test_the_core_hamiltonian_is_made_once(case, key):
    mf, calls = CASES[case](), []
    original = mf.get_hcore

    def get_hcore(*args):
        calls.append(args)
        return original(*args)

    mf.get_hcore = get_hcore
    guess(mf, key)
    assert len(calls) == 1
    pyscf_mlguess.energy(mf, key)
    assert len(calls) == 2


def test_a_two_level_scf_makes_it_once_more():
    """PySCF's kernel asks for its own."""
    mf, calls = two_level(CASES["X2C"]()), []
    original = mf.get_hcore
    mf.get_hcore = lambda *args: calls.append(args) or original(*args)
    assert mf.set(init_guess="ml").run().converged
    assert len(calls) == 2


def log_of(mf, make):
    mf.verbose, mf.stdout = 4, io.StringIO()
    make(mf)
    return mf.stdout.getvalue()


@pytest.mark.parametrize("make, expected", [
    (lambda: kohn_sham(molecule(), "b3lyp"),
     ["density of a functional with 20% exact exchange", "exact exchange as predicted for "]),
    (lambda: scf.RHF(molecule()),
     ["density of a functional with 100% exact exchange", "exact exchange as predicted for "]),
    (lambda: kohn_sham(molecule(basis="def2-tzvp")),
     ["density 100% of the way from a split-valence to a triple-zeta basis"]),
    (lambda: kohn_sham(molecule(basis="6-311g**")),
     ["density 32% of the way from a split-valence to a triple-zeta basis"]),
    (lambda: kohn_sham(molecule(), "r2scan"), ["r2scan replaced by PBE"]),
    (lambda: kohn_sham(molecule(METHANE_AND_KRYPTON)), ["free atoms for Kr"]),
], ids=["hybrid", "Hartree-Fock", "triple zeta", "in between", "meta-GGA", "unknown element"])
def test_one_line_of_the_log_says_what_was_done(make, expected):
    lines = log_of(make(), pipeline.initial_density_matrix).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"Initial guess from the model {pyscf_mlguess.load_model().card['name']}")
    for phrase in expected:
        assert f"; {phrase}" in lines[0]


def test_nothing_is_claimed_where_nothing_was_replaced():
    log = log_of(kohn_sham(molecule()), pipeline.initial_density_matrix)
    assert log.strip().endswith(pyscf_mlguess.load_model().card["name"] + ".")


def test_a_refinement_has_a_line_of_its_own():
    lines = log_of(kohn_sham(molecule()), pyscf_mlguess.guess).splitlines()
    assert len(lines) == 2 and lines[1].startswith("Initial guess refined in ")


@pytest.mark.parametrize("key", KEYS)
def test_a_quiet_object_stays_quiet(key, capfd):
    mf = kohn_sham(molecule(METHANE_AND_KRYPTON), "b3lyp")
    mf.verbose = 3
    guess(mf, key)
    assert capfd.readouterr() == ("", "")
