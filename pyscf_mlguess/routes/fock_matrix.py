"""The Fock route: a density's Fock matrix, and a difference from it, carried into the user's basis and added there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from pyscf import gto
from pyscf.scf import hf

from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.predictions import FockBlocks
from pyscf_mlguess.refusal import Refusal
from pyscf_mlguess.routes import auxiliary_density
from pyscf_mlguess.routes.auxiliary_density import DensityReport
from pyscf_mlguess.routes.projection import reference_molecule


def density_matrix(mf: hf.SCF, prediction: FockBlocks, responses: Sequence[Response] | None = None,
                   cheap: CheapProblem | None = None) -> tuple[np.ndarray, DensityReport]:
    """Density matrix of a predicted Fock matrix, (nao, nao) or (2, nao, nao) as the SCF class has it, and its report.

    The density's Fock matrix is made in the user's basis; the difference is an operator in the space of the reference
    basis, of which the user's functions see what they have in common with it.  Responses correct the density, whose
    Fock matrices all have that difference.  cheap: as in the density route.
    """
    try:
        difference = in_basis(mf.mol, prediction)
    except Refusal as refusal:
        # Its cores are others, say: the density alone is still a guess.
        dm, report = auxiliary_density.density_matrix(mf, prediction.density, responses, cheap)
        report.notes.append(f"Fock matrix of the density alone: {refusal}")
        return dm, report
    dm, report = auxiliary_density.density_matrix(mf, prediction.density, responses, cheap, difference)
    report.predicted = any(prediction.density.blocks)
    return dm, report


def in_basis(mol: gto.Mole, prediction: FockBlocks) -> np.ndarray:
    """The operator of a difference in the basis of ``mol``, (nao, nao) Eh; raises Refusal as ``reference_molecule``."""
    reference = reference_molecule(mol, prediction.basis)
    values, vectors = scipy.linalg.eigh(reference.intor_symmetric("int1e_ovlp"))
    functions = gto.intor_cross("int1e_ovlp", mol, reference) @ (vectors / np.sqrt(values)) @ vectors.T
    return functions @ prediction.assemble(reference) @ functions.T
