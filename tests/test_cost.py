"""The two-level SCF takes part where its estimated time is below plain PySCF's."""

import io

import pytest
from conftest import FORMAMIDE, WATER
from pyscf import dft, gto, scf

from pyscf_mlguess import two_level
from pyscf_mlguess.cheap.cost import costs
from pyscf_mlguess.two_level_scf import stays_out

PARACETAMOL_LIKE = "\n".join(f"{e} {1.4 * i} {0.8 * (i % 2)} {0.1 * i}" for i, e in enumerate("CCNCOCCCNCO"))


def make(atom, basis="def2-svp", xc=None, fit=False, in_memory=True):
    mol = gto.M(atom=atom, basis=basis, verbose=0)
    mf = scf.RHF(mol) if xc is None else dft.RKS(mol, xc=xc)
    if not in_memory:
        mf._is_mem_enough = lambda: False
    return mf.density_fit() if fit else mf


@pytest.mark.parametrize("atom", [WATER, FORMAMIDE, PARACETAMOL_LIKE], ids=["water", "formamide", "chain"])
@pytest.mark.parametrize("fit", [True, False])
@pytest.mark.parametrize("xc", ["pbe", "b3lyp", "camb3lyp"])
def test_functionals_are_served(atom, fit, xc):
    assert stays_out(make(atom, xc=xc, fit=fit)) is None


@pytest.mark.parametrize("atom", [WATER, FORMAMIDE, PARACETAMOL_LIKE], ids=["water", "formamide", "chain"])
def test_hartree_fock_depends_on_the_cost_of_its_builds(atom):
    in_memory, fitted, direct = (costs(make(atom, **case)) for case in
                                 ({}, {"fit": True}, {"in_memory": False, "basis": "def2-tzvp"}))
    # A cheap iteration is hardly cheaper than a build with the tensor or with all integrals at hand.
    assert in_memory.ratio > 1 and fitted.ratio > 0.75
    assert direct.build > in_memory.build and direct.ratio < in_memory.ratio
    assert stays_out(make(atom))


def test_fitted_hartree_fock_is_served_from_some_size_on():
    assert stays_out(make(WATER, fit=True)) and stays_out(make(FORMAMIDE, fit=True))
    assert stays_out(make(PARACETAMOL_LIKE, fit=True)) is None


def test_direct_hartree_fock_is_served():
    assert stays_out(make(PARACETAMOL_LIKE, in_memory=False)) is None


def test_an_unrestricted_functional_costs_two_of_them():
    mol = gto.M(atom=FORMAMIDE, basis="def2-svp", verbose=0)
    one, two = costs(dft.RKS(mol, xc="pbe")), costs(dft.UKS(mol, xc="pbe"))
    assert one.build < two.build < 2.1 * one.build and one.iteration <= two.iteration


def test_what_stays_out_says_so_and_runs_plain_pyscf():
    plain = make(FORMAMIDE, fit=True).run()
    mf = two_level(make(FORMAMIDE, fit=True))
    mf.verbose, mf.stdout = 3, io.StringIO()
    mf.run()
    assert "stays out of the way" in mf.stdout.getvalue()
    assert mf.cycles == plain.cycles and mf.e_tot == pytest.approx(plain.e_tot, abs=1e-11)
