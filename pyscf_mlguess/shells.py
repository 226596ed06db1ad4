"""Atomic-orbital and auxiliary shells <-> irreps of O(3): the only table of orders and signs.

Inside the package a function of angular momentum l has its 2l+1 components in
the order of e3nn with the axes of PySCF: real spherical harmonics, m = -l..l,
that is e3nn's harmonics evaluated at (y, z, x).  PySCF agrees with this for
l = 0 and l >= 2 and stores p functions as (x, y, z) instead of (y, z, x).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from pyscf import gto

LMAX = 6

# PYSCF_ORDER[1][k] is the position, within PySCF's p shell, of the package's component k.
_P_ORDER = np.array([1, 2, 0])


def component_order(l: int) -> np.ndarray:
    """Positions within PySCF's spherical shell of the package's components m = -l..l, shape (2l+1,)."""
    return _P_ORDER if l == 1 else np.arange(2 * l + 1)


def irrep_indices(mol: gto.Mole) -> list[dict[int, np.ndarray]]:
    """Where the irreps of each atom stand among PySCF's spherical functions.

    Returns, for every atom, ``{l: index}`` with ``index`` of shape (n_l, 2l+1):
    ``vector[index]`` are the components of the n_l radial functions of that l,
    in the order in which PySCF lists them (general contractions expanded).
    """
    ao_loc = mol.ao_loc_nr(cart=False)
    found: list[dict[int, list[np.ndarray]]] = [{} for _ in range(mol.natm)]
    for shell in range(mol.nbas):
        l = mol.bas_angular(shell)
        order = component_order(l)
        for contraction in range(mol.bas_nctr(shell)):
            start = ao_loc[shell] + contraction * (2 * l + 1)
            found[mol.bas_atom(shell)].setdefault(l, []).append(start + order)
    return [{l: np.array(rows) for l, rows in sorted(atom.items())} for atom in found]


@lru_cache(maxsize=None)
def _cartesian_to_irrep(l: int) -> np.ndarray:
    """Cartesian monomials of degree l (PySCF's order) -> components, shape (ncart, 2l+1)."""
    table = gto.cart2sph(l, normalized="sp")[:, component_order(l)]
    # e3nn's "component" normalisation up to one factor per l: sum_m Y_lm(r)^2 = 1 on the unit sphere.
    probe = _monomials(np.array([[0.36, 0.48, 0.8]]), l) @ table
    return table / np.linalg.norm(probe)


def _monomials(vectors: np.ndarray, l: int) -> np.ndarray:
    x, y, z = vectors.T
    powers = [(i, j, l - i - j) for i in range(l, -1, -1) for j in range(l - i, -1, -1)]
    return np.stack([x**i * y**j * z**k for i, j, k in powers], axis=-1)


def real_spherical_harmonics(unit_vectors: np.ndarray, l: int) -> np.ndarray:
    """Real spherical harmonics with sum_m Y_lm^2 = 1, shape (n, 2l+1).

    ``unit_vectors`` has shape (n, 3); components as everywhere in the package.
    """
    return _monomials(unit_vectors, l) @ _cartesian_to_irrep(l)
