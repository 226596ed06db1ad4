"""From a label's orbitals to what models of matrices are trained on.

All matrices are those of the reference basis, Loewdin-orthonormalised.  An error of a density matrix costs, to second
order and in a fixed Fock matrix, the energy sum_ia (e_a - e_i) d_ia^2 / 2, one of a Fock matrix that of the density
matrix that it gives, 2 sum_ia d_ia^2 / (e_a - e_i): these are the metrics but for the factor, with a share of the plain
norm, which holds what they are blind to.

What an SCF makes of a density matrix is a Fock matrix, and there charges that went from atom to atom count most: they
repel each other with (R^2 + 1/eta^2)^(-1/2) (Ohno), and that Fock matrix' error costs an energy as above.  The metric
of density matrices is the sum of both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import scipy.linalg
from pyscf import dft, gto, lib, scf
from scipy import sparse

from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.molecules.label import Label, molecule_of
from pyscf_mlguess.routes.auxiliary_fock import AuxiliaryFock
from pyscf_mlguess.routes.free_atoms import GRID_LEVEL, lowest_filled
from pyscf_mlguess.routes.projection import electrons_by_orbital
from pyscf_mlguess.training.prepared import name_of, prepare
from pyscf_mlguess.training.solver import Problem
from pyscf_mlguess.training.targets import BASE, GAP_FLOOR

HARTREE_FOCK = "hf/def2-svp"
# Memory for integrals of one molecule.
_HOLD_MB = 1000.0
# Random vectors for the preconditioner, and items from which it takes what is off the diagonal.
_PROBES, _ENOUGH = 8, 4000
# Of a metric: the share of the plain norm, the rest is that of the energy.  Errors between occupied, and between
# virtual orbitals count to higher orders, and conjugate gradients are slow where the metric has nothing to say.
PLAIN_SHARE = 0.5
# Eh: repulsion of two electrons on one atom; twice the chemical hardness is 0.3 to 0.5 from phosphorus to oxygen.
HARDNESS = 0.45
# 1/bohr: range separations at which long-range exchange is learned.
OMEGAS = (0.2,)


# What ``matrices_of`` gives, in two parts: models of density matrices want the first alone, a third of the time.
DENSITIES = frozenset({"density", "density_hf", "density_0", "orbitals", "energies"})
OPERATORS = frozenset({"fock", "fock_hf", "exchange", "exchange_hf", *(f"long_range_{omega}" for omega in OMEGAS)})


def matrices_of(label: Label, part: frozenset[str] = DENSITIES | OPERATORS) -> dict[str, np.ndarray]:
    """The matrices of a label that has orbitals at ``BASE`` and ``HARTREE_FOCK``, (nao, nao) float32 each.

    part: which ones, ``DENSITIES`` or ``OPERATORS``; default: both.
    density, density_hf: S^1/2 D S^1/2.  density_0: that of the Fock matrix of free atoms at ``BASE``.
    orbitals, energies: of the Fock matrix of the density at ``BASE``.
    fock, fock_hf: of both levels, relative to the Fock matrix of free atoms, brought to the molecule's number of
        electrons; Hartree-Fock's has exchange from a semilocal functional.
    exchange, exchange_hf: -K/2 - V_x of either density matrix.  long_range_0.2 ...: -K/2 of Hartree-Fock's at a range
        separation.
    """
    mol = molecule_of(label).mol(BASE.basis)
    root, inverse = _overlap_roots(mol)
    fitting = DensityFitting(mol, hold_mb=_HOLD_MB)
    whole = AuxiliaryFock(fitting, SemilocalPotential.of(dft.RKS(mol, xc=BASE.xc)), GRID_LEVEL)
    free = fitting.restore_electron_count(free_atom_coefficients(fitting.auxmol), mol.nelectron)
    start = whole.matrix(free)[0]
    dms, orbitals = {}, {}
    for level, suffix in ((str(BASE), ""), (HARTREE_FOCK, "_hf")):
        orbitals[suffix] = label.orbitals[level].astype(float)
        dms[suffix] = 2 * orbitals[suffix] @ orbitals[suffix].T
    fock = whole.matrix(fitting.fit(dms[""]))[0]
    found = {}
    if part & DENSITIES:
        hcore = scf.hf.get_hcore(mol)
        found |= {"density" + suffix: root @ dm @ root for suffix, dm in dms.items()}
        found["density_0"] = lowest_filled(inverse @ (hcore + start) @ inverse, electrons_by_orbital(mol))
        found["energies"], found["orbitals"] = scipy.linalg.eigh(inverse @ (hcore + fock) @ inverse)
    if part & OPERATORS:
        mf = scf.RHF(mol).density_fit()
        stand_in = AuxiliaryFock(fitting, SemilocalPotential.of(mf, exchange_known=True), GRID_LEVEL)
        operators = {"fock": fock - start}
        for suffix, dm in dms.items():
            coefficients = fitting.fit(dm)
            dm = lib.tag_array(dm, mo_coeff=orbitals[suffix], mo_occ=np.full(orbitals[suffix].shape[1], 2.0))
            exact, coulomb = -0.5 * mf.get_k(mol, dm), fitting.contract(coefficients)
            operators["exchange" + suffix] = exact + coulomb - stand_in.matrix(coefficients)[0]
        operators["fock_hf"] = coulomb + exact - stand_in.matrix(free)[0]
        operators |= {f"long_range_{omega}": -0.5 * mf.get_k(mol, dm, omega=omega) for omega in OMEGAS}
        found |= {name: inverse @ matrix @ inverse for name, matrix in operators.items()}
    return {name: matrix.astype(np.float32) for name, matrix in found.items()}


def _overlap_roots(mol):
    """S^1/2 and S^-1/2."""
    values, vectors = scipy.linalg.eigh(mol.intor_symmetric("int1e_ovlp"))
    return (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T


def prepare_matrices(labels: list[Label], cache: str | Path, names: Iterable[str] = DENSITIES | OPERATORS,
                     jobs: int = 2, progress: bool = True) -> None:
    """Write the matrices of every label that the folder ``cache`` does not hold yet, as ``prepared.prepare`` does.

    names: those that are wanted, of ``matrices_of``.
    """
    for part, write in ((DENSITIES, _write_densities), (OPERATORS, _write_operators)):
        if part & set(names):
            prepare(labels, lambda label: matrices_path(cache, label, part), write, "matrices", jobs, progress)


def matrices_path(cache: str | Path, label: Label, part: frozenset[str]) -> Path:
    """Where ``prepare_matrices`` puts a part: under a name that follows from geometry and orbitals."""
    orbitals = (label.orbitals[level] for level in (str(BASE), HARTREE_FOCK))
    name = name_of(label.numbers.astype(np.int16), label.positions, *orbitals)
    return Path(cache) / f"{name}.{'densities' if part == DENSITIES else 'operators'}.npz"


def read_matrices(cache: str | Path, label: Label, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Some of the matrices that ``prepare_matrices`` has written of a label; ValueError for a damaged file."""
    found = {}
    for part in (DENSITIES, OPERATORS):
        if wanted := part & set(names):
            path = matrices_path(cache, label, part)
            try:
                with np.load(path, allow_pickle=False) as file:
                    found |= {name: file[name] for name in wanted}
            except (ValueError, EOFError, KeyError, BadZipFile) as error:
                raise ValueError(f"{path}: damaged matrices ({error}); delete it and start again") from error
    return found


def _write_densities(label, file):
    np.savez(file, **matrices_of(label, DENSITIES))


def _write_operators(label, file):
    np.savez(file, **matrices_of(label, OPERATORS))


@dataclass
class MatrixMetric:
    """The metric of one molecule, acting on its irreps: ``metric @ irreps``.

    assembly: (nao^2, irreps), irreps to the matrix.  occupied, virtual: (nao, n) orbitals.  weights: (nocc, nvir) of
    the squares of an error between them.  plain: weight of the squares of all elements.
    coulomb: (nao, nao), electrons in orthonormalised functions to the potential there, Eh; response: (nocc, nvir)
    weights of the squares of that potential between orbitals.  None: charges do not count.
    """

    assembly: sparse.csr_matrix
    occupied: np.ndarray
    virtual: np.ndarray
    weights: np.ndarray
    plain: float = 0.0
    coulomb: np.ndarray | None = None
    response: np.ndarray | None = None

    @classmethod
    def of(cls, assembly, orbitals: np.ndarray, energies: np.ndarray, nocc: int,
           coulomb: np.ndarray | None = None) -> "MatrixMetric":
        """From orbitals (nao, nao) and their energies (Eh); ``coulomb``: for density instead of Fock matrices."""
        gaps = np.maximum(energies[None, nocc:] - energies[:nocc, None], GAP_FLOOR)
        if coulomb is None:
            return cls(assembly, orbitals[:, :nocc], orbitals[:, nocc:], 1 / gaps)
        return cls(assembly, orbitals[:, :nocc], orbitals[:, nocc:], gaps, 0.0, coulomb.astype(np.float32), 4 / gaps)

    def scaled(self, error: np.ndarray) -> "MatrixMetric":
        """In which ``error`` (irreps) has the loss 1."""
        loss = float(error @ (self @ error))
        self.plain = PLAIN_SHARE / float(np.sum((self.assembly @ error) ** 2))
        self.weights = ((1 - PLAIN_SHARE) * self.weights / loss).astype(np.float32)
        if self.response is not None:
            self.response = ((1 - PLAIN_SHARE) * self.response / loss).astype(np.float32)
        return self

    def __matmul__(self, irreps: np.ndarray) -> np.ndarray:
        nao = len(self.occupied)
        matrix = (self.assembly @ irreps).reshape(nao, nao)
        between = self.weights * (self.occupied.T @ matrix @ self.virtual)
        gradient = self.occupied @ between @ self.virtual.T + self.plain * matrix
        if self.coulomb is not None:
            potential = self.coulomb @ matrix.diagonal()
            between = self.response * (self.occupied.T @ (potential[:, None] * self.virtual))
            own = np.einsum("pi,pi->p", self.occupied @ between, self.virtual)
            gradient[np.diag_indices(nao)] += self.coulomb @ own
        return self.assembly.T @ gradient.ravel()


def coulomb_of_charges(mol: gto.Mole) -> np.ndarray:
    """(nao, nao) repulsion, Eh, of electrons in two orthonormalised functions, as of their atoms' charges.

    Ohno, Theor. Chim. Acta 2, 219 (1964).
    """
    atom = np.repeat(np.arange(mol.natm), [stop - start for _, _, start, stop in mol.aoslice_by_atom()])
    squares = np.sum((mol.atom_coords()[:, None] - mol.atom_coords()) ** 2, axis=2)
    return (1 / np.sqrt(squares + HARDNESS**-2))[np.ix_(atom, atom)]


class BlockProblem(Problem):
    """Least squares for the irreps of blocks; metrics are ``MatrixMetric``."""

    def mean_blocks(self):
        """Estimated from random vectors: independent signs average to the diagonal blocks."""
        random, blocks = np.random.default_rng(2), {key: 0.0 for key in self.design.indices}
        for _ in range(_PROBES):
            signs = random.choice(np.float32([-1, 1]), len(self.target))
            image = self.apply_metric(signs)
            for key, index in self.design.indices.items():
                own, answer = (vector[index].reshape(-1, index.shape[2]).astype(float) for vector in (signs, image))
                blocks[key] = blocks[key] + own.T @ answer / (len(own) * _PROBES)
        for key, index in self.design.indices.items():
            block = (blocks[key] + blocks[key].T) / 2
            # Off the diagonal the estimate is too noisy to be of use in few items.
            if index.shape[0] * index.shape[1] * _PROBES < _ENOUGH:
                block = np.diag(block.diagonal())
            values, vectors = np.linalg.eigh(block)
            blocks[key] = (vectors * np.maximum(values, 0.0)) @ vectors.T
        return blocks
