"""The auxiliary basis of predicted densities."""

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
