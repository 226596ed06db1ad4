"""Learns how a density that is not self-consistent answers: the local inverse dielectrics of ``models.response``.

Wants molecules that the predicting model has not seen: its errors there look like those of the guesses to come.
"""

from __future__ import annotations

from dataclasses import dataclass

import joblib
import numpy as np
from pyscf import dft
from tqdm import tqdm

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients
from pyscf_mlguess.models.linear_density.model import LinearDensity
from pyscf_mlguess.models.response import Response, response_features
from pyscf_mlguess.molecules.label import Label, molecule_of
from pyscf_mlguess.routes.auxiliary_density import DensityRoute
from pyscf_mlguess.shells import irrep_indices
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.solver import Design, Problem, geometric_mean, solve
from pyscf_mlguess.training.targets import BASE, Target, base_auxiliary_mole

# What each response multiplies the residual with, before anything is learned.
FACTORS = (0.7, 0.7)
RIDGES = (1e-3, 1e-2)
_ITERATIONS = 100
_SMALLEST_LOSS = 1e-6
# One molecule in so many decides about the ridge, and shows the losses.
_CHECKED = 4
# Elements of fewer atoms than this keep the plain factor.
_FEWEST_ATOMS = 8


@dataclass
class _Case:
    """A molecule that is learned from: its target, the error (c* - c) of a density, and that density's residual."""

    target: Target
    error: np.ndarray
    residual: np.ndarray

    def __post_init__(self):
        self.auxmol = base_auxiliary_mole(self.target.label)
        self.coulomb = self.auxmol.intor("int2c2e", hermi=1)

    def correction(self, response):
        return response.correction(self.target.label.numbers, self.auxmol, self.residual, self.coulomb)


def learn_responses(model: LinearDensity, labels: list[Label], targets: list[Target], jobs: int = 2,
                    progress: bool = True) -> tuple[tuple[Response, ...], dict[str, float]]:
    """One response after the other, from molecules that ``model`` has not seen, and their targets.

    Returns the responses and the geometric means of the losses of the molecules that they were not learned from (these
    chose the ridges): of the predicted density ("density"), after each response ("step 1", "step 2").
    """
    densities = [_predicted(model, label) for label in tqdm(labels, desc="predictions", disable=not progress)]
    responses, losses, cases = [], {}, []
    for step, factor in enumerate(FACTORS, start=1):
        densities = [_restored(label, density + case.correction(responses[-1]))
                     for label, density, case in zip(labels, densities, cases)] or densities
        with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
            found = joblib.Parallel(return_as="generator")(
                joblib.delayed(_residual)(label, density) for label, density in zip(labels, densities))
            residuals = list(tqdm(found, total=len(labels), desc="residuals", unit="mol", disable=not progress))
        cases = [_Case(target, label.coefficients[str(BASE)] - density, residual)
                 for target, label, density, residual in zip(targets, labels, densities, residuals)]
        checked = cases[::_CHECKED]
        others = [case for index, case in enumerate(cases) if index % _CHECKED] or cases
        losses.setdefault("density", _left(checked))
        trials = {ridge: _learned(others, factor, ridge) for ridge in RIDGES}
        ridge = min(trials, key=lambda r: _left(checked, trials[r]))
        responses.append(trials[ridge])
        losses[f"step {step}"] = _left(checked, trials[ridge])
    return tuple(responses), losses


def _predicted(model, label):
    mol = molecule_of(label).mol(BASE.basis)
    auxmol = auxiliary_mole(mol)
    prediction = model.predict(Structure.from_mol(mol)).assemble(auxmol)
    return _restored(label, free_atom_coefficients(auxmol) + prediction)


def _restored(label, density):
    fitting = DensityFitting(molecule_of(label).mol(BASE.basis))
    return fitting.restore_electron_count(density, fitting.mol.nelectron)


def _residual(label, density):
    mf = dft.RKS(molecule_of(label).mol(BASE.basis), xc=BASE.xc)
    return DensityRoute(mf).output_density(density) - density


def _losses(cases, response=None):
    errors = [case.error - (case.correction(response) if response else 0.0) for case in cases]
    return np.array([case.target.metric.loss(error) for case, error in zip(cases, errors)])


def _left(cases, response=None):
    return geometric_mean(_losses(cases, response))


def _learned(cases, factor, ridge):
    """The response that leaves least of the errors, each molecule relative to its own: cycles go with factors."""
    start = Response(factor)
    design, units = _design(cases)
    if not units:
        return start
    weights = 1 / np.maximum(_losses(cases), _SMALLEST_LOSS)
    left = np.concatenate([case.error - case.correction(start) for case in cases])
    problem = Problem(design, left, [case.target.metric.scaled(weight) for weight, case in zip(weights, cases)])
    found = solve(problem, ridge, _ITERATIONS, progress=False)
    return Response(factor, {key: matrix / units[key] for key, matrix in found.items()})


def _design(cases):
    """Residuals and potentials as features, those of an atom together of unit size, and what they were divided by.

    In double precision: with weights that differ so much, single precision does not converge.
    """
    rows, indices, offsets = {}, {}, [0]
    for case in cases:
        features = response_features(case.auxmol, case.residual, case.coulomb)
        for number, layout, own in zip(case.target.label.numbers.tolist(), irrep_indices(case.auxmol), features):
            for l, index in layout.items():
                rows.setdefault((number, l), []).append(own[l].T)
                indices.setdefault((number, l), []).append(index.T + offsets[-1])
        offsets.append(offsets[-1] + case.auxmol.nao)
    matrices = {key: np.concatenate(parts) for key, parts in rows.items() if len(parts) >= _FEWEST_ATOMS}
    units = {key: np.sqrt((m**2).mean(axis=0) * m.shape[1]) + 1e-12 for key, m in matrices.items()}
    return Design({key: m / units[key] for key, m in matrices.items()},
                  {key: np.stack(indices[key]) for key in matrices}, np.array(offsets)), units
