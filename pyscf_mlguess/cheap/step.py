"""A step of the cheap problem from a density matrix: its Fock matrix, and how electrons screen what that changes."""

from __future__ import annotations

import numpy as np
from pyscf.scf import hf

from pyscf_mlguess.cheap.anderson import Anderson
from pyscf_mlguess.cheap.dielectric import Dielectric
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.refusal import Refusal, numerical_errors_refused
from pyscf_mlguess.stages import count, stage

# Share of exact exchange from which on a Fock matrix of the density matrix corrects it without its screening, too: with
# Hartree-Fock, six molecules take 61 cycles from a network's density matrix, 56 after that, 55 with screening (minao
# 74).  With PBE, charge answers to a Fock matrix by more than it was wrong: 65, 75, 58 (minao 79); B3LYP: 60, 64, 50.
LEAST_EXCHANGE = 0.5
# PySCF's grid level: on the coarser grid, where the cheap problem's iterations begin, its error is most of what is left
# after a step from a good guess (PBE, ten molecules: 80 cycles; levels 1 and 2: 75; minao 130).
_GRID_LEVEL = 1
# An atom, from a predicted guess.  Far from the solution (stretched bonds, frontier gaps that close) the screening of
# the guess's own orbitals leaps: steps that helped moved at most 0.008, eight that harmed 0.009 to 0.7, most of them
# more than 0.3 and to energies that were 10 eV an atom off (qm9_size, ions, distorted, radicals; PBE).
MOST_ELECTRONS_MOVED = 0.009


def problem_of_a_step(mf: hf.SCF) -> CheapProblem | None:
    """The cheap problem for ``stepped``; None where it fails, or has no memory for its tensors and costs too much."""
    try:
        with numerical_errors_refused(), stage("cheap"):
            problem = CheapProblem(mf, grid_level=_GRID_LEVEL)
    except Refusal:
        return None
    return problem if problem.coulomb_tensor is not None and not problem.lacks_exchange else None


def stepped(problem: CheapProblem, dm: np.ndarray) -> np.ndarray:
    """The density matrix after the cheap problem's Fock matrix of ``dm`` and its screening (``Dielectric``), of the
    same shape, with its orbitals.  Open shells take two such steps: the first parts the spins.

    Where screening does not pay (large molecules) the Fock matrix is taken as it is for exact exchange of at least
    ``LEAST_EXCHANGE``, and ``dm`` is returned otherwise.
    """
    anderson = Anderson(problem)
    start = anderson.start(problem.state_of(dm))
    count("cheap_iterations", 1)
    # Asked now: what an iteration costs is known after the first.
    if Dielectric.pays(problem):
        anderson.screen()
        if problem.mol.spin:
            # Radicals, PBE, ten molecules: 89 cycles after one step, 77 after two (minao 115).
            anderson.add(*anderson.next())
            count("cheap_iterations", 1)
        return problem.state(*anderson.next()).dm
    if LevelOfTheory.of(problem.mf).exact_exchange < LEAST_EXCHANGE:
        return dm
    return problem.state(problem.effective(start.cheap, start.state), start.cheap).dm


def electrons_moved(problem: CheapProblem, before: np.ndarray, after: np.ndarray) -> float:
    """Electrons that are in other orbitals ``after`` than ``before``, two density matrices of whole occupations."""
    change, shape = np.asarray(after) - np.asarray(before), np.ndim(after)
    squares = sum(float(np.sum(problem.orthonormal_density(c) ** 2)) for c in (change if shape == 3 else [change]))
    return squares / (2 if shape == 3 else 4)
