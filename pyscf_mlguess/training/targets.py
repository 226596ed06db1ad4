"""From a converged reference calculation to what a density model is trained on.

Target: Coulomb-fitted coefficients minus free atoms.  Metric: the solver-aligned
metric Q.  A coefficient error d changes the first Fock matrix by
F_ia = sum_P (ia|P) [(1 + J^-1 X) d]_P, where X_PQ = <P|f_xc|Q> is the semilocal xc
kernel, and so the energy of the density matrix that this Fock matrix gives, to second
order, by sum_ia F_ia^2 / (e_a - e_i) = d^T Q d.  The route's own error, the occupied-virtual
block of its Fock matrix at the fitted reference density, enters as the gradient g.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
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
    gradient: (naux,), g in Eh: the loss of an error d is d^T Q d + 2 g^T d.
    """

    name: str
    smiles: str
    charge: int
    numbers: np.ndarray
    positions: np.ndarray
    difference: dict[str, np.ndarray]
    metric: np.ndarray
    gradient: np.ndarray


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
    metric, gradient = solver_aligned_metric(problem, fitted[metric_level], potential, fock, occupied,
                                             energies[: occupied.shape[1]])
    return Target(entry.name, entry.smiles, entry.charge, entry.numbers, entry.positions,
                  {level: c - free for level, c in fitted.items()}, metric.astype(np.float32), gradient)


def solver_aligned_metric(problem, coefficients, potential, fock, occupied, occupied_energies):
    """Q (naux, naux) and g (naux,) of the module's docstring; ``fock`` is the route's at ``coefficients``."""
    virtual, virtual_energies = _virtual_orbitals(fock, occupied, problem.mol.intor_symmetric("int1e_ovlp"))
    gaps = np.maximum(virtual_energies[None, :] - occupied_energies[:, None], GAP_FLOOR).ravel()
    response = np.eye(problem.auxmol.nao) + problem.solve_metric(xc_kernel(problem, coefficients, potential))
    scaled = _occupied_virtual_integrals(problem, occupied, virtual) @ response
    scaled /= np.sqrt(gaps)[:, None]
    residual = (occupied.T @ fock @ virtual).ravel() / np.sqrt(gaps)
    return scaled.T @ scaled, scaled.T @ residual


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
    """Compute every target of ``reference`` that ``cache`` (HDF5) does not hold yet; resumable."""
    with h5py.File(cache, "a") as file:
        missing = [name for name, _ in read_names(reference) if name not in file]
        with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
            done = joblib.Parallel(return_as="generator_unordered")(
                joblib.delayed(_target_of)(str(reference), name, basis) for name in missing)
            for target in tqdm(done, total=len(missing), desc="targets", unit="mol", disable=not progress):
                _write(file, target)
                file.flush()


def _target_of(reference, name, basis):
    return make_target(read_entry(reference, name), basis)


def _write(file, target):
    lower = np.tril_indices(len(target.metric))
    staged = file.create_group("unfinished")
    staged.attrs.update(smiles=target.smiles, charge=target.charge)
    staged["numbers"], staged["positions"] = target.numbers, target.positions
    staged["metric"], staged["gradient"] = target.metric[lower], target.gradient
    for level, difference in target.difference.items():
        staged[f"difference/{level}"] = difference
    file.move("unfinished", target.name)


def read_target(file: h5py.File, name: str) -> Target:
    """One target from a cache written by ``prepare_targets``."""
    group = file[name]
    gradient = group["gradient"][:]
    metric = np.zeros((len(gradient),) * 2, dtype=np.float32)
    metric[np.tril_indices(len(gradient))] = group["metric"][:]
    metric += np.tril(metric, -1).T
    return Target(name, group.attrs["smiles"], int(group.attrs["charge"]), group["numbers"][:], group["positions"][:],
                  {level: data[:] for level, data in group["difference"].items()}, metric, gradient)
