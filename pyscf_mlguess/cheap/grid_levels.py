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
# of qm9_size).  Closed shells of GGAs, whose builds are the cheapest, take 2.0 with one (PBE, twelve distorted
# molecules and eight ions), in nine tenths of the time.
_LEVELS_FINER, _GGA_LEVELS_FINER = 2, 1


def coarse_level(mf: hf.SCF) -> int:
    """The level with which the cheap problem of ``mf`` begins."""
    if getattr(mf, "_numint", None) is None:
        return _GRID_LEVEL
    sensitive = _is_meta_gga(mf) or (_is_open_shell(mf) and LevelOfTheory.of(mf).omega)
    return _SENSITIVE_GRID_LEVEL if sensitive else _GRID_LEVEL


def correcting_level(mf: hf.SCF, coarse: int, again: bool = False) -> int:
    """The level that corrects the solution on level ``coarse``: finer than that, but no finer than the SCF's own.

    again: the second time, which ``corrects_twice`` asks for.
    """
    level = coarse + (_GGA_LEVELS_FINER if corrects_twice(mf) and not again else _LEVELS_FINER)
    return max(coarse + 1, min(level, getattr(getattr(mf, "grids", None), "level", level)))


def corrects_twice(mf: hf.SCF) -> bool:
    """Whether there is a first correction by a coarser grid than what serves others: closed shells of GGAs."""
    return LevelOfTheory.of(mf).is_semilocal and not _is_meta_gga(mf) and not _is_open_shell(mf)


def _is_meta_gga(mf):
    return mf._numint._xc_type(mf.xc) == "MGGA"


def _is_open_shell(mf):
    return isinstance(mf, uhf.UHF) or mf.mol.spin != 0
