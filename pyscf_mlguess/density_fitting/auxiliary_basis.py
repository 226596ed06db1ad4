"""The auxiliary basis of a molecule's density, and free atoms expressed in it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS
from pyscf.scf import atom_hf

from pyscf_mlguess.structure import element_numbers

AUXBASIS = "def2-universal-jkfit"
LAST_ELEMENT = 86
# From here on the auxiliary basis describes the valence shells alone.
_FIRST_VALENCE_ONLY = 37


def auxiliary_mole(mol: gto.Mole) -> gto.Mole:
    """The real atoms of ``mol`` (no ghosts) in the spherical auxiliary basis.

    Raises ValueError for an element beyond radon, for which there is no such basis.
    """
    numbers = element_numbers(mol)
    atoms = np.flatnonzero(numbers > 0)
    coords = mol.atom_coords(unit="Bohr")
    # Atoms that differ in the core that a potential replaces need names of their own.
    names = [f"{ELEMENTS[numbers[i]]}@{mol.atom_nelec_core(i)}" for i in atoms]
    basis = {name: shells(int(numbers[i]), mol.atom_nelec_core(i)) for name, i in zip(names, atoms)}
    auxmol = gto.Mole(atom=[(name, coords[i]) for name, i in zip(names, atoms)], unit="Bohr", basis=basis)
    auxmol.spin, auxmol.verbose, auxmol.max_memory = None, 0, mol.max_memory
    return auxmol.build(dump_input=False, parse_arg=False)


@lru_cache(maxsize=None)
def shells(number: int, core: int) -> tuple:
    """Auxiliary shells of one element in PySCF's internal format.

    Elements whose auxiliary basis leaves out the core get additional steep s
    functions when no potential replaces that core.
    """
    if number > LAST_ELEMENT:
        raise ValueError(f"no auxiliary basis for element {number}; {AUXBASIS} ends at {LAST_ELEMENT}")
    found = gto.basis.load(AUXBASIS, ELEMENTS[number])
    if number >= _FIRST_VALENCE_ONLY and core == 0:
        steepest = max(shell[1][0] for shell in found if shell[0] == 0)
        count = int(np.ceil(np.log(4.0 * number**3 / steepest) / np.log(2.2)))
        found = [[0, [steepest * 2.2 ** (k + 1), 1.0]] for k in range(count)] + found
    return tuple(found)


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
    from pyscf_mlguess.routes.auxiliary_fock import AuxiliaryProblem

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
    problem = AuxiliaryProblem(_atom_mole(symbol, basis), _atom_mole(symbol, shells(number, core)))
    fitted = problem.solve_metric(problem.project(np.diag(occupations)))
    return problem.restore_electron_count(np.where(problem.charges == 0, 0.0, fitted), sum(occupations))


def _atom_mole(symbol: str, basis) -> gto.Mole:
    return gto.M(atom=[(symbol, (0.0, 0.0, 0.0))], basis={symbol: list(basis)}, spin=None, verbose=0)
