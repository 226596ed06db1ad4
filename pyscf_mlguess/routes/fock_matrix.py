"""The Fock route: a density's Fock matrix, and a difference from it, carried into the user's basis and added there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from pyscf.scf import hf

from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.predictions import FockBlocks
from pyscf_mlguess.refusal import Refusal
from pyscf_mlguess.routes import auxiliary_density
from pyscf_mlguess.routes.auxiliary_density import DensityReport
from pyscf_mlguess.routes.projection import Reference
from pyscf_mlguess.scf_copy import ScfCopy


def density_matrix(mf: hf.SCF, prediction: FockBlocks, responses: Sequence[Response] | None = None,
                   cheap: CheapProblem | None = None) -> tuple[np.ndarray, DensityReport]:
    """Density matrix of a predicted Fock matrix, (nao, nao) or (2, nao, nao) as the SCF class has it, and its report.

    The density's Fock matrix is made in the user's basis; the difference is an operator in the space of the reference
    basis, of which the user's functions see what they have in common with it.  Responses correct the density, whose
    Fock matrices all have that difference.  cheap: as in the density route.
    """
    scf = ScfCopy(mf) if cheap is None else cheap.scf
    try:
        difference = in_basis(scf, prediction)
    except Refusal as refusal:
        # Its cores are others, say: the density alone is still a guess.
        dm, report = auxiliary_density.density_matrix(mf, prediction.density, responses, cheap)
        report.notes.append(f"Fock matrix of the density alone: {refusal}")
        return dm, report
    return auxiliary_density.density_matrix(mf, prediction.density, responses, cheap, difference)


def in_basis(scf: ScfCopy, prediction: FockBlocks) -> np.ndarray:
    """The operator of a difference in the user's basis, (nao, nao), Eh.  Raises Refusal as ``Reference``."""
    reference = Reference(scf, prediction, complete=False)
    values, vectors = scipy.linalg.eigh(reference.ovlp)
    functions = reference.cross @ (vectors / np.sqrt(values)) @ vectors.T
    return functions @ prediction.assemble(reference.mol) @ functions.T
