"""From a label to what a density model is trained on.

Target: Coulomb-fitted coefficients minus free atoms.  Metric: the solver-aligned
metric Q.  A coefficient error d changes the first Fock matrix by
F_ia = sum_P (ia|P) [(1 + J^-1 X) d]_P, where X_PQ = <P|f_xc|Q> is the semilocal xc
kernel, and so the energy of the density matrix that this Fock matrix gives, to second
order, by sum_ia F_ia^2 / (e_a - e_i) = d^T Q d.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyscf import df, dft, gto, lib

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.molecules.label import Label, Level, molecule_of
from pyscf_mlguess.routes.auxiliary_fock import DENSITY_FLOOR, AuxiliaryFock
from pyscf_mlguess.training.metric import PackedMetric
from pyscf_mlguess.training.prepared import name_of, prepare

# The density that models are trained on first; those of other levels are learned as differences from it.
BASE = Level("pbe", "def2-svp")
# PySCF's level of the grid for the metric.
_GRID_LEVEL = 0
# Virtual-occupied energy differences below this (Eh) count as this.
GAP_FLOOR = 0.15
# Functions with less than this of the kernel's own norm (Eh) in a block of points are left out there.
_KERNEL_THRESHOLD = 1e-7


@dataclass
class Target:
    """What one molecule contributes to the loss.

    label: the molecule, with its densities.
    difference: {level: (naux,)} fitted coefficients minus free atoms, PySCF's auxiliary order.
    metric: Q in Eh, float32.
    """

    label: Label
    difference: dict[str, np.ndarray]
    metric: PackedMetric


def base_auxiliary_mole(label: Label) -> gto.Mole:
    """The auxiliary molecule of a label at the level ``BASE``."""
    return auxiliary_mole(molecule_of(label).mol(BASE.basis))


def metric_of(label: Label) -> np.ndarray:
    """Q at the label's density of the level ``BASE``, (naux, naux) float32."""
    mf = dft.RKS(molecule_of(label).mol(BASE.basis), xc=BASE.xc)
    route = AuxiliaryFock(DensityFitting(mf.mol), SemilocalPotential.of(mf), _GRID_LEVEL)
    coefficients = label.coefficients[str(BASE)].astype(float)
    energies, orbitals = mf.eig(mf.get_hcore() + route.matrix(coefficients)[0], mf.get_ovlp())
    return solver_aligned_metric(route, coefficients, energies, orbitals).astype(np.float32)


def solver_aligned_metric(route: AuxiliaryFock, coefficients: np.ndarray, energies: np.ndarray,
                          orbitals: np.ndarray) -> np.ndarray:
    """Q of the module's docstring, (naux, naux), from the orbitals of the route's Fock matrix at ``coefficients``."""
    fitting, nocc = route.fitting, route.fitting.mol.nelectron // 2
    gaps = np.maximum(energies[None, nocc:] - energies[:nocc, None], GAP_FLOOR).ravel()
    response = np.eye(fitting.auxmol.nao) + fitting.metric.solve(xc_kernel(route, coefficients))
    scaled = _occupied_virtual_integrals(fitting, orbitals[:, :nocc], orbitals[:, nocc:]) @ response
    scaled /= np.sqrt(gaps)[:, None]
    return scaled.T @ scaled


def xc_kernel(route: AuxiliaryFock, coefficients: np.ndarray) -> np.ndarray:
    """X_PQ = <P|f_xc|Q> on the route's grid, shape (naux, naux), Eh."""
    kernel = np.zeros((route.fitting.auxmol.nao,) * 2, dtype=np.float32)
    for index, functions, weights in route.blocks():
        density = coefficients[index] @ functions
        keep = density[0] > DENSITY_FLOOR
        if not keep.any():
            continue
        functions = functions[:, :, keep].astype(np.float32)
        second = (route.potential.second_derivative(density[:, keep]) * weights[keep]).astype(np.float32)
        near = np.flatnonzero(functions[0] ** 2 @ np.abs(second[0, 0]) > _KERNEL_THRESHOLD)
        index, functions = index[near], functions[:, near]
        part = sum(function @ np.einsum("bp,bkp->kp", row, functions, optimize=True).T
                   for row, function in zip(second, functions))
        kernel[np.ix_(index, index)] += part
    return kernel


def _occupied_virtual_integrals(fitting, occupied, virtual):
    """(ia|P), shape (nocc nvir, naux)."""
    mol, auxmol = fitting.mol, fitting.auxmol
    result = np.empty((auxmol.nao, occupied.shape[1] * virtual.shape[1]))
    loc = auxmol.ao_loc
    for shell in range(auxmol.nbas):
        block = df.incore.aux_e2(mol, auxmol, aosym="s2ij", shls_slice=(0, mol.nbas, 0, mol.nbas, shell, shell + 1))
        block = lib.unpack_tril(np.ascontiguousarray(block.reshape(block.shape[0], -1).T))
        result[loc[shell] : loc[shell + 1]] = (occupied.T @ block @ virtual).reshape(len(block), -1)
    return result.T


def prepare_metrics(labels: list[Label], cache: str | Path, jobs: int = 2, progress: bool = True) -> None:
    """Write the metric of every label that the folder ``cache`` does not hold yet, as ``prepared.prepare`` does."""
    prepare(labels, lambda label: metric_path(cache, label), _write_metric, "metrics", jobs, progress)


def metric_path(cache: str | Path, label: Label) -> Path:
    """Where ``prepare_metrics`` puts one metric: under a name that follows from geometry and density."""
    name = name_of(label.numbers.astype(np.int16), label.positions, label.coefficients[str(BASE)])
    return Path(cache) / f"{name}.npy"


def _write_metric(label, file):
    np.save(file, PackedMetric.of(metric_of(label)).triangle)


def read_target(cache: str | Path, label: Label) -> Target:
    """The target of a label whose metric ``prepare_metrics`` has written; ValueError for a damaged file."""
    path, size = metric_path(cache, label), len(label.coefficients[str(BASE)])
    try:
        triangle = np.load(path, allow_pickle=False)
        if len(triangle) != size * (size + 1) // 2:
            raise ValueError(f"{len(triangle)} elements for {size} functions")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: a damaged metric ({error}); delete it and start again") from error
    free = free_atom_coefficients(base_auxiliary_mole(label))
    difference = {level: values - free for level, values in label.coefficients.items()}
    return Target(label, difference, PackedMetric(triangle))
