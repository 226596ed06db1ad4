"""What a model hands to a route: predictions as data, with basis and units named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pyscf import gto

from pyscf_mlguess.blocks import Blocks
from pyscf_mlguess.density_fitting.auxiliary_basis import AUXBASIS
from pyscf_mlguess.shells import irrep_indices


class Prediction(Protocol):
    """What every prediction tells about itself.

    novelty: (natm,) how far each atom's features lie outside the training range (1: at its edge).
    """

    novelty: np.ndarray

    def atoms_not_finite(self) -> list[int]:
        """Atoms for which the prediction holds numbers that are not finite."""


@dataclass(frozen=True)
class AuxiliaryDensity:
    """A density relative to free atoms, expanded in an auxiliary basis.

    auxbasis: PySCF's name of the auxiliary basis.
    blocks: one dict per atom, {l: (n_l, 2l+1)} coefficients in e/bohr^3 times the functions'
        own units, components in the package's order (see ``shells``); {} for an atom that the
        model does not know, which stays a free atom.
    novelty: (natm,) how far each atom's features lie outside the training range (1: at its edge).
    """

    auxbasis: str
    blocks: list[dict[int, np.ndarray]]
    novelty: np.ndarray

    def atoms_not_finite(self) -> list[int]:
        """As ``Prediction`` says."""
        return [atom for atom, block in enumerate(self.blocks)
                if not all(np.isfinite(values).all() for values in block.values())]

    def assemble(self, auxmol: gto.Mole) -> np.ndarray:
        """Coefficients in the order of ``auxmol``, shape (naux,).

        An atom whose core no potential replaces has steep functions before those of ``blocks``; they get none of the
        difference.  Raises ValueError when ``auxmol`` has other atoms or too few functions.
        """
        if auxmol.natm != len(self.blocks):
            raise ValueError(f"prediction for {len(self.blocks)} atoms, auxiliary molecule has {auxmol.natm}")
        coefficients = np.zeros(auxmol.nao)
        for atom, (block, layout) in enumerate(zip(self.blocks, irrep_indices(auxmol))):
            for l, values in block.items():
                if l not in layout or len(layout[l]) < len(values):
                    raise ValueError(f"atom {atom}: prediction of shape {values.shape} for l = {l} does not fit "
                                     f"the auxiliary basis {self.auxbasis}")
                coefficients[layout[l][len(layout[l]) - len(values):]] = values
        return coefficients

    @classmethod
    def free_atoms(cls, natm: int) -> "AuxiliaryDensity":
        """That of atoms that do not see each other: no difference from them."""
        return cls(AUXBASIS, [{} for _ in range(natm)], np.zeros(natm))

    @classmethod
    def split(cls, auxbasis: str, coefficients: np.ndarray, auxmol: gto.Mole) -> "AuxiliaryDensity":
        """The inverse of ``assemble``."""
        blocks = [{l: coefficients[index] for l, index in atom.items()} for atom in irrep_indices(auxmol)]
        return cls(auxbasis, blocks, np.zeros(auxmol.natm))


@dataclass(frozen=True)
class _MatrixBlocks:
    """A symmetric matrix in a reference basis, as blocks of atoms and pairs of atoms.

    basis: PySCF's name of the reference basis, whose core potentials go with it.
    blocks: those of the real atoms; an element without blocks is one that the model does not know.
    novelty: (natm,) how far each atom's features lie outside the training range (1: at its edge).
    """

    basis: str
    blocks: Blocks
    novelty: np.ndarray

    def atoms_not_finite(self) -> list[int]:
        """As ``Prediction`` says; of a pair, both atoms."""
        sites, found = self.blocks.sites, set()
        for element, block in self.blocks.onsite.items():
            found.update(sites.atoms[element][_not_finite(block)].tolist())
        for species, block in self.blocks.pairs.items():
            which = sites.species_pairs[species][_not_finite(block)]
            found.update(sites.pairs.first[which].tolist(), sites.pairs.second[which].tolist())
        return sorted(found)

    def assemble(self, mol: gto.Mole) -> np.ndarray:
        """The matrix in the order of ``mol``, (nao, nao) float64, zero where there is no block.

        mol: the real atoms in the reference basis.  Raises ValueError when it has other atoms or another basis.
        """
        return self.blocks.assemble(mol)


@dataclass(frozen=True)
class DensityBlocks(_MatrixBlocks):
    """A density matrix, summed over spins, in the Loewdin-orthonormalised reference basis: S^1/2 (D - D_0) S^1/2.

    relative_to: the functional whose Fock matrix of free atoms, in the reference basis, has the occupied orbitals of
        D_0; "" where D_0 is none.
    """

    relative_to: str = ""


@dataclass(frozen=True)
class FockBlocks(_MatrixBlocks):
    """What a Fock matrix differs by from that of an auxiliary density, both Loewdin-orthonormalised in the reference
    basis: S^-1/2 dF S^-1/2, in Eh.  An element without blocks has no difference.

    density: that density.  Its Fock matrix has a semilocal stand-in for exact exchange, the difference what exact
    exchange is more.
    """

    density: AuxiliaryDensity

    def atoms_not_finite(self) -> list[int]:
        """As ``Prediction`` says; of difference and density."""
        return sorted({*super().atoms_not_finite(), *self.density.atoms_not_finite()})


def _not_finite(blocks: np.ndarray) -> np.ndarray:
    return ~np.isfinite(blocks).all(axis=(1, 2))
