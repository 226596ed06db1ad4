"""The orientation of an open shell in an atom or a linear molecule, which the integration grid alone decides.

A p hole of an atom or a pi hole of OH turns freely; the grid, not round itself, makes up to 3e-6 Eh of it, with
gradients that look converged all along.  The coarse grid decides otherwise than the SCF's, so the density matrix is
turned, whole, to where the SCF's own grid has the lowest energy, and held there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyscf import gto
from pyscf.scf import hf
from scipy.optimize import minimize, minimize_scalar
from scipy.spatial.transform import Rotation

from pyscf_mlguess.cheap.problem import CheapProblem, State

# Density matrices that change by less (largest element) when they are turned are round.
_ROUND = 1e-3
# Atoms this close (bohr) to one line are on it; core Hamiltonians that differ by less (Eh) are the same.
_STRAIGHT, _SAME_CORE = 1e-3, 1e-6
# Angles about the axis of a linear molecule, over half a turn, to begin with, and those where densities are known.
_ANGLES, _KNOWN = 16, np.arange(5) * np.pi / 5
# Directions of an atom's axis: this many steps along the edges of one of the 48 parts that cubic grids repeat.
_STEPS, _ANGLE = 3, 0.1
_PRECISE_ANGLE, _MAX_EVALUATIONS = 0.02, 10
# Eh; a hundredth of what grids make of an orientation.
_ENERGY = 1e-8
_SMALL_ANGLE = 1e-3
# Curvature (Eh) given to a rotation: far above that of grids and of a correction that does not turn with the density.
_STIFFNESS = 0.1


@dataclass
class FreeRotation:
    """The rotations that change a density matrix and nothing else.

    axis: unit vector (3,) of a linear molecule, or of the density of an atom.
    """

    mol: gto.Mole
    axis: np.ndarray

    @classmethod
    def of(cls, mf: hf.SCF, dm: np.ndarray, hcore: np.ndarray) -> FreeRotation | None:
        """None where nothing turns freely: a round density, another shape of molecule, an external field, symmetry in
        use; or where it makes no difference: no grid.  Cartesian functions are left alone: PySCF does not turn them."""
        mol = mf.mol
        if getattr(mf, "grids", None) is None or mol.symmetry or mol.cart:
            return None
        axis = _axis_of_density(mol, dm) if mol.natm == 1 else _axis_of_line(mol.atom_coords())
        if axis is None:
            return None
        self = cls(mol, axis)
        about = Rotation.align_vectors([[1, 1, 1]], [[0, 0, 1]])[0].as_rotvec() if mol.natm == 1 else np.pi / 4 * axis
        # An eighth of a turn changes the density of every hole.
        changes = [np.abs(self.turned(matrix, about) - matrix).max() for matrix in (dm, hcore)]
        return self if changes[0] > _ROUND and changes[1] < _SAME_CORE else None

    def turned(self, matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Density matrices (..., nao, nao) after a rotation by ``vector`` (radians)."""
        turn = self._turn(vector)
        return turn @ np.asarray(matrix) @ turn.T

    def _turn(self, vector):
        return self.mol.ao_rotation_matrix(Rotation.from_rotvec(vector).as_matrix()).T

    def lowest(self, mf: hf.SCF, dm: np.ndarray) -> np.ndarray:
        """``dm`` turned to the lowest energy of the functional of ``mf`` on its own grid.

        Costs five densities on that grid and some 20 times the functional, or some 20 of both for an atom.
        """
        grid = _Grid(mf)
        if self.mol.natm == 1:
            return self.turned(dm, self._lowest_vector(grid, dm))
        # A density turned about the axis goes as 1, cos 2x and cos 4x (and sines): those of a few angles tell all.
        known = grid.densities([self.turned(dm, angle * self.axis) for angle in _KNOWN])

        def energy(angle):
            difference = angle - _KNOWN
            weights = (1 + 2 * np.cos(2 * difference) + 2 * np.cos(4 * difference)) / len(_KNOWN)
            return grid.energy(np.einsum("k,k...->...", weights, known)) / _ENERGY

        step = np.pi / _ANGLES
        best = step * min(range(_ANGLES), key=lambda k: energy(k * step))
        angle = minimize_scalar(energy, bounds=(best - step, best + step), method="bounded",
                                options={"xatol": _PRECISE_ANGLE, "maxiter": _MAX_EVALUATIONS}).x
        return self.turned(dm, min(best, angle, key=energy) * self.axis)

    def _lowest_vector(self, grid, dm):
        def energy(vector):
            return grid.energy(grid.densities([self.turned(dm, vector)])[0]) / _ENERGY

        best = min((_taking(self.axis, direction) for direction in _directions()), key=energy)
        simplex = best + _ANGLE * np.vstack([np.zeros(3), np.eye(3)])
        return minimize(energy, best, method="Nelder-Mead", options={
            "initial_simplex": simplex, "xatol": _PRECISE_ANGLE, "fatol": 0.1, "maxfev": _MAX_EVALUATIONS}).x

    def tangents(self, dm: np.ndarray) -> list[np.ndarray]:
        """Derivatives of ``dm`` by the angles of the rotations, about one axis or three."""
        vectors = [self.axis] if self.mol.natm > 1 else np.eye(3)
        small = _SMALL_ANGLE
        generators = [(self._turn(small * vector) - self._turn(-small * vector)) / (2 * small) for vector in vectors]
        return [g @ dm + dm @ g.T for g in generators]


class Pin:
    """Holds the orientation of ``dm``: the Fock matrix of a penalty, quadratic in how far a density has turned."""

    def __init__(self, problem: CheapProblem, dm: np.ndarray, tangents: list[np.ndarray]):
        self._problem, self._dm = problem, dm
        flat = np.array([problem.orthonormal_density(t) for t in tangents])
        # Rotations of an atom about its own axis change nothing.
        _, values, combinations = np.linalg.svd(flat @ flat.T)
        keep = values > _ROUND
        weights = combinations[keep] / np.sqrt(values[keep])[:, None]
        self._flat = weights @ flat
        ovlp = problem.ovlp
        self._matrices = [ovlp @ sum(w * t for w, t in zip(row, tangents)) @ ovlp for row in weights]

    def __call__(self, state: State) -> np.ndarray | float:
        turned = self._flat @ self._problem.orthonormal_density(np.asarray(state.dm) - self._dm)
        return _STIFFNESS * sum(angle * matrix for angle, matrix in zip(turned, self._matrices))


class _Grid:
    """The grid of an SCF object, on which densities and their energies are evaluated."""

    def __init__(self, mf):
        self._numint, self._mol, self._xc = mf._numint, mf.mol, mf.xc
        self._kind = self._numint._xc_type(mf.xc)
        self._grids = mf.grids
        if self._grids.coords is None:
            self._grids = self._grids.copy()
            self._grids.verbose = 0
            self._grids.build()

    def densities(self, dms):
        """Density and derivatives of every spin, of every density matrix: (dms, spins, 1, 4 or 5, points)."""
        blocks = self._numint.block_loop(self._mol, self._grids, self._mol.nao, int(self._kind != "LDA"))
        return np.concatenate([[[self._of_block(spin, ao, mask) for spin in (dm[np.newaxis] if dm.ndim == 2 else dm)]
                                for dm in dms] for ao, mask, _, _ in blocks], axis=-1)

    def _of_block(self, dm, ao, mask):
        density = self._numint.eval_rho(self._mol, ao, dm, mask, self._kind, hermi=1, with_lapl=False)
        return density.reshape(-1, ao.shape[-2])

    def energy(self, density):
        """Exchange-correlation energy, Eh."""
        argument = density if len(density) == 2 else density[0]
        argument = argument[..., 0, :] if self._kind == "LDA" else argument
        energy = self._numint.eval_xc_eff(self._xc, argument, deriv=0, xctype=self._kind)[0]
        return (self._grids.weights * density[:, 0].sum(axis=0)) @ energy.ravel()


def _axis_of_line(coords):
    relative = coords - coords[0]
    far = relative[np.linalg.norm(relative, axis=1).argmax()]
    axis = far / np.linalg.norm(far)
    return axis if np.linalg.norm(np.cross(relative, axis), axis=1).max() < _STRAIGHT else None


def _axis_of_density(mol, dm):
    """That of the largest quadrupole moment."""
    total = dm if np.ndim(dm) == 2 else dm[0] + dm[1]
    with mol.with_common_orig(mol.atom_coord(0)):
        moments = np.einsum("xij,ji->x", mol.intor("int1e_rr"), total).reshape(3, 3)
    values, vectors = np.linalg.eigh(moments - np.eye(3) * moments.trace() / 3)
    return vectors[:, np.abs(values).argmax()]


def _directions():
    corners = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1]]) / np.sqrt([[1], [2], [3]])
    shares = np.array([(i, j, _STEPS - i - j) for i in range(_STEPS + 1) for j in range(_STEPS + 1 - i)])
    points = shares @ corners
    return points / np.linalg.norm(points, axis=1)[:, None]


def _taking(own, direction):
    """Rotation vector (radians) that takes the line of the unit vector ``own`` to that of ``direction``."""
    direction = direction if own @ direction > 0 else -direction
    normal = np.cross(own, direction)
    sine = np.linalg.norm(normal)
    return normal / sine * np.arctan2(sine, own @ direction) if sine > 0 else normal
