"""Learns how a density that is not self-consistent answers: the local inverse dielectric of ``models.response``.

Wants predictions for molecules that the predicting model has not seen: their errors look like those of the guesses
to come.
"""

from __future__ import annotations

from dataclasses import dataclass

import joblib
import numpy as np
from pyscf import dft
from tqdm import tqdm

from pyscf_mlguess.adft import AuxiliaryProblem
from pyscf_mlguess.auxiliary_basis import auxiliary_mole, free_atom_coefficients
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.labels.calculation import Label, molecule_of
from pyscf_mlguess.models.linear_ace import LinearAce
from pyscf_mlguess.models.response import DAMPING, Response, response_features
from pyscf_mlguess.routes.auxiliary_density import output_density
from pyscf_mlguess.shells import irrep_indices
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.solver import Design, Problem, geometric_mean, solve
from pyscf_mlguess.training.targets import BASE, Target

RIDGES = (1e-2, 1e-1, 1.0)
_ITERATIONS = 60
_SMALLEST_LOSS = 1e-6
# One molecule in so many decides about the ridge.
_CHECKED = 4
# Elements of fewer atoms than this keep the plain damping.
_FEWEST_ATOMS = 30


def learn_response(model: LinearAce, labels: list[Label], targets: list[Target], jobs: int = 2,
                   progress: bool = True) -> tuple[Response, dict[str, float]]:
    """The response from molecules that ``model`` has not seen, with their targets (metrics over free-atom losses).

    The ridge is the one that serves the molecules best that are left out for it.  Returns the response with the
    geometric means of their losses: of the predicted density, with plain damping, and with what was learned
    without them.
    """
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        found = joblib.Parallel(return_as="generator")(joblib.delayed(_prediction_and_residual)(model, label)
                                                       for label in labels)
        pairs = list(tqdm(found, total=len(labels), desc="residuals", unit="mol", disable=not progress))
    cases = [_Case(target, target.difference[str(BASE)] - prediction, residual)
             for target, (prediction, residual) in zip(targets, pairs)]
    # Every molecule counts by how much better or worse it gets, or the worst predictions would teach alone.
    for case, loss in zip(cases, _problem(cases)[0].losses({})):
        case.weight = float(1 / max(loss, _SMALLEST_LOSS))
    checked = cases[::_CHECKED]
    others = [case for index, case in enumerate(cases) if index % _CHECKED] or cases
    losses = {"density": _left(checked, damping=0.0), "damped": _left(checked)}
    trials = {ridge: _left(checked, response=_solved(others, ridge)) for ridge in RIDGES}
    ridge = min(trials, key=trials.get)
    return _solved(cases, ridge), losses | {"learned": trials[ridge], "ridge": ridge}


@dataclass
class _Case:
    """A molecule's target, the error of its predicted density, the residual of that density, and its weight."""

    target: Target
    error: np.ndarray
    residual: np.ndarray
    weight: float = 1.0


def _left(cases, **correction):
    """Geometric mean of what is left of the losses."""
    losses = _problem(cases, **correction)[0].losses({})
    return geometric_mean(losses / [case.weight for case in cases])


def _solved(cases, ridge):
    problem, scales = _problem(cases)
    if not scales:
        return Response({})
    weights = solve(problem, ridge, _ITERATIONS, progress=False)
    return Response({key: matrix / scales[key] for key, matrix in weights.items()})


def _prediction_and_residual(model, label):
    """Predicted coefficients relative to free atoms, and what their Fock matrix gives back relative to them."""
    mf = dft.RKS(molecule_of(label).mol(BASE.basis), xc=BASE.xc)
    auxmol = auxiliary_mole(mf.mol)
    free = free_atom_coefficients(auxmol)
    problem = AuxiliaryProblem(mf.mol, auxmol)
    prediction = free + model.predict(Structure.from_mol(mf.mol)).assemble(auxmol)
    prediction = problem.restore_electron_count(prediction, mf.mol.nelectron)
    residual = output_density(mf, problem, prediction, SemilocalPotential.of(mf)) - prediction
    return prediction - free, residual


def _problem(cases, damping=DAMPING, response=None):
    """What is left of the errors, to be explained by residuals and their potentials; and the sizes that these had."""
    rows, places, left, offsets = {}, {}, [], [0]
    for case in cases:
        auxmol = auxiliary_mole(molecule_of(case.target).mol(BASE.basis))
        coulomb = auxmol.intor("int2c2e", hermi=1)
        features = response_features(auxmol, case.residual, coulomb)
        for number, layout, own in zip(case.target.numbers.tolist(), irrep_indices(auxmol), features):
            for l, index in layout.items():
                rows.setdefault((number, l), []).append(own[l].T)
                places.setdefault((number, l), []).append(index.T + offsets[-1])
        offsets.append(offsets[-1] + auxmol.nao)
        correction = damping * case.residual
        if response is not None:
            correction = response.correction(case.target.numbers, auxmol, case.residual, coulomb)
        left.append(case.error - correction)
    kept = [key for key, atoms in rows.items() if len(atoms) >= _FEWEST_ATOMS]
    matrices = {key: np.concatenate(rows[key]) for key in kept}
    # Together the features of an atom are of unit size.
    scales = {key: np.sqrt((m**2).mean(axis=0) * m.shape[1]) + 1e-12 for key, m in matrices.items()}
    design = Design({key: (m / scales[key]).astype(np.float32) for key, m in matrices.items()},
                    {key: np.stack(places[key]) for key in kept}, np.array(offsets))
    metrics = [case.weight * case.target.metric for case in cases]
    return Problem(design, np.concatenate(left).astype(np.float32), metrics), scales

