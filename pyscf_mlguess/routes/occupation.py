"""One Fock matrix -> occupied orbitals -> a density matrix with the right electron count and shape.

tr(DS) = N and D S D = 2 D (RHF; D S D = D for each spin of UHF and ROHF) hold by construction,
because D is built from orbitals that the SCF object itself occupies.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from pyscf.scf import rohf, uhf

from pyscf_mlguess.scf_copy import ScfCopy

# Frontier orbitals closer than this (Eh) are filled alike instead of one by one.
DEGENERATE = 1e-3


@dataclass
class Occupied:
    """dm: (nao, nao) or (2, nao, nao); gap: smallest frontier gap (Eh) over the spins."""

    dm: np.ndarray
    gap: float
    notes: list[str] = field(default_factory=list)


def occupy(scf: ScfCopy, fock: np.ndarray, break_spin_symmetry: bool = True) -> Occupied:
    """Diagonalise ``fock`` (nao, nao) and occupy through the SCF object's own methods.

    Symmetry, smearing, fixed irreps and linear dependence are therefore those of ``scf.mf``.  Both
    spins of UHF come from the same Fock matrix; ``init_guess_breaksym`` is honoured unless the caller says no.
    """
    mf, unrestricted = scf.mf, isinstance(scf.mf, uhf.UHF)
    energies, coefficients, occupations = scf.orbitals(np.array((fock, fock)) if unrestricted else fock)
    gap = frontier_gap(energies, occupations) if not _smeared(mf) else np.inf
    if gap < DEGENERATE and not _fixed_irreps(mf):
        # No orbital tags: they would claim integer occupations to whoever reads them.
        dm = np.array(scf.density_matrix(coefficients, spread_over_degenerate(energies, occupations)))
        notes = [f"frontier gap {gap:.1e} Eh: fractional occupation"]
    else:
        dm, notes = scf.density_matrix(coefficients, occupations), []
    if break_spin_symmetry and unrestricted and mf.init_guess_breaksym and mf.mol.spin == 0:
        dm = np.array(uhf._break_dm_spin_symm(mf.mol, dm, mf.init_guess_breaksym))
        notes.append(f"spin symmetry broken (init_guess_breaksym = {mf.init_guess_breaksym!r})")
    return Occupied(dm, gap, notes)


def occupy_spins(scf: ScfCopy, focks: np.ndarray, dm: np.ndarray) -> Occupied:
    """``occupy`` for Fock matrices (2, nao, nao) of either spin, of UHF or ROHF objects.

    dm: (2, nao, nao) of the orbitals that the open shells of ROHF are told from.
    """
    if scf.restricted_open:
        found = scf.orbitals(np.asarray(rohf.get_roothaan_fock(focks, dm, scf.ovlp)), focks)
    else:
        found = scf.orbitals(focks)
    return Occupied(scf.density_matrix(*found[1:]), frontier_gap(found[0], found[2]))


def frontier_gap(mo_energy: np.ndarray, mo_occ: np.ndarray) -> float:
    """Smallest lowest-empty minus highest-filled energy (Eh); both spins of UHF, both shells of ROHF."""
    gaps = [np.inf]
    for energies, occupations in _spin_channels(mo_energy, mo_occ):
        filled, empty = energies[occupations > 0], energies[occupations == 0]
        if len(filled) and len(empty):
            gaps.append(float(empty.min() - filled.max()))
    return min(gaps)


def spread_over_degenerate(mo_energy: np.ndarray, mo_occ: np.ndarray) -> np.ndarray:
    """Occupations with the electrons of each degenerate frontier shared equally, shape of ``mo_occ``."""
    spread = []
    for energies, occupations in _spin_channels(mo_energy, mo_occ):
        occupations = occupations.astype(float)
        filled, empty = np.flatnonzero(occupations > 0), np.flatnonzero(occupations == 0)
        if len(filled) and len(empty):
            middle = (energies[filled].max() + energies[empty].min()) / 2
            shell = np.abs(energies - middle) < DEGENERATE
            occupations[shell] = occupations[shell].mean() if shell.any() else 0
        spread.append(occupations)
    return np.array(spread) if np.ndim(mo_energy) == 2 else sum(spread)


def _spin_channels(mo_energy, mo_occ):
    if np.ndim(mo_occ) == 2:
        return list(zip(np.asarray(mo_energy), np.asarray(mo_occ)))
    energies, occupations = np.asarray(mo_energy), np.asarray(mo_occ)
    if np.any(occupations == 1):
        return [(energies, (occupations > 0).astype(float)), (energies, (occupations > 1).astype(float))]
    return [(energies, occupations)]


def _smeared(mf) -> bool:
    return bool(getattr(mf, "sigma", None))


def _fixed_irreps(mf) -> bool:
    return bool(getattr(mf, "irrep_nelec", None)) or isinstance(mf, rohf.ROHF)
