"""The auxiliary basis of predicted densities, and one for their changes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.structure import element_numbers

AUXBASIS = "def2-universal-jkfit"
LAST_ELEMENT = 86
# From here on the auxiliary basis describes the valence shells alone.
_FIRST_VALENCE_ONLY = 37
# Three quarters of the functions, made for products of occupied and empty orbitals of a double-zeta basis (Weigend,
# Koehn, Haettig, J. Chem. Phys. 116, 3175 (2002)): enough for what density matrices change by.  Up to neon, for the 2p
# shell of sulphur and chlorine, left to such a basis, takes the two-level SCF a build (B3LYP/def2-SVP).
_CHANGES_AUXBASIS, _LAST_OF_CHANGES = "cc-pvdz-ri", 10
# Orbitals whose products it holds: so many functions of hydrogen and helium, of the others, and twice their smallest
# exponent no less than this share of its own.  Elsewhere gradients of 5e-6 Eh become 2e-5 to 4e-4
# (with def2-svp-ri, which is alike).
_ORBITALS_OF_HYDROGEN, _ORBITALS, _LEAST_EXPONENT = 5, 15, 0.7


def auxiliary_mole(mol: gto.Mole, changes: bool = False) -> gto.Mole:
    """The real atoms of ``mol`` (no ghosts) in the spherical auxiliary basis.

    changes: in a smaller one, where there is one for the orbital basis: for what densities change by, not for what
        they are.
    Raises ValueError for an element beyond radon, for which there is no such basis.
    """
    numbers = element_numbers(mol)
    atoms = np.flatnonzero(numbers > 0)
    coords = mol.atom_coords(unit="Bohr")
    # Atoms that differ in the core that a potential replaces need names of their own.
    names = [f"{ELEMENTS[numbers[i]]}@{mol.atom_nelec_core(i)}" for i in atoms]
    basis = {name: shells(int(numbers[i]), mol.atom_nelec_core(i)) for name, i in zip(names, atoms)}
    if changes:
        # Atoms of one element may differ in their orbitals.
        smaller = {i: found for i in atoms if (found := _shells_of_changes(mol, i, int(numbers[i])))}
        names = [name + "*" * (i in smaller) for name, i in zip(names, atoms)]
        basis.update((name, smaller[i]) for name, i in zip(names, atoms) if i in smaller)
    auxmol = gto.Mole(atom=[(name, coords[i]) for name, i in zip(names, atoms)], unit="Bohr", basis=basis)
    auxmol.spin, auxmol.verbose, auxmol.max_memory = None, 0, mol.max_memory
    return auxmol.build(dump_input=False, parse_arg=False)


def _shells_of_changes(mol, atom, number):
    """Those of the smaller basis; None where the atom has more orbitals than it is for, or more diffuse ones."""
    orbitals, (first, last) = mol.atom_shell_ids(atom), mol.aoslice_by_atom()[atom, 2:]
    most = _ORBITALS_OF_HYDROGEN if number <= 2 else _ORBITALS
    if number > _LAST_OF_CHANGES or not 0 < last - first <= most:
        return None
    found = gto.basis.load(_CHANGES_AUXBASIS, ELEMENTS[number])
    least = min(exponent for shell in found if shell[0] == 0 for exponent, *_ in shell[1:])
    return found if 2 * min(mol.bas_exp(k).min() for k in orbitals) > _LEAST_EXPONENT * least else None


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
