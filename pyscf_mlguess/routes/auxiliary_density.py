"""The density route: auxiliary density -> Fock matrix -> density matrix in the user's basis."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from pyscf import lib
from pyscf.scf import hf

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole, free_atom_coefficients
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.predictions import AuxiliaryDensity
from pyscf_mlguess.routes.auxiliary_fock import GRID_LEVEL, AuxiliaryProblem
from pyscf_mlguess.routes.occupation import Occupied, occupy
from pyscf_mlguess.structure import element_numbers


@dataclass
class RouteReport:
    """What the way from a prediction to a density matrix showed; the gate judges by it.

    electrons_missing: electrons that the prediction lacked before the count was restored.
    negative_electrons: electrons in regions of negative fitted density (a positive number).
    frontier_gap: energy (Eh) between highest occupied and lowest empty orbital.
    notes: replacements and omissions, in words for the log.
    """

    electrons_missing: float = 0.0
    negative_electrons: float = 0.0
    frontier_gap: float = np.inf
    notes: list[str] = field(default_factory=list)


def predicted_guess(mf: hf.SCF, prediction: AuxiliaryDensity, potential: SemilocalPotential,
                    grid_level: int = GRID_LEVEL, answer: bool = True):
    """(density matrix, RouteReport) of a predicted density; shapes as the SCF class has them.

    answer: correct the density first by what its own Fock matrix gives back, as often as the model has learned it.
    """
    auxmol = auxiliary_mole(mf.mol)
    responses = prediction.responses if answer else ()
    problem = AuxiliaryProblem(mf.mol, auxmol, grid_level, _shared_tensor(mf, potential), hold=bool(responses))
    coefficients = free_atom_coefficients(auxmol) + prediction.assemble(auxmol)
    report = RouteReport(electrons_missing=mf.mol.nelectron - float(problem.charges @ coefficients))
    coefficients = problem.restore_electron_count(coefficients, mf.mol.nelectron)
    for response in responses:
        correction = _correction(mf, problem, coefficients, potential, response)
        if correction is None:
            report.notes.append("density not corrected, its Fock matrix gives back another one altogether")
            break
        coefficients = problem.restore_electron_count(coefficients + correction, mf.mol.nelectron)
    return _guess(mf, problem, coefficients, potential, report)


def _correction(mf, problem, coefficients, potential, response):
    """What the density's Fock matrix says about its error; None where that is out of all proportion."""
    residual = output_density(mf, problem, coefficients, potential) - coefficients
    numbers = element_numbers(mf.mol)
    correction = response.correction(numbers[numbers > 0], problem.auxmol, residual, problem.metric)
    deformation = coefficients - free_atom_coefficients(problem.auxmol)
    small = correction @ problem.metric @ correction < deformation @ problem.metric @ deformation
    return correction if small else None


def output_density(mf: hf.SCF, problem: AuxiliaryProblem, coefficients: np.ndarray,
                   potential: SemilocalPotential) -> np.ndarray:
    """The fitted density (naux,) of the orbitals that the Fock matrix of ``coefficients`` gives."""
    # Breaking the spin symmetry is for the guess itself: it may move charge.
    with lib.temporary_env(mf, init_guess_breaksym=0):
        dm = _guess(mf, problem, coefficients, potential, RouteReport())[0]
    return problem.fit(np.asarray(dm if np.ndim(dm) == 2 else dm[0] + dm[1]))


def exact_fit_guess(mf: hf.SCF, dm: np.ndarray) -> np.ndarray:
    """The guess that a perfect prediction of the density of ``dm`` would give: the route's ceiling."""
    problem = AuxiliaryProblem(mf.mol)
    total = dm if np.ndim(dm) == 2 else dm[0] + dm[1]
    return _guess(mf, problem, problem.fit(np.asarray(total)), SemilocalPotential.of(mf), RouteReport())[0]


def _guess(mf, problem, coefficients, potential, report):
    fock = mf.get_hcore() + problem.effective_potential(coefficients, potential)
    occupied: Occupied = occupy(mf, fock)
    report.negative_electrons = problem.negative_electrons
    report.frontier_gap = occupied.gap
    report.notes += potential.notes + occupied.notes
    return occupied.dm, report


def _shared_tensor(mf, potential):
    """The three-centre tensor of a density-fitted SCF object, where that SCF needs it anyway."""
    with_df = getattr(mf, "with_df", None)
    if with_df is None or getattr(mf, "only_dfj", False):
        return None
    # Without exact exchange PySCF never builds the tensor, and neither does the guess.
    return with_df if with_df._cderi is not None or potential.exact_exchange > 0 else None
