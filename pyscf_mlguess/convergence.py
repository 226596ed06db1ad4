"""When an SCF is done: an upper bound, in practice, of the energy that is still to be gained, from one Fock matrix."""

from __future__ import annotations

import numpy as np
from pyscf.scf import chkfile, hf

from pyscf_mlguess.cheap.determinant import Determinant
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.parallel import single_blas
from pyscf_mlguess.scf_copy import ScfCopy, entropy_energy

# The second-order energy is that of orbitals that do not answer to their own change.  The answer of the other electrons
# multiplied it by 1.5 at most in `mlguess bench --suite convergence`, as far as errors were above rounding (18 of 77
# stops).
_SAFETY = 5.0
# Curvatures (Eh) are taken for at least this much.
_LEAST_CURVATURE = 0.02


def energy_error(problem: CheapProblem, dm: np.ndarray, fock: np.ndarray) -> float:
    """How far (Eh) the energy of ``dm`` may be from the SCF's solution nearby.

    dm: density matrix of PySCF's shapes; fock: its real Fock matrix, or that of every spin, as ``mf.get_fock`` gives
    it.  It is 5 |tr F (D' - D)|, D' the density matrix of the orbitals of F.  For small gradients and orbitals that are
    filled or empty the trace is the second-order energy, sum_ia 2 F_ia^2 / (e_a - e_i) of closed shells; with
    fractional occupations that of the entropy is added.  It holds where orbitals do not turn almost freely; the
    orientation of an open shell that only the grid holds is that of ``cheap.orientation``.
    """
    change, _ = relaxed(problem.scf, dm, fock)
    return _SAFETY * (abs(change) + abs(problem.scf.entropy_energy() - entropy_energy(problem.mf)))


def relaxed(scf: ScfCopy, dm: np.ndarray, fock: np.ndarray) -> tuple[float, np.ndarray]:
    """tr F (D' - D) (Eh) and D', the density matrix of the orbitals of F: what electrons gain that do not answer.

    dm, fock: as in ``energy_error``.
    """
    spins = scf.spins(fock)
    with single_blas():
        _, coefficients, occupations = scf.orbitals(np.asarray(fock), spins)
        after = np.asarray(scf.density_matrix(coefficients, occupations))
    return float(np.vdot(spins, after - np.asarray(dm))), after


def energy_error_of_rotations(determinant: Determinant, fock: np.ndarray) -> float:
    """As ``energy_error``, for whole occupations that need not be the lowest levels: five times sum_x g_x^2 / h_x.

    Where they are the lowest it is twice ``energy_error``.  g, h: gradient and curvature of independent electrons by
    the free rotations (Eh).  fock: that of every spin.
    """
    canonical, _ = determinant.canonical(fock)
    curvature = np.maximum(np.abs(canonical.curvature(fock)), _LEAST_CURVATURE)
    return float(_SAFETY * (canonical.gradient(fock) ** 2 / curvature).sum())


def energy_error_of_potential(hcore: np.ndarray, before: tuple[np.ndarray, np.ndarray],
                              after: tuple[np.ndarray, np.ndarray], change: float, left: float) -> float:
    """As ``energy_error``, of what was added to the potential and not to the energy, a constraint say: of first order.

    Five times ``left`` times how far (Eh) the change of the energy is from what the Fock matrices say of it,
    tr (F + F') (D' - D) / 2, which is right to the third order where they are the energy's derivatives.
    before, after: density matrix and effective potential, PySCF's shapes.  left: the share of the gradient that is
    left after the change.
    """
    (dm, potential), (next_dm, next_potential) = (map(np.asarray, pair) for pair in (before, after))
    explained = np.vdot(hcore + (potential + next_potential) / 2, next_dm - dm)
    return _SAFETY * left * abs(change - float(explained))


def canonicalize(mf: hf.SCF, fock: np.ndarray) -> None:
    """Make ``mf``'s orbitals canonical for ``fock``, the Fock matrix of its density matrix, which stays as it is.

    For a linear molecule with its full symmetry it is that of ``fock``'s own orbitals, as in PySCF.
    """
    occupations = np.asarray(mf.mo_occ)
    whole = (0, 1, 2) if occupations.ndim == 1 else (0, 1)
    if mf.mol.symmetry and mf.mol.groupname in ("Dooh", "Coov"):
        # Only there does PySCF keep degenerate pairs degenerate, which the grid is not.
        mf.mo_energy, mf.mo_coeff = mf.eig(fock, mf.get_ovlp())
        mf.mo_occ = mf.get_occ(mf.mo_energy, mf.mo_coeff)
    elif np.isin(occupations, whole).all():
        mf.mo_energy, mf.mo_coeff = mf.canonicalize(mf.mo_coeff, mf.mo_occ, fock)
    else:
        # No two orbitals have the same occupation, and turning them would change the density matrix.
        mf.mo_energy = np.einsum("...pi,...pq,...qi->...i", mf.mo_coeff, fock, mf.mo_coeff)
    if mf.chkfile:
        chkfile.dump_scf(mf.mol, mf.chkfile, mf.e_tot, mf.mo_energy, mf.mo_coeff, mf.mo_occ, overwrite_mol=False)
