"""The Fock route: a Fock matrix in the reference basis -> its occupied orbitals in the user's basis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from pyscf.scf import hf

from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.predictions import FockBlocks
from pyscf_mlguess.routes.auxiliary_density import SMALLEST_GAP
from pyscf_mlguess.routes.occupation import frontier_gap, occupy
from pyscf_mlguess.routes.projection import Reference, electrons_by_orbital, occupy_space
from pyscf_mlguess.routes.report import Report
from pyscf_mlguess.scf_copy import ScfCopy


@dataclass
class FockReport(Report):
    """What the orbitals of the predicted Fock matrix showed.

    closed_shell: no unpaired electron.
    frontier_gap: energy (Eh) between highest occupied and lowest empty orbital.
    """

    closed_shell: bool = True
    frontier_gap: float = np.inf

    def objection(self) -> str | None:
        # As in the density route: an open shell's gap is often that small.
        if self.closed_shell and not self.frontier_gap >= SMALLEST_GAP:
            return f"the frontier gap is {self.frontier_gap:.3f} Eh (limit {SMALLEST_GAP})"
        return None

    def __str__(self) -> str:
        return f"frontier gap {self.frontier_gap:.4f} Eh"


def density_matrix(mf: hf.SCF, prediction: FockBlocks, responses: Sequence[Response] = (),
                   cheap: CheapProblem | None = None) -> tuple[np.ndarray, FockReport]:
    """Density matrix of a predicted Fock matrix, (nao, nao) or (2, nao, nao) as the SCF class has it, and its report.

    In the reference basis itself the SCF object fills the orbitals; in another, those filled in the reference basis
    are projected.  responses: belong to densities and are not asked.  cheap: its core Hamiltonian and overlap serve.
    Raises Refusal as ``Reference``.
    """
    scf = ScfCopy(mf) if cheap is None else cheap.scf
    reference = Reference(scf, prediction)
    fock = prediction.assemble(reference.mol)
    if reference.same:
        occupied = occupy(scf, fock)
        gap = occupied.gap
    else:
        energies, orbitals = scipy.linalg.eigh(fock, reference.ovlp)
        electrons = electrons_by_orbital(mf.mol)
        gap = frontier_gap(energies, np.pad(electrons, (0, len(energies) - len(electrons))))
        occupied = occupy_space(scf, reference.project(orbitals[:, : len(electrons)]), electrons,
                                reference.lift(orbitals, energies))
    return occupied.dm, FockReport(occupied.notes, mf.mol.spin == 0, gap)
