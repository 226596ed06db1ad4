"""Molecules and helpers that several tests share."""

import logging

import numpy as np
import pytest
from pyscf import ao2mo, gto, scf
from scipy.spatial.transform import Rotation

WATER = "O 0.00 0.00 0.00; H 0.00 0.76 0.59; H 0.00 -0.76 0.59"
# Formamide with every atom off any plane or axis: no accidental symmetry.
FORMAMIDE = """
C   0.16  -0.39   0.04
O   1.19   0.24  -0.09
N  -1.08   0.16   0.13
H   0.14  -1.49   0.02
H  -1.18   1.16  -0.07
H  -1.90  -0.42   0.21
"""


@pytest.fixture
def formamide():
    return gto.M(atom=FORMAMIDE, basis="def2-svp", verbose=0)


@pytest.fixture
def water():
    return gto.M(atom=WATER, basis="def2-svp", verbose=0)


@pytest.fixture
def rotation():
    """A proper rotation, (3, 3): new positions are ``positions @ rotation.T``."""
    return Rotation.from_euler("zyx", [0.3, 1.1, -2.0]).as_matrix()


@pytest.fixture(scope="session")
def cluster():
    """Two Dask workers that come back when they are killed; a task under which one dies is not tried again."""
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        started = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None,
                                           scheduler_kwargs={"dashboard_address": ":0"}, silence_logs=logging.CRITICAL)
    with started:
        yield started


def irrep_rotation(l, rotation):
    """How the package's components of angular momentum l transform, shape (2l+1, 2l+1); an inversion gives (-1)^l."""
    from pyscf_mlguess.shells import real_spherical_harmonics

    points = np.random.default_rng(0).normal(size=(60, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    # Y(R r) = D Y(r) at many points determines D.
    before, after = (real_spherical_harmonics(r, l) for r in (points, points @ rotation.T))
    return np.linalg.lstsq(before, after, rcond=None)[0].T


def ao_rotation(mol, rotation):
    """How spherical AO (or auxiliary) vectors of ``mol`` transform, shape (nao, nao)."""
    from pyscf_mlguess.shells import irrep_indices

    result = np.zeros((mol.nao, mol.nao))
    for atom in irrep_indices(mol):
        for l, rows in atom.items():
            wigner = irrep_rotation(l, rotation)
            for index in rows:
                result[np.ix_(index, index)] = wigner
    return result


def broken_symmetry(mol):
    """A start for H2 with spin up on one atom and down on the other, (2, nao, nao)."""
    total = scf.hf.init_guess_by_minao(mol)
    half = mol.nao // 2
    dm = np.zeros((2, mol.nao, mol.nao))
    dm[0, :half, :half], dm[1, half:, half:] = total[:half, :half], total[half:, half:]
    return dm


def hubbard():
    """Six sites that are no atoms: integrals of the user's own."""
    model = gto.M(verbose=0)
    model.nelectron, model.incore_anyway, model.nao = 6, True, 6
    mf = scf.RHF(model)
    mf.get_hcore, mf.get_ovlp = lambda *_: -np.eye(6, k=1) - np.eye(6, k=-1), lambda *_: np.eye(6)
    repulsion = np.zeros((6,) * 4)
    np.einsum("iiii->i", repulsion)[:] = 2.0
    mf._eri = ao2mo.restore(8, repulsion, 6)
    return mf


@pytest.fixture
def taking_part(monkeypatch):
    """The two-level SCF takes part whatever its cost estimate says: Hartree-Fock of small molecules would not."""
    monkeypatch.setattr("pyscf_mlguess.two_level_scf.stays_out", lambda mf: None)
