"""Predictions that a perfect model would make: blocks of converged density matrices, and of what converged Fock
matrices differ by from those of free atoms."""

from functools import lru_cache

import numpy as np
import pytest
from conftest import WATER
from pyscf import gto, scf

from pyscf_mlguess.blocks import Blocks
from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.predictions import AuxiliaryDensity, DensityBlocks, FockBlocks
from pyscf_mlguess.routes.auxiliary_fock import AuxiliaryFock

KINDS = [DensityBlocks, FockBlocks]


def molecule(atom=WATER, basis="def2-svp", **kwargs):
    return gto.M(atom=atom, basis=basis, verbose=0, **kwargs)


def overlap_root(mol):
    values, vectors = np.linalg.eigh(mol.intor_symmetric("int1e_ovlp"))
    return (vectors * np.sqrt(values)) @ vectors.T


def density_blocks(mol, dm, basis="def2-svp"):
    """Of a density matrix in the reference basis, which is that of ``mol``: (nao, nao) or (2, nao, nao)."""
    dm, root = np.asarray(dm), overlap_root(mol)
    return blocks_of(DensityBlocks, mol, root @ (dm if dm.ndim == 2 else dm.sum(axis=0)) @ root, basis)


def fock_blocks(mf, fock=None, basis="def2-svp"):
    """Of a Fock matrix (default: its own) in the basis of ``mf``, which is the reference; of two, their mean."""
    fock, root = np.asarray(mf.get_fock() if fock is None else fock), overlap_root(mf.mol)
    difference = (fock if fock.ndim == 2 else fock.mean(axis=0)) - fock_of_free_atoms(mf)
    inverse = np.linalg.inv(root)
    return blocks_of(FockBlocks, mf.mol, inverse @ difference @ inverse, basis)


def fock_of_free_atoms(mf):
    """That of the Fock route for no difference: from as many electrons as ``mf`` has, on the route's grid."""
    fitting = DensityFitting(mf.mol)
    coefficients = fitting.restore_electron_count(free_atom_coefficients(fitting.auxmol), mf.mol.nelectron)
    potential = SemilocalPotential.of(mf, exchange_known=True)
    return mf.get_hcore() + AuxiliaryFock(fitting, potential).matrix(coefficients)[0]


def blocks_of(kind, mol, matrix, basis="def2-svp"):
    """A prediction of this matrix; that of a Fock matrix' difference goes with free atoms."""
    density = (AuxiliaryDensity.free_atoms(mol.natm),) if kind is FockBlocks else ()
    return kind(basis, Blocks.split((matrix + matrix.T) / 2, mol, np.inf), np.zeros(mol.natm), *density)


def converged(mf):
    """``mf`` converged so far that its density and Fock matrix commute to 1e-9."""
    mf.conv_tol, mf.conv_tol_grad = 1e-13, 1e-9
    return mf.run()


def oracle(kind, mf, basis="def2-svp"):
    """What a perfect model predicts of a converged SCF object."""
    return (density_blocks(mf.mol, mf.make_rdm1(), basis) if kind is DensityBlocks
            else fock_blocks(mf, basis=basis))


@lru_cache(maxsize=None)
def solution(atoms=WATER, kind=scf.RHF, spin=0, potentials=()):
    """A converged SCF object in the reference basis, shared by the tests."""
    return converged(kind(molecule(atoms, spin=spin, ecp=dict(potentials))))


def spins(dm):
    """Density matrix of each spin; of a closed shell, one of both."""
    return [np.asarray(dm) / 2] if np.ndim(dm) == 2 else np.asarray(dm)


def check_determinant(mf, dm):
    """Electron counts and idempotency of both spins, and tags that are true."""
    ovlp = mf.get_ovlp()
    assert dm.shape == mf.get_init_guess(key="minao").shape
    assert [np.trace(d @ ovlp) for d in spins(dm)] == pytest.approx(list(mf.mol.nelec)[: len(spins(dm))], abs=1e-10)
    for d in spins(dm):
        assert d @ ovlp @ d == pytest.approx(d, abs=1e-10)
    assert np.asarray(mf.make_rdm1(dm.mo_coeff, dm.mo_occ)) == pytest.approx(np.asarray(dm), abs=1e-12)
