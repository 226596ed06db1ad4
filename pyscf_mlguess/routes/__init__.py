"""Routes: how each type of prediction becomes a density matrix in the user's AO basis, and a report on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pyscf.scf import hf

from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.predictions import AuxiliaryDensity, DensityBlocks, FockBlocks, Prediction
from pyscf_mlguess.refusal import Refusal
from pyscf_mlguess.routes import auxiliary_density, fock_matrix
from pyscf_mlguess.routes import density_matrix as natural_orbitals
from pyscf_mlguess.routes.report import Report

# From the type of a prediction to its route; all have the signature of ``density_matrix``.
ROUTES = {
    AuxiliaryDensity: auxiliary_density.density_matrix,
    DensityBlocks: natural_orbitals.density_matrix,
    FockBlocks: fock_matrix.density_matrix,
}


def density_matrix(mf: hf.SCF, prediction: Prediction, responses: Sequence[Response] | None = None,
                   cheap: CheapProblem | None = None) -> tuple[np.ndarray, Report]:
    """(density matrix, report) of any prediction; the matrix has the shape that the SCF class wants.

    responses: what the model has learned about the answers to its own predictions, for routes that ask for them;
        None: the prediction is not to be corrected at all.
    cheap: the cheap problem that will refine the guess, whose integrals a route may use.
    Raises Refusal for a prediction that does not fit this version's routes.
    """
    route = ROUTES.get(type(prediction))
    if route is None:
        raise Refusal(f"no route for predictions of the type {type(prediction).__name__}")
    return route(mf, prediction, responses, cheap)
