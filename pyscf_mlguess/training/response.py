"""Learns how a density that is not self-consistent answers: the local inverse dielectric of ``models.response``.

Wants predictions for molecules that the predicting model has not seen: their errors look like those of the guesses
to come.
"""

from __future__ import annotations

import joblib
import numpy as np
from pyscf import dft
from tqdm import tqdm

from pyscf_mlguess.adft import COARSEST, AuxiliaryProblem
from pyscf_mlguess.auxiliary_basis import auxiliary_mole, free_atom_coefficients
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.labels.calculation import Label, molecule_of
from pyscf_mlguess.models.linear_ace import LinearAce
from pyscf_mlguess.models.response import DAMPING, Response, response_features
from pyscf_mlguess.routes.auxiliary_density import output_density
from pyscf_mlguess.shells import irrep_indices
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.solver import Design, Problem, solve
from pyscf_mlguess.training.targets import BASE, Target

_RIDGE, _ITERATIONS = 1e-4, 60
# Elements of fewer atoms than this keep the plain damping.
_FEWEST_ATOMS = 30


def learn_response(model: LinearAce, labels: list[Label], targets: list[Target], jobs: int = 2,
                   progress: bool = True) -> tuple[Response, dict[str, float]]:
    """The response from molecules that ``model`` has not seen, with their targets (metrics over free-atom losses).

    Returns it with the geometric means of the losses before, with plain damping, and after, on the molecules
    themselves.
    """
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        found = joblib.Parallel(return_as="generator")(joblib.delayed(_prediction_and_residual)(model, label)
                                                       for label in labels)
        pairs = list(tqdm(found, total=len(labels), desc="residuals", unit="mol", disable=not progress))
    errors = [t.difference[str(BASE)] - prediction for t, (prediction, _) in zip(targets, pairs)]
    left = [error - DAMPING * residual for error, (_, residual) in zip(errors, pairs)]
    design, scales = _design(targets, [residual for _, residual in pairs])
    problem = Problem(design, np.concatenate(left).astype(np.float32), [t.metric for t in targets])
    weights = solve(problem, _RIDGE, _ITERATIONS, progress=progress)
    undamped = Problem(design, np.concatenate(errors).astype(np.float32), problem.metrics)
    losses = {"density": _mean(undamped.losses({})), "damped": _mean(problem.losses({})),
              "learned": _mean(problem.losses(weights))}
    return Response({key: matrix / scales[key] for key, matrix in weights.items()}), losses


def _prediction_and_residual(model, label):
    """Predicted coefficients relative to free atoms, and what their Fock matrix gives back relative to them."""
    mf = dft.RKS(molecule_of(label).mol(BASE.basis), xc=BASE.xc)
    auxmol = auxiliary_mole(mf.mol)
    free = free_atom_coefficients(auxmol)
    problem = AuxiliaryProblem(mf.mol, auxmol, COARSEST)
    prediction = free + model.predict(Structure.from_mol(mf.mol)).assemble(auxmol)
    prediction = problem.restore_electron_count(prediction, mf.mol.nelectron)
    residual = output_density(mf, problem, prediction, SemilocalPotential.of(mf)) - prediction
    return prediction - free, residual


def _design(targets, residuals):
    """Residuals and their potentials as features of unit size, and the sizes that they had."""
    rows, places, offset, offsets = {}, {}, 0, [0]
    for target, residual in zip(targets, residuals):
        mol = molecule_of(target).mol(BASE.basis)
        auxmol = auxiliary_mole(mol)
        features = response_features(auxmol, residual, auxmol.intor("int2c2e", hermi=1))
        for number, layout, own in zip(target.numbers.tolist(), irrep_indices(auxmol), features):
            for l, index in layout.items():
                rows.setdefault((number, l), []).append(own[l].T)
                places.setdefault((number, l), []).append(index.T + offset)
        offset += auxmol.nao
        offsets.append(offset)
    kept = [key for key, atoms in rows.items() if len(atoms) >= _FEWEST_ATOMS]
    matrices = {key: np.concatenate(rows[key]) for key in kept}
    # Together the features of an atom are of unit size.
    scales = {key: np.sqrt((m**2).mean(axis=0) * m.shape[1]) + 1e-12 for key, m in matrices.items()}
    return Design({key: (m / scales[key]).astype(np.float32) for key, m in matrices.items()},
                  {key: np.stack(places[key]) for key in kept}, np.array(offsets)), scales


def _mean(losses):
    return float(np.exp(np.mean(np.log(losses))))
