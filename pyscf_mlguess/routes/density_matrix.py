"""The density-matrix route: natural orbitals of a predicted density matrix, the occupied ones in the user's basis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from pyscf.scf import hf, uhf

from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.predictions import DensityBlocks
from pyscf_mlguess.routes import free_atoms
from pyscf_mlguess.routes.auxiliary_fock import AuxiliaryFock
from pyscf_mlguess.routes.projection import Reference, electrons_by_orbital, occupy_space
from pyscf_mlguess.routes.report import Report
from pyscf_mlguess.scf_copy import ScfCopy

# Part of the way from a converged density matrix to minao's, a guess has lost its lead over minao where more than 0.5
# to 1 electrons are moved on an atom and the gap is below 0.8 to 0.65 (acetic anhydride, PBE/def2-SVP); random noise
# that moves as many is forgiven.
MOST_ELECTRONS_MISSING = 0.1  # per atom, before the natural occupations are made whole
MOST_ELECTRONS_MOVED = 1.0  # by that, on one atom
SMALLEST_GAP = 0.4  # between natural occupations; that of a determinant is 1


@dataclass
class DensityMatrixReport(Report):
    """What the natural orbitals of the predicted density matrix showed.

    natm: real atoms.
    electrons_missing: electrons that the prediction lacked before the count was restored.
    electrons_moved: (natm,) distance from idempotency: the sum of |predicted - whole| natural occupations, each
        shared out among the atoms as its orbital is.
    occupation_gap: smallest difference of natural occupations between the last orbital that is filled and the first
        that is not, over the electrons (2 or 1) that the first has more.
    """

    natm: int = 1
    electrons_missing: float = 0.0
    electrons_moved: np.ndarray | float = 0.0
    occupation_gap: float = 1.0

    def objection(self) -> str | None:
        missing, moved = abs(self.electrons_missing) / self.natm, float(np.max(self.electrons_moved))
        if not missing <= MOST_ELECTRONS_MISSING:
            return (f"the predicted density matrix has {abs(self.electrons_missing):.2f} electrons too "
                    f"{'few' if self.electrons_missing > 0 else 'many'} "
                    f"({missing:.3f} an atom, limit {MOST_ELECTRONS_MISSING})")
        if not moved <= MOST_ELECTRONS_MOVED:
            return (f"the natural occupations of the predicted density matrix are {moved:.2f} electrons from whole "
                    f"ones on one atom (limit {MOST_ELECTRONS_MOVED})")
        if not self.occupation_gap >= SMALLEST_GAP:
            return (f"the natural occupations of filled and empty orbitals differ by {self.occupation_gap:.2f} of the "
                    f"electrons between them (limit {SMALLEST_GAP})")
        return None

    def __str__(self) -> str:
        # Adding 0.0 takes the sign from a rounded zero.
        return (f"electrons missing {round(self.electrons_missing, 4) + 0.0:.4f}, moved on one atom up to "
                f"{np.max(self.electrons_moved):.4f}, gap of natural occupations {self.occupation_gap:.4f}")


def density_matrix(mf: hf.SCF, prediction: DensityBlocks, responses: Sequence[Response] | None = None,
                   cheap: CheapProblem | None = None) -> tuple[np.ndarray, DensityMatrixReport]:
    """Density matrix of a predicted one, (nao, nao) or (2, nao, nao) as the SCF class has it, and its report.

    The natural orbitals of the largest occupations are filled, which is the nearest determinant (the retraction onto
    the Grassmann manifold).  In another basis than the reference they are projected.
    responses: what a model has learned about fitted densities is not asked.  cheap: its copy of the SCF object serves.
    Raises Refusal as ``Reference``.
    """
    scf = ScfCopy(mf) if cheap is None else cheap.scf
    reference = Reference(scf, prediction)
    electrons, predicted = electrons_by_orbital(mf.mol), prediction.assemble(reference.mol)
    if prediction.relative_to:
        predicted += free_atoms.density_matrix(reference.mol, prediction.relative_to, electrons)
    occupations, natural = natural_orbitals(predicted)
    report = _report(reference, occupations, natural, electrons)
    values, vectors = scipy.linalg.eigh(reference.ovlp)
    orbitals = vectors @ ((vectors.T @ natural[:, : len(electrons)]) / np.sqrt(values)[:, None])
    orbitals = reference.project(orbitals)
    occupied = occupy_space(scf, orbitals, electrons, _order(scf, orbitals, electrons))
    report.notes += occupied.notes
    return occupied.dm, report


def natural_orbitals(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Occupations (n,), the largest first, and orbitals (n, n) of a density matrix in an orthonormal basis."""
    occupations, orbitals = scipy.linalg.eigh(matrix)
    return occupations[::-1], orbitals[:, ::-1]


def _report(reference, occupations, natural, electrons):
    whole = np.pad(electrons, (0, len(occupations) - len(electrons)))
    moved = (natural**2) @ np.abs(occupations - whole)
    slices = reference.mol.aoslice_by_atom()[:, 2:]
    edges = np.flatnonzero(np.diff(whole))
    gaps = (occupations[edges] - occupations[edges + 1]) / (whole[edges] - whole[edges + 1])
    return DensityMatrixReport(natm=reference.mol.natm, electrons_missing=float(electrons.sum() - occupations.sum()),
                               electrons_moved=np.array([moved[start:stop].sum() for start, stop in slices]),
                               occupation_gap=float(gaps.min(initial=np.inf)))


def _order(scf, orbitals, electrons):
    """A Fock matrix that orders orbitals of the same occupation, (nao, nao) Eh.

    Only mixing the frontier orbitals of UHF asks which these are; for that, a Fock matrix of the density itself.
    """
    mf = scf.mf
    if not (isinstance(mf, uhf.UHF) and mf.mol.spin == 0 and mf.init_guess_breaksym == "mix"):
        return scf.hcore
    fitting = DensityFitting.of(mf, None, not LevelOfTheory.of(mf).is_semilocal)
    coefficients = fitting.fit((orbitals * electrons) @ orbitals.T)
    return scf.hcore + AuxiliaryFock(fitting, SemilocalPotential.of(mf)).matrix(coefficients)[0]
