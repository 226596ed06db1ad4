"""Energies as functions of orbital rotations: derivatives, curvatures and minima of the cheap problem."""

import numpy as np
import pytest
from pyscf import dft, gto, scf

from pyscf_mlguess.cheap.determinant import Determinant
from pyscf_mlguess.cheap.minimisation import Objective, Secant, minimise
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.cheap.stability import downhill, lowest_curvature

WATER = "O 0 0 0; H 0 0.76 0.59; H 0 -0.76 0.59"
CASES = {
    "RHF": lambda: scf.RHF(molecule(WATER)), "RKS": lambda: dft.RKS(molecule(WATER), xc="pbe"),
    "UKS": lambda: dft.UKS(molecule(WATER, charge=1, spin=1), xc="b3lyp"),
    "ROKS": lambda: dft.ROKS(molecule(WATER, charge=1, spin=1), xc="pbe"),
    "ROHF": lambda: scf.ROHF(molecule(WATER, charge=1, spin=1)),
    "symmetry": lambda: dft.UKS(molecule(WATER, charge=1, spin=1, symmetry=True), xc="pbe"),
}


def molecule(atom, **kwargs):
    return gto.M(atom=atom, basis="def2-svp", verbose=0, **kwargs)


def begun(name):
    """Cheap problem and a determinant that is no solution: the orbitals of minao's Fock matrix."""
    mf = CASES[name]().density_fit()
    problem = CheapProblem(mf, precise=True)
    fock = mf.get_fock(dm=mf.get_init_guess(key="minao"))
    energies, coefficients = mf.eig(fock, mf.get_ovlp())
    return mf, problem, Determinant.of(problem, coefficients, mf.get_occ(energies, coefficients))


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_slope_of_the_energy_and_twice_that_of_pyscf(name):
    mf, problem, determinant = begun(name)
    objective = Objective(problem)
    gradient = determinant.gradient(objective(determinant.state)[1])
    direction = np.random.default_rng(0).normal(size=len(gradient))
    energies = [objective(determinant.rotated(step * direction).state)[0] for step in (1e-4, -1e-4)]
    assert (energies[0] - energies[1]) / 2e-4 == pytest.approx(gradient @ direction, rel=1e-4)
    assert np.linalg.norm(gradient) / 2 == pytest.approx(problem.gradient(objective(determinant.state)[1],
                                                                          determinant.state), rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_corrected_energy_is_that_of_the_real_points(name):
    """Around one point, with what two others nearby say: its slope is the Fock matrix, at the others the real one."""
    mf, problem, determinant = begun(name)
    rng = np.random.default_rng(1)
    others = [determinant.rotated(0.01 * rng.normal(size=len(determinant.gradient(problem.fock(determinant.state)))))
              for _ in range(2)]
    dms = [np.asarray(each.state.dm) for each in (determinant, *others)]
    # A quadratic energy, tr D M D, stands for what the cheap problem lacks.
    size = problem.scf.basis.shape[1]
    matrix = 1e-2 * rng.normal(size=(size, size))
    matrix += matrix.T

    def lacking(dm):
        d = problem.orthonormal_density(dm).reshape(-1, size, size)
        return (matrix @ d + d @ matrix).ravel()

    deltas = [lacking(dm) for dm in dms]
    secant = Secant(np.array([problem.orthonormal_density(dm - dms[0]) for dm in dms[1:]]),
                    np.array([delta - deltas[0] for delta in deltas[1:]]))
    objective = Objective(problem, problem.from_orthonormal(deltas[0], dms[0].shape), dms[0], secant)
    for dm, delta, each in zip(dms, deltas, (determinant, *others)):
        missing = objective(each.state)[1] - problem.fock(each.state)
        assert problem.orthonormal(missing) == pytest.approx(delta, abs=1e-8)
    gradient = others[0].gradient(objective(others[0].state)[1])
    direction = rng.normal(size=len(gradient))
    energies = [objective(others[0].rotated(step * direction).state)[0] for step in (1e-4, -1e-4)]
    assert (energies[0] - energies[1]) / 2e-4 == pytest.approx(gradient @ direction, rel=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_minimum_is_the_solution_of_the_cheap_problem(name):
    mf, problem, determinant = begun(name)
    found = minimise(Objective(problem), determinant, 1e-6, 100)
    assert found.gradient < 1e-6
    energy = mf.run(conv_tol=1e-10).e_tot - mf.energy_nuc()
    # The coarse grid is 0.02 Eh off in energy, and hardly in the density.
    assert found.energy == pytest.approx(energy, abs=0.05)
    assert np.abs(np.asarray(found.determinant.state.dm) - mf.make_rdm1()).max() < 0.05
    # Again from there it stays; canonical orbitals are those of the Fock matrix that is handed over.
    effective = found.determinant.canonical(found.fock)[0].effective(found.fock)
    energies, coefficients = mf.eig(effective, mf.get_ovlp())
    dm = mf.make_rdm1(coefficients, mf.get_occ(energies, coefficients))
    assert np.abs(np.asarray(dm) - np.asarray(found.determinant.state.dm)).max() < 1e-8


def test_region_of_trust_is_kept():
    _, problem, determinant = begun("RKS")
    found = minimise(Objective(problem), determinant, 1e-6, 100, reach=0.01)
    change = problem.orthonormal_density(np.asarray(found.determinant.state.dm) - np.asarray(determinant.state.dm))
    assert 0.003 < np.linalg.norm(change) <= 0.01 and found.gradient > 1e-6


def test_curvature_along_a_rotation_is_that_of_the_energy():
    """The stretched molecule falls apart into atoms of opposite spin."""
    mf = dft.UKS(molecule("H 0 0 0; H 0 0 2.5"), xc="pbe").density_fit()
    problem = CheapProblem(mf, precise=True)
    orbitals = dft.RKS(mf.mol, xc="pbe").density_fit().run()
    start = Determinant.of(problem, np.array([orbitals.mo_coeff] * 2), np.array([orbitals.mo_occ / 2] * 2))
    objective = Objective(problem)
    saddle = minimise(objective, start, 1e-6, 50)
    found = lowest_curvature(objective, saddle.determinant, saddle.fock)
    assert found.lowest < -0.1 and not found.is_stable
    energies = [objective(found.determinant.rotated(step * found.direction).state)[0] for step in (-0.02, 0, 0.02)]
    assert (energies[0] - 2 * energies[1] + energies[2]) / 4e-4 == pytest.approx(found.lowest, rel=0.05)
    below = minimise(objective, downhill(objective, found), 1e-5, 50)
    assert below.energy < saddle.energy - 0.03
    assert lowest_curvature(objective, below.determinant, below.fock).is_stable
    # Alpha and beta turned alike find nothing.
    assert lowest_curvature(objective, saddle.determinant, saddle.fock, spins_together=True).is_stable


@pytest.mark.parametrize("name, basis", [("RHF", "def2-svp"), ("UKS", "def2-svp"), ("ROHF", "def2-svp"),
                                         ("RHF", "aug-cc-pvdz")])
def test_single_precision_sees_the_same_curvature(name, basis):
    mf = CASES[name]().density_fit()
    mf.mol.build(basis=basis)
    problem = CheapProblem(mf.run(), precise=True)
    objective = Objective(problem)
    found = minimise(objective, Determinant.of(problem, mf.mo_coeff, mf.mo_occ), 1e-6, 50)
    curvatures = []
    for problem.precise in (True, False):
        fock = problem.fock(found.determinant.state)
        curvatures.append(lowest_curvature(objective, found.determinant, fock))
    precise, coarse = curvatures
    assert coarse.is_clearly_stable and coarse.lowest == pytest.approx(precise.lowest, abs=0.01)
