"""A matrix of atomic orbitals <-> blocks of atoms and pairs of atoms.

Matrices are real and symmetric.  In a block, an atom's functions stand by l, then radial function, then m (``shells``).
Of the blocks (i, j) and (j, i), each the transpose of the other, one is kept: that with the lighter atom first, or, of
one element, the atom with the lower index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.shells import irrep_indices
from pyscf_mlguess.structure import Pairs, Structure, element_numbers, pairs

# A matrix that is less symmetric than this, relative to its largest element, is refused.
_SYMMETRIC = 1e-8

Species = tuple[int, int]  # atomic numbers of a pair, the lower one first


@dataclass(frozen=True)
class Sites:
    """The atoms and pairs of atoms of one molecule that blocks belong to, by element.

    numbers: (natm,) atomic numbers.
    pairs: all ordered pairs within the cutoff.
    atoms: {element: (n,)} ascending.
    species_pairs: {species: (n,)} positions in ``pairs``, ascending, each two atoms once.
    """

    numbers: np.ndarray
    pairs: Pairs
    atoms: dict[int, np.ndarray]
    species_pairs: dict[Species, np.ndarray]

    @classmethod
    def of(cls, structure: Structure, cutoff: float) -> "Sites":
        """Sites of all atoms and of the pairs that are at most ``cutoff`` (bohr) apart."""
        numbers, found = structure.numbers, pairs(structure, cutoff)
        atoms = {int(element): np.flatnonzero(numbers == element) for element in np.unique(numbers)}
        species = np.stack([numbers[found.first], numbers[found.second]], axis=1)
        once = (species[:, 0] < species[:, 1]) | ((species[:, 0] == species[:, 1]) & (found.first < found.second))
        species_pairs = {(int(a), int(b)): np.flatnonzero(once & np.all(species == (a, b), axis=1))
                         for a, b in np.unique(species[once], axis=0)}
        return cls(numbers, found, atoms, species_pairs)


@dataclass(frozen=True)
class Blocks:
    """Blocks of a symmetric matrix.  An element or species that is left out has zeros.

    onsite: {element: (natm, nao, nao)}, in the order of ``sites.atoms``.
    pairs: {species: (npairs, nao of the first, nao of the second)}, in the order of ``sites.species_pairs``.
    """

    sites: Sites
    onsite: dict[int, np.ndarray]
    pairs: dict[Species, np.ndarray]

    @classmethod
    def split(cls, matrix: np.ndarray, mol: gto.Mole, cutoff: float) -> "Blocks":
        """Blocks of ``matrix``, (nao, nao) in the order of ``mol``'s spherical functions.

        cutoff: bohr; pairs of atoms further apart are left out, none if it is infinite.
        Raises ValueError for a matrix that is not real, symmetric and of this shape, for ghost atoms, Cartesian
        functions, and atoms of one element with different basis sets.
        """
        sites = Sites.of(Structure.from_mol(mol), cutoff)
        functions = functions_of_elements(sites, mol)
        _check_symmetric(matrix, mol.nao)
        onsite = {element: matrix[rows[:, :, None], rows[:, None, :]] for element, rows in functions.items()}
        between = {}
        for species in sites.species_pairs:
            rows, columns = functions_of_pairs(sites, functions, species)
            between[species] = matrix[rows[:, :, None], columns[:, None, :]]
        return cls(sites, onsite, between)

    def assemble(self, mol: gto.Mole) -> np.ndarray:
        """The inverse of ``split``, (nao, nao); zero where there is no block.

        Raises ValueError when ``mol`` has other atoms, or another basis than that of the blocks.
        """
        functions = functions_of_elements(self.sites, mol)
        matrix = np.zeros((mol.nao, mol.nao))
        for element, block in self.onsite.items():
            rows = functions[element]
            _check_shape(block, rows, rows, ELEMENTS[element])
            matrix[rows[:, :, None], rows[:, None, :]] = block
        for species, block in self.pairs.items():
            rows, columns = functions_of_pairs(self.sites, functions, species)
            _check_shape(block, rows, columns, "-".join(ELEMENTS[element] for element in species))
            matrix[rows[:, :, None], columns[:, None, :]] = block
            matrix[columns[:, :, None], rows[:, None, :]] = block.transpose(0, 2, 1)
        return matrix


def functions_of_elements(sites: Sites, mol: gto.Mole) -> dict[int, np.ndarray]:
    """Positions of the functions of every element's atoms in ``mol``, {element: (natm, nao)}."""
    if mol.cart:
        raise ValueError("blocks need spherical functions, the molecule has Cartesian ones; build it with cart=False")
    numbers = element_numbers(mol)
    if not np.array_equal(numbers, sites.numbers):
        raise ValueError(f"blocks of the atoms {sites.numbers.tolist()} (atomic numbers) and a molecule of "
                         f"{numbers.tolist()}; give the same atoms in the same order, without ghosts (0)")
    layouts = irrep_indices(mol)
    functions = {}
    for element, atoms in sites.atoms.items():
        shells = [{l: len(rows) for l, rows in layouts[atom].items()} for atom in atoms]
        if any(other != shells[0] for other in shells):
            raise ValueError(f"atoms of {ELEMENTS[element]} have different basis sets, {{l: functions}} = {shells}; "
                             "blocks need one for every element")
        functions[element] = np.array([np.concatenate([rows.ravel() for rows in layouts[atom].values()])
                                       for atom in atoms])
    return functions


def functions_of_pairs(sites: Sites, functions: dict[int, np.ndarray], species: Species) -> Iterator[np.ndarray]:
    """Positions of the functions of the first and of the second atoms of a species' pairs, each (npairs, nao)."""
    which = sites.species_pairs[species]
    return (functions[element][np.searchsorted(sites.atoms[element], atoms[which])]
            for element, atoms in zip(species, (sites.pairs.first, sites.pairs.second)))


def _check_symmetric(matrix, nao):
    if matrix.shape != (nao, nao) or not np.isrealobj(matrix):
        raise ValueError(f"a {matrix.dtype} matrix of shape {matrix.shape}; blocks need a real one of {(nao, nao)}")
    asymmetry = np.abs(matrix - matrix.T).max(initial=0.0)
    if not asymmetry <= _SYMMETRIC * np.abs(matrix).max(initial=0.0):
        raise ValueError(f"the matrix differs from its transpose by up to {asymmetry:.2g}; blocks need a symmetric one")


def _check_shape(block, rows, columns, name):
    expected = (len(rows), rows.shape[1], columns.shape[1])
    if block.shape != expected:
        raise ValueError(f"blocks of {name} have shape {block.shape}, the molecule needs {expected}; "
                         "build it in the basis of the blocks")
