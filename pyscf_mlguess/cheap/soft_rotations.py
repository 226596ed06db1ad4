"""Frontier orbitals that turn almost freely into each other: open shells of atoms and of linear molecules.

Their orientation is decided by the grid, and the coarse one decides otherwise than the SCF's: the energy would end up to
1e-6 Eh above that of an SCF without us, with gradients that look converged all along.
"""

from __future__ import annotations

import numpy as np

from pyscf_mlguess.cheap.anderson import Point
from pyscf_mlguess.cheap.problem import CheapProblem

# Pairs of orbitals with a larger gap (Eh) are not looked at: open p shells of atoms have 0.01 to 0.05.
_NEAR = 0.06
# Curvature of the energy along a rotation, over that of orbitals whose potential does not answer.  Free rotations had
# 0.09 to 0.36 (p shells; hydroxyl, CH, NO, superoxide), bound ones 0.77 and more (radicals, metal oxides).
_SOFT = 0.5
_ANGLE = 0.05


def soft_rotation(problem: CheapProblem, point: Point, fock: np.ndarray) -> str | None:
    """What turns almost freely at the solution ``point``, in words for the user; None where all is held.

    fock: Fock matrix of every spin there.  Costs one cheap Fock matrix for every spin with a frontier gap below 0.06 Eh,
    and nothing with fractional occupations, where no orbital is chosen.
    """
    effective = problem.effective(fock, point.state)
    _, coefficients, occupations = problem.scf.orbitals(effective, fock)
    coefficients, spins = np.asarray(coefficients), _spin_occupations(np.asarray(occupations))
    if not np.isin(spins, (0, 1)).all():
        return None
    shared = coefficients.ndim == 2
    focks = [fock] * 2 if fock.ndim == 2 else fock
    for spin in (0, 1) if fock.ndim == 3 else (0,):
        orbitals = coefficients if shared else coefficients[spin]
        energies = np.einsum("pi,pq,qi->i", orbitals, focks[spin], orbitals)
        filled = spins[spin] == 1
        if filled.all() or not filled.any():
            continue
        pair = (np.flatnonzero(filled)[energies[filled].argmax()], np.flatnonzero(~filled)[energies[~filled].argmin()])
        gap = energies[pair[1]] - energies[pair[0]]
        turning = [s for s in (0, 1) if spins[s][pair[0]] != spins[s][pair[1]]] if shared else [spin]
        if gap < _NEAR and _softness(problem, point, focks, orbitals[:, pair], turning, spins[:, pair]) < _SOFT:
            return (f"{('alpha', 'beta')[spin]} orbitals {pair[0]} and {pair[1]} (gap {gap:.3f} Eh) "
                    "turn almost freely into each other")
    return None


def _spin_occupations(occupations):
    """(2, norb) of 0 and 1 (or fractions) from any of PySCF's conventions."""
    if occupations.ndim == 2:
        return occupations
    if np.isin(occupations, (0, 1, 2)).all():
        return np.array([occupations > 0, occupations > 1], dtype=float)
    return np.array([occupations / 2] * 2)


def _softness(problem, point, focks, pair, turning, occupations):
    """Curvature along the rotation of ``pair`` (nao, 2) in the spins ``turning``, over that at fixed potential."""
    turned = pair @ np.array([[np.cos(_ANGLE), -np.sin(_ANGLE)], [np.sin(_ANGLE), np.cos(_ANGLE)]])
    dm = np.array(point.state.dm)
    densities = np.array([dm / 2] * 2) if dm.ndim == 2 else dm
    for spin in turning:
        difference = occupations[spin][0] - occupations[spin][1]
        densities[spin] += difference * (np.outer(turned[:, 0], turned[:, 0]) - np.outer(pair[:, 0], pair[:, 0]))
    answered = problem.fock(problem.state_of(densities.sum(axis=0) if dm.ndim == 2 else densities))
    answered = [answered] * 2 if answered.ndim == 2 else answered
    curvature = fixed = 0.0
    for spin in turning:
        difference = occupations[spin][0] - occupations[spin][1]
        fixed += difference * (turned[:, 0] @ focks[spin] @ turned[:, 1] - pair[:, 0] @ focks[spin] @ pair[:, 1])
        curvature += difference * (turned[:, 0] @ answered[spin] @ turned[:, 1] - pair[:, 0] @ focks[spin] @ pair[:, 1])
    return curvature / fixed if fixed > 0 else -np.inf
