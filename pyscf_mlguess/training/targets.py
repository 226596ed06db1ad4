"""From a converged reference calculation to what a density model is trained on.

Target: Coulomb-fitted coefficients minus free atoms.  Metric: the solver-aligned
metric Q.  A coefficient error d changes the first Fock matrix by
F_ia = sum_P (ia|P) [(1 + J^-1 X) d]_P, where X_PQ = <P|f_xc|Q> is the semilocal xc
kernel, and so the energy of the density matrix that this Fock matrix gives, to second
order, by sum_ia F_ia^2 / (e_a - e_i) = d^T Q d.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import scipy.linalg
from pyscf import df, dft, scf
from tqdm import tqdm

from pyscf_mlguess.adft import DENSITY_FLOOR, AuxiliaryProblem
from pyscf_mlguess.auxiliary_basis import auxiliary_mole, free_atom_coefficients
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.training.reference import ReferenceEntry, read_entry, read_names

# Virtual-occupied energy differences below this (Eh) count as this.
GAP_FLOOR = 0.15
_KERNEL_GRID_LEVEL = 0


@dataclass
class Target:
    """What one molecule contributes to the loss.

    difference: {level: (naux,)} fitted coefficients minus free atoms, PySCF's auxiliary order.
    metric: (naux, naux) float32, Q in Eh.
    """

    name: str
    smiles: str
    charge: int
    numbers: np.ndarray
    positions: np.ndarray
    difference: dict[str, np.ndarray]
    metric: np.ndarray


def make_target(entry: ReferenceEntry, basis: str, metric_level: str = "pbe") -> Target:
    """Fit the reference densities and build the solver-aligned metric of one molecule."""
    mol = entry.mol(basis)
    problem = AuxiliaryProblem(mol, auxiliary_mole(mol))
    free = free_atom_coefficients(problem.auxmol)
    fitted = {level: problem.fit(2 * c @ c.T) for level, c in entry.orbitals.items()}
    occupied, energies = entry.orbitals[metric_level], entry.orbital_energies[metric_level]
    mf = dft.RKS(mol, xc=metric_level) if metric_level != "hf" else scf.RHF(mol)
    potential = SemilocalPotential.of(mf)
    fock = mf.get_hcore() + problem.effective_potential(fitted[metric_level], potential)
    metric = solver_aligned_metric(problem, fitted[metric_level], potential, fock, occupied,
                                   energies[: occupied.shape[1]])
    return Target(entry.name, entry.smiles, entry.charge, entry.numbers, entry.positions,
                  {level: c - free for level, c in fitted.items()}, metric.astype(np.float32))


def solver_aligned_metric(problem, coefficients, potential, fock, occupied, occupied_energies):
    """Q of the module's docstring, (naux, naux); ``fock`` is the route's at ``coefficients``."""
    virtual, virtual_energies = _virtual_orbitals(fock, occupied, problem.mol.intor_symmetric("int1e_ovlp"))
    gaps = np.maximum(virtual_energies[None, :] - occupied_energies[:, None], GAP_FLOOR).ravel()
    response = np.eye(problem.auxmol.nao) + problem.solve_metric(xc_kernel(problem, coefficients, potential))
    scaled = _occupied_virtual_integrals(problem, occupied, virtual) @ response
    scaled /= np.sqrt(gaps)[:, None]
    return scaled.T @ scaled


def xc_kernel(problem: AuxiliaryProblem, coefficients: np.ndarray, potential: SemilocalPotential) -> np.ndarray:
    """X_PQ = <P|f_xc|Q> on a coarse grid, shape (naux, naux), Eh."""
    coarse = AuxiliaryProblem(problem.mol, problem.auxmol, grid_level=_KERNEL_GRID_LEVEL)
    kernel = np.zeros((problem.auxmol.nao,) * 2, dtype=np.float32)
    for functions, weights in coarse.grid_blocks():
        density = coefficients @ functions
        keep = density[0] > DENSITY_FLOOR
        functions = functions[:, :, keep].astype(np.float32)
        second = (potential.second_derivative(density[:, keep]) * weights[keep]).astype(np.float32)
        for row, function in zip(second, functions):
            kernel += function @ np.einsum("bp,bkp->kp", row, functions, optimize=True).T
    return kernel


def _virtual_orbitals(fock, occupied, ovlp):
    complement = scipy.linalg.null_space((ovlp @ occupied).T)
    energies, vectors = scipy.linalg.eigh(complement.T @ fock @ complement, complement.T @ ovlp @ complement)
    return complement @ vectors, energies


def _occupied_virtual_integrals(problem, occupied, virtual):
    nao, naux = len(occupied), problem.auxmol.nao
    result = np.empty((occupied.shape[1] * virtual.shape[1], naux))
    integrals = df.incore.aux_e2(problem.mol, problem.auxmol, aosym="s1").reshape(nao, nao, naux)
    half = np.tensordot(occupied.T, integrals, axes=1)
    for i, block in enumerate(half):
        result[i * virtual.shape[1] : (i + 1) * virtual.shape[1]] = virtual.T @ block
    return result


def prepare_targets(reference: str | Path, cache: str | Path, basis: str = "def2-svp", jobs: int = 2,
                    progress: bool = True) -> None:
    """Write every target of ``reference`` that the folder ``cache`` does not hold yet, one file each.

    May be killed at any time and started again: a file appears complete or not at all.
    """
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    missing = [name for name, _ in read_names(reference) if not target_path(cache, name).exists()]
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        done = joblib.Parallel(return_as="generator_unordered")(
            joblib.delayed(_write_target)(str(reference), name, basis, target_path(cache, name)) for name in missing)
        for _ in tqdm(done, total=len(missing), desc="targets", unit="mol", disable=not progress):
            pass


def target_path(cache: str | Path, name: str) -> Path:
    """Where ``prepare_targets`` puts one target."""
    return Path(cache) / f"{name}.npz"


def _write_target(reference, name, basis, path):
    target = make_target(read_entry(reference, name), basis)
    lower = np.tril_indices(len(target.metric))
    unfinished = path.with_suffix(f".{os.getpid()}")
    with open(unfinished, "wb") as file:
        np.savez(file, name=target.name, smiles=target.smiles, charge=target.charge, numbers=target.numbers,
                 positions=target.positions, metric=target.metric[lower],
                 **{f"difference/{level}": values for level, values in target.difference.items()})
    os.replace(unfinished, path)


def read_target(path: str | Path) -> Target:
    """One target written by ``prepare_targets``."""
    with np.load(path, allow_pickle=False) as stored:
        difference = {key.partition("/")[2]: stored[key] for key in stored.files if key.startswith("difference/")}
        naux = len(next(iter(difference.values())))
        metric = np.zeros((naux, naux), dtype=np.float32)
        metric[np.tril_indices(naux)] = stored["metric"]
        metric += np.tril(metric, -1).T
        return Target(str(stored["name"]), str(stored["smiles"]), int(stored["charge"]), stored["numbers"],
                      stored["positions"], difference, metric)
