"""Orbitals of their own for both spins: what the spin density adds to one Fock matrix for both.

A model predicts the density of all electrons.  In its Fock matrix alpha and beta orbitals are the same, and the first
cycles of a radical's SCF go into their difference.  Here half of the difference of the spins' potentials is added to
one spin and taken from the other, some times, while their mean stays what was predicted: charge answers to a Fock
matrix of its own by more than it was wrong, spin by less.
"""

from __future__ import annotations

import numpy as np

from pyscf_mlguess.cheap.coarse_grid import CoarseGrid
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.memory import free_mb
from pyscf_mlguess.routes.occupation import DEGENERATE, Occupied, occupy_spins
from pyscf_mlguess.scf_copy import ScfCopy

# After one, three and five of them radicals take 0.78, 0.72 and 0.68 of minao's cycles, without any 0.82 (PBE, eight
# molecules, grid level 1).  Four: with five the hole of one of ten radicals, which turns almost freely, ends 1e-8 Eh
# above, and PySCF's last look at it fails (grid level 3).
ITERATIONS = 4
_GRID_LEVEL = 0
# Of the memory that the SCF object leaves, for functions on the grid.
_GRID_SHARE = 0.25


def polarised(scf: ScfCopy, potential: SemilocalPotential, fock: np.ndarray, common: Occupied) -> Occupied:
    """The occupied orbitals of both spins.

    potential: exchange and correlation, with a stand-in for what is not semilocal.  fock: (nao, nao) Eh, the mean of
    both spins.  common: its occupied orbitals, which stay where the unpaired electrons are shared out among orbitals
    of the same energy.
    """
    if common.gap < DEGENERATE:
        return common
    kind = "LDA" if all(potential.numint._xc_type(xc) == "LDA" for _, xc in potential.terms) else "GGA"
    grid = CoarseGrid(scf.mf.mol, kind, _GRID_LEVEL, free_mb(scf.mf) * _GRID_SHARE)
    dm = np.asarray(common.dm)
    for _ in range(ITERATIONS):
        alpha, beta = grid.potential(potential.numint, potential.terms, dm)[1]
        difference = (alpha - beta) / 2
        occupied = occupy_spins(scf, np.array((fock + difference, fock - difference)), dm)
        dm = np.asarray(occupied.dm)
    occupied.notes = common.notes
    return occupied
