"""Wall time and memory of a guess against one SCF cycle without density fitting."""

from __future__ import annotations

import math
import multiprocessing
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from pyscf import lib

from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.refusal import GuessRefused

# Smaller molecules have cycles too short to compare with.
SMALLEST = 20


@dataclass(frozen=True)
class Timing:
    """One guess on one molecule, in a process of its own; seconds of wall time.

    cold: the first guess in the process, loading the model included; warm: the second, on a fresh SCF object.
    cycle: one Fock build from a density matrix that changed a little, diagonalisation and new density
        matrix, after the set-up that PySCF does once (grids, integrals if they are kept in memory).
    integrals: "in-core" or "direct", as PySCF chose after the guess.
    memory_left: growth of the resident memory by the two guesses, MB.
    flipped: True if PySCF would have kept the integrals in memory before the guess and does not after it.
    refused: the reason where the guess was refused; nothing is timed then, for it would be minao's time.
    """

    molecule: str
    natm: int
    nao: int
    cold: float = math.nan
    warm: float = math.nan
    cycle: float = math.nan
    integrals: str = ""
    memory_left: float = math.nan
    flipped: bool = False
    refused: str = ""


def time_molecules(molecules: list[Molecule], guess: str, protocol: Protocol) -> Iterator[Timing]:
    """Time ``guess`` on each molecule; every molecule gets a fresh process, so that each has a cold start."""
    context = multiprocessing.get_context("spawn")
    for molecule in molecules:
        with context.Pool(1) as pool:
            yield pool.apply(time_molecule, (molecule, guess, protocol))


def time_molecule(molecule: Molecule, guess: str, protocol: Protocol) -> Timing:
    """Time one molecule in this process; ``protocol`` must not use density fitting."""
    if protocol.density_fit:
        raise ValueError("a cycle is timed without density fitting")
    with lib.with_omp_threads(protocol.threads), warnings.catch_warnings():
        warnings.simplefilter("error", GuessRefused)
        mol = molecule.mol(protocol.basis)
        mf = protocol.mean_field(mol)
        resident, in_core_before = lib.current_memory()[0], mf._is_mem_enough()
        try:
            cold, _ = _timed(mf.get_init_guess, key=guess)
        except GuessRefused as refusal:
            return Timing(molecule.name, mol.natm, mol.nao, refused=str(refusal))
        mf = protocol.mean_field(mol)
        warm, dm = _timed(mf.get_init_guess, key=guess)
        memory_left, in_core_after = lib.current_memory()[0] - resident, mf._is_mem_enough()
        hcore, ovlp = mf.get_hcore(), mf.get_ovlp()
        veff = mf.get_veff(mol, dm)
        dm_next = _diagonalise(mf, hcore, ovlp, veff)
        cycle, _ = _timed(lambda: _diagonalise(mf, hcore, ovlp, mf.get_veff(mol, dm_next, dm, veff)))
    return Timing(molecule.name, mol.natm, mol.nao, cold, warm, cycle, "direct" if mf._eri is None else "in-core",
                  memory_left, in_core_before and not in_core_after)


def markdown(timings: list[Timing], protocol: Protocol) -> str:
    """A table of timings."""
    lines = [
        f"Protocol: {protocol}.", "",
        "| molecule | atoms | AOs | first guess (s) | later guess (s) | one cycle (s) | guess / cycle | integrals "
        "| memory left (MB) | in-core lost |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for t in timings:
        if t.refused:
            lines.append(f"| {t.molecule} | {t.natm} | {t.nao} | refused |")
            continue
        lines.append(f"| {t.molecule} | {t.natm} | {t.nao} | {t.cold:.2f} | {t.warm:.2f} | {t.cycle:.2f} "
                     f"| {t.warm / t.cycle:.2f} | {t.integrals} | {t.memory_left:.0f} "
                     f"| {'yes' if t.flipped else 'no'} |")
    refusals = [f"- {t.molecule}: {t.refused}" for t in timings if t.refused]
    return "\n".join(lines + ["", *refusals] if refusals else lines)


def _timed(function, **kwargs):
    start = time.perf_counter()
    result = function(**kwargs)
    return time.perf_counter() - start, result


def _diagonalise(mf, hcore, ovlp, veff):
    mo_energy, mo_coeff = mf.eig(mf.get_fock(hcore, ovlp, veff), ovlp)
    return mf.make_rdm1(mo_coeff, mf.get_occ(mo_energy, mo_coeff))
