"""Free, spherically averaged atoms as fitted densities."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS
from pyscf.scf import atom_hf

from pyscf_mlguess.density_fitting.auxiliary_basis import shells
from pyscf_mlguess.density_fitting.fitting import DensityFitting


def free_atom_coefficients(auxmol: gto.Mole) -> np.ndarray:
    """Superposed free, spherically averaged atoms as coefficients in ``auxmol``, shape (naux,).

    ``auxmol`` comes from ``auxiliary_mole``: its atoms carry the number of core electrons
    that a potential replaces, and these are left out of the density.  The atomic
    densities are those of PySCF's minao guess (occupied ANO functions).
    """
    coefficients = np.zeros(auxmol.nao)
    for atom, (start, stop) in enumerate(auxmol.aoslice_by_atom()[:, 2:]):
        symbol, core = auxmol.atom_symbol(atom).split("@")
        coefficients[start:stop] = free_atom(gto.charge(symbol), int(core))
    return coefficients


@lru_cache(maxsize=None)
def free_atom(number: int, core: int) -> np.ndarray:
    """Coefficients of one free atom with its valence electrons only, shape (naux of the atom,)."""
    symbol = ELEMENTS[number]
    core_shells = gto.ecp.core_configuration(core, atom_symbol=symbol)
    basis, occupations = [], []
    for shell in gto.basis.load("ano", symbol):
        l = shell[0]
        full, fraction = atom_hf.frac_occ(symbol, l) if l < 4 else (0, 0.0)
        count = full + (fraction > 0)
        if count <= core_shells[l] if l < 4 else True:
            continue
        basis.append([l] + [[row[0], *row[1 + core_shells[l] : 1 + count]] for row in shell[1:]])
        occupations += [2.0] * ((full - core_shells[l]) * (2 * l + 1)) + [fraction] * ((count - full) * (2 * l + 1))
    if not basis:
        return np.zeros(_atom_mole(symbol, shells(number, core)).nao)
    fitting = DensityFitting(_atom_mole(symbol, basis), _atom_mole(symbol, shells(number, core)))
    fitted = fitting.metric.solve(fitting.project(np.diag(occupations)))
    return fitting.restore_electron_count(np.where(fitting.charges == 0, 0.0, fitted), sum(occupations))


def _atom_mole(symbol: str, basis) -> gto.Mole:
    return gto.M(atom=[(symbol, (0.0, 0.0, 0.0))], basis={symbol: list(basis)}, spin=None, verbose=0)
