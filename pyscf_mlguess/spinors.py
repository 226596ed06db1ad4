"""Generalised, two-component and Dirac SCF: they start from the density matrix of real orbitals of both spins."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from pyscf import dft, scf
from pyscf.dft.rks import KohnShamDFT
from pyscf.scf import dhf, ghf, hf
from pyscf.x2c import x2c

from pyscf_mlguess.refusal import Refusal

_CLASSES = (ghf.GHF, dhf.DHF, x2c.SCF)
# From spins along z to spins along x, where PySCF's own guesses have them.
_TURN = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)


def real(mf: hf.SCF) -> hf.SCF:
    """The UHF or UKS object whose guess ``mf`` starts from, or ``mf`` itself where its own orbitals are real.

    That of a relativistic object has spin-free X2C.  What surrounds the molecule (solvent, point charges) is left out.
    Raises Refusal where the core Hamiltonian or the overlap is the user's own, and for spinors of cartesian functions.
    """
    if not isinstance(mf, _CLASSES):
        return mf
    for name in ("get_hcore", "get_ovlp"):
        if name in vars(mf):
            raise Refusal(f"{type(mf).__name__} with a {name} of its own, which real orbitals cannot be asked for")
    if mf.mol.cart and not isinstance(mf, ghf.GHF):
        raise Refusal("spinors of cartesian functions, for which PySCF has no projection")
    if isinstance(mf, KohnShamDFT):
        found = dft.uks.UKS(mf.mol, xc=mf.xc)
        found.grids.level, found.nlc, found.disp = mf.grids.level, mf.nlc, mf.disp
        if mf.omega is not None:
            found.omega = mf.omega
    else:
        found = scf.uhf.UHF(mf.mol)
    found.verbose, found.stdout, found.max_memory, found.conv_tol = mf.verbose, mf.stdout, mf.max_memory, mf.conv_tol
    found.init_guess_breaksym = 1
    return found.sfx2c1e() if _relativistic(mf) else found


def matrix(mf: hf.SCF, dm: np.ndarray) -> np.ndarray:
    """The density matrix (2, nao, nao) of alpha and beta orbitals in the basis of ``mf``.

    (2 nao, 2 nao), alpha before beta, for GHF; (n2c, n2c) in j-adapted spinors for two-component X2C;
    (2 n2c, 2 n2c), without small components, as PySCF's own guesses, for Dirac's classes.  Where spin-orbit coupling
    makes a difference, spins lie along x: how they turn to where they are lowest hardly changes the energy, and an SCF
    stops on the way.
    """
    both = scipy.linalg.block_diag(*dm)
    if _relativistic(mf) or getattr(mf, "with_soc", None):
        turn = np.kron(_TURN, np.eye(dm.shape[-1]))
        both = turn @ both @ turn.T
    if isinstance(mf, ghf.GHF):
        return both
    # |spinor> = |spin orbital> W with a square W: in spinors, D is W^-1 D W^-H.
    # Complex, also for s functions alone: PySCF gives J and K the type of D.
    inverse = np.linalg.inv(np.vstack(mf.mol.sph2spinor_coeff())).astype(complex)
    large = inverse @ both @ inverse.conj().T
    if isinstance(mf, x2c.SCF):
        return large
    return scipy.linalg.block_diag(large, np.zeros_like(large))


def _relativistic(mf):
    return isinstance(mf, (dhf.DHF, x2c.SCF)) or bool(getattr(mf, "with_x2c", None))
