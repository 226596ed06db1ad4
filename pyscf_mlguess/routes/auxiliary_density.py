"""The density route: auxiliary density -> Fock matrix -> density matrix in the user's basis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyscf import lib
from pyscf.scf import hf

from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.density_fitting.auxiliary_basis import AUXBASIS, auxiliary_mole
from pyscf_mlguess.density_fitting.fitting import DensityFitting, refit
from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients
from pyscf_mlguess.density_fitting.metric import function_integrals
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.predictions import AuxiliaryDensity
from pyscf_mlguess.refusal import Refusal
from pyscf_mlguess.routes.auxiliary_fock import GRID_LEVEL, START_GRID, AuxiliaryFock
from pyscf_mlguess.routes.occupation import Occupied, occupy
from pyscf_mlguess.routes.report import Report
from pyscf_mlguess.routes.spin import polarised
from pyscf_mlguess.scf_copy import ScfCopy
from pyscf_mlguess.structure import element_numbers

# What separates good guesses from bad ones, on molecules far from and near to the training set: see RESULTS.md,
# "When a guess is refused".
MOST_ELECTRONS_MISSING = 0.1  # per atom, before the count is restored
MOST_NEGATIVE_ELECTRONS = 0.08  # per atom, in regions of negative fitted density
SMALLEST_GAP = 0.04  # Eh; the occupation, and with it the whole guess, hangs on less than the error
# Share of the memory that the SCF object leaves, for integrals.
_INTEGRAL_SHARE = 0.5


@dataclass
class DensityReport(Report):
    """What the density and its orbitals showed.

    natm: real atoms.  closed_shell: no unpaired electron.  predicted: whether a model predicted the density, by whose
        electrons it can be judged; free atoms, of which a Fock matrix' difference was predicted, have those of no ion.
    electrons_missing: electrons that the prediction lacked before the count was restored.
    negative_electrons: electrons in regions of negative fitted density (a positive number).
    frontier_gap: energy (Eh) between highest occupied and lowest empty orbital.
    """

    natm: int = 1
    closed_shell: bool = True
    predicted: bool = True
    electrons_missing: float = 0.0
    negative_electrons: float = 0.0
    frontier_gap: float = np.inf

    def objection(self) -> str | None:
        missing, negative = abs(self.electrons_missing), self.negative_electrons
        if self.predicted and not missing / self.natm <= MOST_ELECTRONS_MISSING:
            return (f"the predicted density has {missing:.2f} electrons too "
                    f"{'few' if self.electrons_missing > 0 else 'many'} "
                    f"({missing / self.natm:.3f} an atom, limit {MOST_ELECTRONS_MISSING})")
        if self.predicted and not negative / self.natm <= MOST_NEGATIVE_ELECTRONS:
            return (f"the predicted density is negative over {negative:.2f} electrons "
                    f"({negative / self.natm:.3f} an atom, limit {MOST_NEGATIVE_ELECTRONS})")
        # An open shell's gap is often that small, and the SCF itself opens it.
        if self.closed_shell and self.frontier_gap < SMALLEST_GAP:
            return f"the frontier gap is {self.frontier_gap:.3f} Eh (limit {SMALLEST_GAP})"
        return None

    def __str__(self) -> str:
        # Adding 0.0 takes the sign from a rounded zero.
        return (f"electrons missing {round(self.electrons_missing, 4) + 0.0:.4f}, "
                f"in negative density {self.negative_electrons:.4f}, frontier gap {self.frontier_gap:.4f} Eh")


def density_matrix(mf: hf.SCF, prediction: AuxiliaryDensity, responses: Sequence[Response] | None = None,
                   cheap: CheapProblem | None = None,
                   difference: np.ndarray | None = None) -> tuple[np.ndarray, DensityReport]:
    """Density matrix of a predicted density, (nao, nao) or (2, nao, nao) as the SCF class has it, and its report.

    responses: correct the density one after the other, each from the density that the Fock matrix before gives back.
    cheap: a cheap problem that is to go on from the guess, spins and all: its integrals serve, and a coarser grid.
    difference: (nao, nao) of the Fock matrix from that of the density, which then holds all of exact exchange.
    Raises Refusal for a prediction in another auxiliary basis.
    """
    if prediction.auxbasis != AUXBASIS:
        raise Refusal(f"the prediction is in the auxiliary basis {prediction.auxbasis!r}, the density route "
                      f"works in {AUXBASIS!r}")
    mol = mf.mol
    auxmol = auxiliary_mole(mol)
    coefficients = free_atom_coefficients(auxmol) + prediction.assemble(auxmol)
    report = DensityReport(natm=auxmol.natm, closed_shell=mol.spin == 0,
                           electrons_missing=mol.nelectron - float(function_integrals(auxmol) @ coefficients))
    route = (DensityRoute(mf, auxmol, hold=bool(responses), difference=difference) if cheap is None
             else DensityRoute.through(cheap, auxmol, difference))
    for response in responses or ():
        coefficients = route.density.restore_electron_count(coefficients, mol.nelectron)
        correction = route.correction(coefficients, response)
        if correction is None:
            report.notes.append("density not corrected, its Fock matrix gives back another one altogether")
            break
        coefficients = coefficients + correction
    occupied, report.negative_electrons = route.occupied(coefficients, spins=cheap is None and difference is None)
    report.frontier_gap = occupied.gap
    report.notes += route.potential.notes + occupied.notes
    return occupied.dm, report


class DensityRoute:
    """From auxiliary coefficients to orbitals, for one SCF object.

    auxmol: their functions (default: those of predictions).  grid: as for ``AuxiliaryFock``.  hold: keep integrals
    from one density to the next, as far as ``mf.max_memory`` allows.  difference: as for ``density_matrix``.

    density: a fitting in the functions of the coefficients; fitting: that of the integrals, mostly the same one.
    """

    def __init__(self, mf: hf.SCF, auxmol=None, grid=GRID_LEVEL, hold: bool = False,
                 difference: np.ndarray | None = None):
        self.potential, self._scf = SemilocalPotential.of(mf, difference is not None), ScfCopy(mf)
        self._difference = 0.0 if difference is None else difference
        hold_mb = max(0.0, mf.max_memory - lib.current_memory()[0]) * _INTEGRAL_SHARE if hold else 0.0
        self.fitting = DensityFitting.of(mf, auxmol, not LevelOfTheory.of(mf).is_semilocal, hold_mb)
        self.density = self.fitting
        self._fock = AuxiliaryFock(self.fitting, self.potential, grid)

    @classmethod
    def through(cls, cheap: CheapProblem, auxmol, difference: np.ndarray | None = None) -> "DensityRoute":
        """With the integrals of a cheap problem that is to refine the guess, in its auxiliary functions."""
        self = cls.__new__(cls)
        self.potential, self._scf = SemilocalPotential.of(cheap.mf, difference is not None), cheap.scf
        self._difference = 0.0 if difference is None else difference
        self.fitting = cheap.fitting
        self.density = DensityFitting(cheap.mol, auxmol)
        self._fock = AuxiliaryFock(self.fitting, self.potential, START_GRID)
        return self

    def occupied(self, coefficients: np.ndarray, break_spin_symmetry: bool = True,
                 spins: bool = False) -> tuple[Occupied, float]:
        """The occupied orbitals of the density's Fock matrix, and its electrons in regions of negative density.

        The density is made to hold the molecule's electrons.
        spins: give alpha and beta electrons, where their numbers differ, orbitals of their own.
        """
        if self.density is not self.fitting:
            coefficients = refit(coefficients, self.density.auxmol, self.fitting.auxmol, self.fitting.metric)
        coefficients = self.fitting.restore_electron_count(coefficients, self.fitting.mol.nelectron)
        matrix, negative = self._fock.matrix(coefficients)
        fock = self._scf.hcore + matrix + self._difference
        occupied = occupy(self._scf, fock, break_spin_symmetry)
        if spins and self._scf.mf.mol.spin and np.ndim(occupied.dm) == 3:
            occupied = polarised(self._scf, self.potential, fock, occupied)
        return occupied, negative

    def output_density(self, coefficients: np.ndarray) -> np.ndarray:
        """The fitted density (naux,) of the orbitals that the Fock matrix of ``coefficients`` gives."""
        # Breaking the spin symmetry is for the guess itself: it may move charge.
        dm = np.asarray(self.occupied(coefficients, break_spin_symmetry=False)[0].dm)
        found = self.fitting.fit(dm if dm.ndim == 2 else dm[0] + dm[1])
        if self.density is self.fitting:
            return found
        return refit(found, self.fitting.auxmol, self.density.auxmol, self.density.metric)

    def correction(self, coefficients: np.ndarray, response: Response) -> np.ndarray | None:
        """What the density's Fock matrix says about its error; None where that is out of all proportion."""
        auxmol, metric = self.density.auxmol, self.density.metric.matrix
        numbers = element_numbers(self.fitting.mol)
        residual = self.output_density(coefficients) - coefficients
        correction = response.correction(numbers[numbers > 0], auxmol, residual, metric)
        deformation = coefficients - free_atom_coefficients(auxmol)
        return correction if correction @ metric @ correction < deformation @ metric @ deformation else None


def exact_fit_guess(mf: hf.SCF, dm: np.ndarray) -> np.ndarray:
    """The guess that a perfect prediction of the density of ``dm`` would give: the route's ceiling."""
    route, dm = DensityRoute(mf), np.asarray(dm)
    return route.occupied(route.fitting.fit(dm if dm.ndim == 2 else dm[0] + dm[1]))[0].dm
