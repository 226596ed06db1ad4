"""Open shells that the grid alone holds: turned to its lowest energy, in two builds, without a warning."""

import warnings

import numpy as np
import pytest
from conftest import WATER
from pyscf import dft, gto, scf
from scipy.spatial.transform import Rotation

from pyscf_mlguess import GuessRefused, two_level
from pyscf_mlguess.cheap.orientation import FreeRotation

OPEN_SHELLS = {
    "O": ("O", 2, 0), "F+": ("F", 2, 1), "C": ("C", 2, 0), "F": ("F", 1, 0),
    "OH": ("O 0 0 0; H 0 0 0.97", 1, 0), "OH tilted": ("O 0 0 0; H 0.3 0.5 0.77", 1, 0),
    "NO": ("N 0 0 0; O 0 0 1.15", 1, 0), "CH3O": ("C -0.007 -0.56 0; O -0.007 0.80 0; H 1.05 -0.87 0; "
                                                  "H -0.48 -1.0 0.90; H -0.48 -1.0 -0.90", 1, 0),
}


def kohn_sham(name, cls=dft.UKS, xc="pbe", **kwargs):
    atom, spin, charge = OPEN_SHELLS[name]
    return cls(gto.M(atom=atom, spin=spin, charge=charge, basis="def2-svp", verbose=0, **kwargs), xc=xc).density_fit()


@pytest.mark.parametrize("name", OPEN_SHELLS)
@pytest.mark.parametrize("cls, xc", [(dft.UKS, "pbe"), (dft.ROKS, "b3lyp")])
def test_no_higher_than_minao(name, cls, xc):
    plain = kohn_sham(name, cls, xc).run(max_cycle=100)
    mf = two_level(kohn_sham(name, cls, xc))
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuessRefused)
        mf.run()
    assert mf.converged and mf.cycles <= 3
    assert mf.e_tot < plain.e_tot + 1e-7


def test_a_rotation_changes_nothing_but_the_energy_on_the_grid():
    mf = kohn_sham("OH tilted").run()
    dm = np.asarray(mf.make_rdm1())
    free = FreeRotation.of(mf, dm, mf.get_hcore())
    turned = free.turned(dm, 0.7 * free.axis)
    assert np.abs(turned - dm).max() > 0.1
    assert np.einsum("spq,qp->s", turned, mf.get_ovlp()) == pytest.approx([5, 4], abs=1e-10)
    (before, _), (after, _) = (mf.energy_elec(d) for d in (dm, turned))
    assert 0 < abs(after - before) < 1e-6
    assert abs(mf.energy_elec(free.lowest(mf, dm))[0]) >= abs(before)
    # Turned back, it is what it was; the tangent is the slope.
    assert np.abs(free.turned(turned, -0.7 * free.axis) - dm).max() < 1e-12
    slope = (free.turned(dm, 1e-4 * free.axis) - free.turned(dm, -1e-4 * free.axis)) / 2e-4
    assert np.abs(free.tangents(dm)[0] - slope).max() < 1e-5


def test_orbitals_turn_as_space_does():
    mol = gto.M(atom="O", basis="def2-svp", spin=2, verbose=0)
    free, vector = FreeRotation(mol, np.array([0, 0, 1.0])), np.array([0.3, -0.5, 0.7])
    points = np.random.default_rng(0).normal(size=(6, 3))
    dm = np.diag(np.arange(1.0, mol.nao + 1))
    there, here = (mol.eval_gto("GTOval_sph", p) for p in (points @ Rotation.from_rotvec(vector).as_matrix().T, points))
    assert np.einsum("gp,pq,gq->g", there, free.turned(dm, vector), there) == pytest.approx(
        np.einsum("gp,pq,gq->g", here, dm, here), abs=1e-12)


@pytest.mark.parametrize("make", [
    lambda: dft.RKS(gto.M(atom=WATER, basis="def2-svp", verbose=0)),
    lambda: dft.RKS(gto.M(atom="N 0 0 0; N 0 0 1.1", basis="def2-svp", verbose=0)),
    lambda: scf.UHF(gto.M(atom="O 0 0 0; H 0 0 0.97", spin=1, basis="def2-svp", verbose=0)),
    lambda: kohn_sham("OH", symmetry=True),
], ids=["bent", "round", "no grid", "symmetry"])
def test_nothing_turns_freely(make):
    mf = make().run()
    assert FreeRotation.of(mf, np.asarray(mf.make_rdm1()), mf.get_hcore()) is None


def test_a_field_across_the_axis_holds_it():
    mf = kohn_sham("OH").run()
    dm, hcore = np.asarray(mf.make_rdm1()), mf.get_hcore()
    dipole = mf.mol.intor("int1e_r")
    assert FreeRotation.of(mf, dm, hcore + 1e-3 * dipole[0]) is None
    assert FreeRotation.of(mf, dm, hcore + 1e-3 * dipole[2]) is not None
