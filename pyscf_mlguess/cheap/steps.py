"""Some iterations of the cheap problem behind a predicted density matrix, with the screening of its own orbitals."""

from __future__ import annotations

import numpy as np
from pyscf.scf import hf

from pyscf_mlguess.cheap.anderson import Anderson
from pyscf_mlguess.cheap.cost import costs
from pyscf_mlguess.cheap.dielectric import Dielectric
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.refusal import NotServed, Refusal, numerical_errors_refused
from pyscf_mlguess.stages import count, stage

# PySCF's grid level: on the coarser grid, where the refinement of any guess begins, its error is most of what is left
# after a step from a good guess (PBE, ten molecules, one step: 80 cycles; levels 1 and 2: 75; minao 130).
_GRID_LEVEL = 1
# An iteration leaves a tenth of the gradient, and saves a build or two of the SCF: after one, two, three and four
# eight molecules take 59, 43, 32 and 32 cycles with PBE (minao 105), six 41, 31, 24 and 22 with B3LYP (70).  The last
# follows on this gradient (Eh), at the latest on the fourth Fock matrix after the first.
_TOLERANCE, _MOST_ITERATIONS = 1e-3, 4
# Without screening an iteration leaves a third or half.
_MOST_UNSCREENED = 8
# Far from the solution (stretched bonds, frontier gaps that close) the screening of the guess's own orbitals leaps: the
# gradient of those that harmed rose to three times and more, of one that helped by a sixth.
_LEAP = 2.0


def problem_of_steps(mf: hf.SCF) -> CheapProblem | None:
    """The cheap problem for ``stepped``; None where it fails, or has no memory for its tensors and costs too much."""
    try:
        with numerical_errors_refused(), stage("cheap"):
            problem = CheapProblem(mf, grid_level=_GRID_LEVEL)
    except Refusal:
        return None
    return problem if problem.coulomb_tensor is not None and not problem.lacks_exchange else None


def stepped(problem: CheapProblem, dm: np.ndarray) -> np.ndarray:
    """The density matrix some iterations on, of the same shape, with its orbitals.

    Screening (``Dielectric``) is set up where that takes less time than a Fock build of the user's.  Raises
    NotServed where the iterations lead away from a solution.
    """
    before = problem.iterations
    try:
        return _stepped(problem, dm)
    finally:
        count("cheap_iterations", problem.iterations - before)


def _stepped(problem, dm):
    anderson = Anderson(problem)
    point = anderson.start(problem.state_of(dm))
    # Asked now: what an iteration costs is known after the first.
    if screened := Dielectric.seconds(problem) < costs(problem.mf).build or Dielectric.pays(problem):
        anderson.screen()
    first = gradient = anderson.gradient(point)
    for _ in range(_MOST_ITERATIONS if screened else _MOST_UNSCREENED):
        if gradient < _TOLERANCE:
            break
        before, gradient = gradient, anderson.gradient(anderson.add(*anderson.next()))
        if not gradient < _LEAP * before:
            raise NotServed(f"the cheap problem's iterations lead away from it, the gradient from {before:.1e} to "
                            f"{gradient:.1e} Eh")
    if screened and gradient < first:
        return problem.state(*anderson.next()).dm
    return anderson.best().state.dm
