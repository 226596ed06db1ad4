"""Which of PySCF's grid levels the cheap problem begins with, and which correct its solution."""

from __future__ import annotations

from pyscf.scf import hf, uhf

from pyscf_mlguess.level import LevelOfTheory

# PySCF's grid level for the semilocal part; meta-GGAs feel the coarsest grid (molecules of qm9_size, builds from it
# and the next one: six with r2SCAN 2.0 and 2.0, four with M06-2X 3.8 and 2.0, three with SCAN 4.7 and 3.0; twelve of
# r2SCAN's radicals 2.7 and 2.2), and range-separated functionals where they meet open shells (wB97X-D, twelve radicals:
# 2.6 and 2.0).
_GRID_LEVEL, _SENSITIVE_GRID_LEVEL = 0, 1
# Its solution is corrected by a grid so many levels finer.  With one, wB97X-D takes 2.7, 2.3 and 2.5 builds (molecules
# of qm9_size, ions, distorted ones), with two 2.0, 2.0 and 2.1; r2SCAN takes 2.0 with either, SCAN 3.0 and 2.75 (four
# of qm9_size).  One is enough for closed shells of GGAs where the two-level SCF goes on and watches what the grid
# leaves: PBE, B3LYP and wB97X-D take 2.0.
_FINER, _LITTLE_FINER = 2, 1
# What the coarse grid leaves of the gradient when a real Fock matrix has corrected it, for it answers otherwise to the
# step than the SCF's grid does: at most 0.003 for PBE, B3LYP, r2SCAN and CAM-B3LYP, 0.009 for M06-2X, 0.012 for
# radicals, 0.027 for closed shells with wB97X-D (four molecules each, def2-SVP).
_LEFT, _LEFT_OF_SENSITIVE, _LEFT_OF_RANGE_SEPARATED = 0.003, 0.01, 0.03


def coarse_level(mf: hf.SCF) -> int:
    """The level with which the cheap problem of ``mf`` begins."""
    if getattr(mf, "_numint", None) is None:
        return _GRID_LEVEL
    sensitive = _is_meta_gga(mf) or (_is_open_shell(mf) and LevelOfTheory.of(mf).omega)
    return _SENSITIVE_GRID_LEVEL if sensitive else _GRID_LEVEL


def own_level(mf: hf.SCF, otherwise: int) -> int:
    """The level of the SCF's own grid; ``otherwise`` where it has none."""
    return getattr(getattr(mf, "grids", None), "level", otherwise)


def correcting_levels(mf: hf.SCF, coarse: int, closely: bool) -> list[int]:
    """The levels that correct the solution on level ``coarse``, in turn; finer than that, but no finer than the SCF's.

    closely: for an SCF that does not go on with the cheap problem.  Closed shells of semilocal GGAs are corrected twice
    then, by a grid in between first.
    """
    if _is_meta_gga(mf) or _is_open_shell(mf):
        finer = [_FINER]
    elif LevelOfTheory.of(mf).is_semilocal:
        finer = [_LITTLE_FINER, _FINER] if closely else [_LITTLE_FINER]
    else:
        finer = [_FINER] if closely else [_LITTLE_FINER]
    finest = max(coarse + 1, own_level(mf, coarse + _FINER))
    return [min(coarse + levels, finest) for levels in finer]


def grid_matters(mf: hf.SCF) -> bool:
    """Whether the coarse grid leaves much: of meta-GGAs, open shells and range-separated functionals."""
    return left_by_grid(mf) > _LEFT


def left_by_grid(mf: hf.SCF) -> float:
    """The share of the gradient that the coarse grid leaves to the next real Fock matrix, about, at most."""
    if _is_meta_gga(mf) or _is_open_shell(mf):
        return _LEFT_OF_SENSITIVE
    return _LEFT_OF_RANGE_SEPARATED if LevelOfTheory.of(mf).omega else _LEFT


def _is_meta_gga(mf):
    return getattr(mf, "_numint", None) is not None and mf._numint._xc_type(mf.xc) == "MGGA"


def _is_open_shell(mf):
    return isinstance(mf, uhf.UHF) or mf.mol.spin != 0
