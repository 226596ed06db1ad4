"""From a reference basis into the user's: the molecule in it, and occupied orbitals projected and filled there."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from pyscf import gto
from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.predictions import DensityBlocks
from pyscf_mlguess.refusal import Refusal
from pyscf_mlguess.routes.occupation import Occupied, occupy
from pyscf_mlguess.scf_copy import ScfCopy
from pyscf_mlguess.structure import Structure

LEAST_HELD = 0.5  # share of an occupied orbital that the user's basis can describe
# Filled orbitals are lowered by this (Eh) for each of their electrons, beneath every empty one: the 1s level of radon,
# -Z^2/2, is at -3700 Eh.
_LOWERED = 1e4
# Squared norm of the difference of two functions that are the same.
_SAME_FUNCTION = 1e-12
# Combinations of functions with a smaller eigenvalue of the overlap are left out, as PySCF does.
_LINEAR_DEPENDENCE = 1e-8


class Reference:
    """A reference basis next to that of an SCF object.

    mol: the molecule in it.  ovlp: (nref, nref) its overlap.  cross: (nao, nref) overlap of the user's functions with
    it.  same: whether the user's functions are these, in the same order.
    """

    def __init__(self, scf: ScfCopy, prediction: DensityBlocks):
        """Raises Refusal as ``reference_molecule``, and for a prediction without blocks for some element, if it is not
        relative to a density matrix."""
        known = prediction.blocks.onsite.keys()
        unknown = [ELEMENTS[element] for element in prediction.blocks.sites.atoms if element not in known]
        if unknown and not prediction.relative_to:
            # A free atom in its place has no bonds, and its open shell no natural occupations to choose orbitals by.
            raise Refusal(f"the model has no blocks for {', '.join(unknown)}, and part of a matrix has no orbitals")
        self.mol = reference_molecule(scf.mf.mol, prediction.basis)
        self.ovlp = self.mol.intor_symmetric("int1e_ovlp")
        self.cross = gto.intor_cross("int1e_ovlp", scf.mf.mol, self.mol)
        self._scf = scf

    @property
    def same(self) -> bool:
        if self.cross.shape[0] != self.cross.shape[1]:
            return False
        distance = self._scf.ovlp.diagonal() + self.ovlp.diagonal() - 2 * self.cross.diagonal()
        return bool(np.abs(distance).max() < _SAME_FUNCTION)

    def project(self, orbitals: np.ndarray) -> np.ndarray:
        """Orthonormal orbitals (nref, n) in the user's basis, (nao, n), orthonormalised there after Loewdin.

        Raises Refusal where the user's basis holds less than ``LEAST_HELD`` of an orbital in their space.
        """
        if self.same:
            return orbitals
        values, vectors = scipy.linalg.eigh(self._scf.ovlp)
        keep = values > _LINEAR_DEPENDENCE
        orthogonal = vectors[:, keep] / np.sqrt(values[keep])
        # Without its singular values, the projection is the nearest orthonormal set.
        left, roots, right = scipy.linalg.svd(orthogonal.T @ self.cross @ orbitals, full_matrices=False)
        held = np.zeros(orbitals.shape[1])
        held[: len(roots)] = roots**2
        if not held.min() >= LEAST_HELD:
            raise Refusal(f"the basis of the molecule holds {held.min():.2f} of an occupied orbital that the model "
                          f"predicts in {self.mol.basis} (limit {LEAST_HELD})")
        return orthogonal @ left @ right


def reference_molecule(mol: gto.Mole, basis: str) -> gto.Mole:
    """The real atoms of ``mol``, without ghosts, in a spherical basis with its own core potentials.

    basis: PySCF's name of it.  Raises Refusal where its core potentials replace other cores than those of ``mol``, and
    where it has fewer functions than ``mol`` has occupied orbitals.
    """
    structure = Structure.from_mol(mol)
    symbols = [ELEMENTS[number] for number in structure.numbers]
    potentials = {symbol: basis for symbol in set(symbols) if gto.basis.load_ecp(basis, symbol)}
    reference = gto.Mole(atom=list(zip(symbols, structure.positions)), unit="Bohr", basis=basis, ecp=potentials)
    reference.spin, reference.verbose, reference.max_memory = None, 0, mol.max_memory
    reference.build(dump_input=False, parse_arg=False)
    for index, atom in enumerate(structure.atoms):
        ours, theirs = reference.atom_nelec_core(index), mol.atom_nelec_core(atom)
        if ours != theirs:
            raise Refusal(f"a core potential replaces {theirs} electrons of atom {atom} ({mol.atom_symbol(atom)}), "
                          f"in the model's basis {basis} {ours}")
    if reference.nao < max(mol.nelec):
        raise Refusal(f"{max(mol.nelec)} occupied orbitals in a model's basis, {basis}, of {reference.nao} functions")
    return reference


def electrons_by_orbital(mol: gto.Mole) -> np.ndarray:
    """Electrons in each occupied orbital of a determinant, 2 or 1, shape (max(nelec),)."""
    many, few = max(mol.nelec), min(mol.nelec)
    return np.where(np.arange(many) < few, 2.0, 1.0)


def occupy_space(scf: ScfCopy, orbitals: np.ndarray, electrons: np.ndarray, order: np.ndarray) -> Occupied:
    """Let the SCF object fill given orbitals, and no others unless it fixes other irreps.

    orbitals: (nao, n) orthonormal.  electrons: (n,) in each of them, 2 or 1.
    order: (nao, nao) Fock matrix that gives the orbitals' order among the filled and among the empty ones; what it
        mixes between them is left out.
    """
    dual = scf.ovlp @ orbitals
    filled = [orbitals[:, electrons == count] @ dual[:, electrons == count].T for count in np.unique(electrons)]
    spaces = [*filled, np.eye(len(dual)) - sum(filled)]
    fock = sum(space.T @ order @ space for space in spaces)
    return occupy(scf, fock - (_LOWERED * electrons * dual) @ dual.T)
