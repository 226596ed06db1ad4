"""Whether a converged SCF has ended in a minimum, by PySCF's own stability analysis."""

from __future__ import annotations

import warnings

import numpy as np
from pyscf import lib, scf

# What PySCF asks the Davidson solver for.
_ROOTS = 3


def is_stable(mf: scf.hf.SCF) -> bool | None:
    """False where a rotation of the orbitals within ``mf``'s own class lowers the energy (internal instability).

    PySCF's Davidson iterations start from a vector that is as symmetric as the orbitals, and so miss every rotation of
    another symmetry: of a spin-symmetric UHF solution of stretched H2 they find nothing.  Where they find nothing it is
    asked again with random signs of the orbitals, the same state and a start without symmetry.
    mf: converged, with whole occupations.  It stays as it is.
    Returns None, with a RuntimeWarning, where the analysis fails (a functional without a second derivative).
    """
    rotations = _number_of_rotations(mf)
    if not rotations:
        return True
    turned = mf.copy()
    coefficients = np.asarray(mf.mo_coeff)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (*coefficients.shape[:-2], 1, coefficients.shape[-1]))
    turned.mo_coeff = _tagged_like(mf.mo_coeff, coefficients * signs)
    try:
        return all(bool(state.stability(return_status=True, nroots=min(_ROOTS, rotations))[2])
                   for state in (mf, turned))
    except Exception as error:  # one analysis that fails must not end the suite
        warnings.warn(f"no stability analysis: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)
        return None


def _number_of_rotations(mf):
    """Number of independent rotations between orbitals of different occupation, and with symmetry of equal irreps."""
    occupations = np.atleast_2d(mf.mo_occ)
    irreps = np.broadcast_to(getattr(mf.mo_coeff, "orbsym", 0), occupations.shape)
    rotated = occupations[:, :, None] != occupations[:, None, :]
    return int(np.sum(rotated & (irreps[:, :, None] == irreps[:, None, :]))) // 2


def _tagged_like(original, coefficients):
    orbsym = getattr(original, "orbsym", None)
    return coefficients if orbsym is None else lib.tag_array(coefficients, orbsym=orbsym)
