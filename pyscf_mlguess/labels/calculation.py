"""One molecule -> its converged densities, as coefficients in the auxiliary basis of the density route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pyscf import dft, scf
from pyscf.data.elements import charge
from pyscf.data.nist import BOHR
from pyscf.data.radii import COVALENT
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform

from pyscf_mlguess.cheap.anderson import Anderson
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.cheap.refinement import refined
from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.molecules.label import Label, Level, molecule_of
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.refusal import Refusal, check_molecule
from pyscf_mlguess.two_level_scf import two_level

# Grid of the SCF, and the convergence of energy (Eh) and orbital gradient that labels need.
_GRID_LEVEL = 1
_CONV_TOL, _CONV_TOL_GRAD = 1e-8, 1e-5
# The cheap problem's solution counts as converged below this gradient (Eh).
_CHEAP_GRADIENT = 2e-3
# Atoms nearer than this many sums of covalent radii are bonded.
_BONDED = 1.25
# Electrons that stored orbitals may hold too many or too few: more means another basis, or another molecule.
_ELECTRONS = 1e-3


class LabelError(RuntimeError):
    """A molecule that cannot be labelled, with the reason."""


def displaced(molecule: Molecule, sigma: float) -> Molecule:
    """Every coordinate moved by Gaussian noise of standard deviation ``sigma`` (angstrom), fixed by the molecule."""
    rng = np.random.default_rng(int(molecule.fingerprint, 16))
    positions = np.array(molecule.positions) + sigma * rng.normal(size=(len(molecule.symbols), 3))
    return replace(molecule, positions=tuple(map(tuple, positions.tolist())))


def stretched(molecule: Molecule, share: float) -> Molecule:
    """One bond that is in no ring, picked by the molecule, lengthened by ``share`` of itself (0.2: a fifth).

    The smaller part moves.  Unchanged where ``share`` is 0 and where there is no such bond.
    """
    positions = np.array(molecule.positions)
    radii = np.array([COVALENT[charge(symbol)] for symbol in molecule.symbols]) * BOHR
    bonded = squareform(pdist(positions)) < _BONDED * (radii[:, None] + radii)
    candidates = []
    for first, second in np.argwhere(np.triu(bonded, 1)) if share else ():
        rest = bonded.copy()
        rest[first, second] = rest[second, first] = False
        part = connected_components(rest)[1]
        if part[first] != part[second]:
            candidates.append((first, second, part))
    if not candidates:
        return molecule
    first, second, part = candidates[int(molecule.fingerprint, 16) % len(candidates)]
    if (part == part[first]).sum() < (part == part[second]).sum():
        first, second = second, first
    positions[part == part[second]] += share * (positions[second] - positions[first])
    return replace(molecule, positions=tuple(map(tuple, positions.tolist())))


def calculate(molecule: Molecule, levels: Sequence[Level], method: str = "cheap", orbitals: bool = False) -> Label:
    """Converge ``molecule`` at every level and fit the densities.

    method: "cheap" solves the cheap problem with grid level 1, whose density is the SCF's to some 1e-7 of the
        squared error of free atoms; "scf" the density-fitted SCF itself (two-level), five times dearer.
    orbitals: whether the label keeps the occupied orbitals of that solution, too.
    Each level starts from the one before if that has the same basis.  Raises LabelError.
    """
    if molecule.multiplicity != 1:
        raise LabelError(f"multiplicity {molecule.multiplicity}: only closed shells are labelled")
    # Rounded first, so that what is stored is what was calculated.
    positions = (np.array(molecule.positions) / BOHR).astype(np.float32)
    molecule = replace(molecule, positions=tuple(map(tuple, (positions.astype(float) * BOHR).tolist())))
    numbers = np.array([charge(symbol) for symbol in molecule.symbols])
    label = Label(molecule.name, molecule.smiles, molecule.charge, numbers, positions, {})
    basis, dm = None, None
    for level in levels:
        mol = _checked(molecule.mol(level.basis))
        if level.basis != basis:
            basis, dm, fitting = level.basis, None, DensityFitting(mol)
        mf = (scf.RHF(mol) if level.xc == "hf" else dft.RKS(mol, xc=level.xc)).density_fit()
        if level.xc != "hf":
            mf.grids.level = _GRID_LEVEL
        dm = np.asarray(mf.get_init_guess() if dm is None else dm)
        dm, occupied, label.gradients[str(level)] = (_solve_cheap if method == "cheap" else _solve)(mf, dm, level)
        label.coefficients[str(level)] = fitting.fit(dm).astype(np.float32)
        if orbitals:
            label.orbitals[str(level)] = occupied.astype(np.float32)
    return label


def label_of_orbitals(entry: Label, keep: bool = False) -> Label:
    """Fit the densities of converged orbitals; ``keep`` these, too.

    Raises LabelError where the orbitals are not those of the molecule in the basis of their level.
    """
    molecule = molecule_of(entry)
    label = replace(entry, coefficients={}, orbitals={})
    for name, orbitals in entry.orbitals.items():
        level = Level.parse(name)
        mol = _checked(molecule.mol(level.basis))
        if len(orbitals) != mol.nao:
            raise LabelError(f"{level}: orbitals of {len(orbitals)} basis functions, where the basis has {mol.nao}")
        dm = 2 * orbitals.astype(float) @ orbitals.T.astype(float)
        electrons = np.vdot(dm, mol.intor_symmetric("int1e_ovlp"))
        if not abs(electrons - mol.nelectron) < _ELECTRONS:
            raise LabelError(f"{level}: the orbitals hold {electrons:.3f} electrons, not {mol.nelectron}")
        label.coefficients[name] = DensityFitting(mol).fit(dm).astype(np.float32)
        if keep:
            label.orbitals[name] = orbitals.astype(np.float32)
    return label


def _checked(mol):
    try:
        check_molecule(mol)
    except Refusal as refusal:
        raise LabelError(str(refusal)) from None
    return mol


def _solve_cheap(mf, dm, level):
    """Density matrix, occupied orbitals and orbital gradient of the cheap problem's solution."""
    anderson = Anderson(CheapProblem(mf))
    refined(anderson, dm)
    best = anderson.best()
    gradient = anderson.gradient(best)
    if not gradient < _CHEAP_GRADIENT:
        raise LabelError(f"{level}: the cheap problem stopped at a gradient of {gradient:.1e} Eh")
    # A state's orbitals are scaled by the root of their occupation, 2.
    return np.asarray(best.state.dm), best.state.orbitals[0] / np.sqrt(2), float(gradient)


def _solve(mf, dm, level):
    """As ``_solve_cheap``, of the SCF."""
    mf = two_level(mf)
    mf.conv_tol, mf.conv_tol_grad = _CONV_TOL, _CONV_TOL_GRAD
    mf.kernel(dm0=dm)
    if not mf.converged:
        raise LabelError(f"{level}: no convergence in {mf.max_cycle} cycles")
    dm = mf.make_rdm1()
    gradient = np.linalg.norm(mf.get_grad(mf.mo_coeff, mf.mo_occ, mf.get_fock(dm=dm)))
    return np.asarray(dm), mf.mo_coeff[:, mf.mo_occ > 0], float(gradient)
