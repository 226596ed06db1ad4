"""What an SCF run shows on its way: energy and gradient of its guess and of each cycle, and its memory."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pyscf_mlguess.guess_energy import EnergyEstimate, estimate
from pyscf_mlguess.refusal import Refusal

_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"  # proc(5)


class Observation:
    """Energies and orbital gradients (Eh) of one SCF run, in PySCF's definitions.

    initial_energy: of the guess; None if the SCF did not get as far, or never asks for it (newton).
    curve: [energy, norm of the orbital gradient] after each cycle.
    resident_after_guess: resident memory (MB) when the SCF begins its first Fock build.
    """

    def __init__(self):
        self.initial_energy: float | None = None
        self.curve: list[list[float]] = []
        self.resident_after_guess: float | None = None
        self._begun = False
        self._dm = self._h1e = self._vhf = None

    def begin(self) -> None:
        """The next Fock build is the SCF's own."""
        self._begun = True

    def see_build(self) -> None:
        """To be called before each Fock build."""
        if self._begun and self.resident_after_guess is None:
            self.resident_after_guess = resident_memory_mb()

    def initial_gradient(self, ovlp: np.ndarray) -> float | None:
        """Norm of the orbital gradient of the guess, whose orbitals need not exist.

        It is that of the commutator FDS - SDF in an orthonormal basis (Pulay, J. Comput. Chem. 3, 556 (1982)),
        over sqrt(2): equal to PySCF's norm of get_grad for an idempotent density matrix.
        """
        if self._dm is None:
            return None
        values, vectors = np.linalg.eigh(ovlp)
        orth = vectors / np.sqrt(np.maximum(values, 1e-12))
        dm = np.asarray(self._dm)
        product = np.asarray(self._h1e + self._vhf) @ dm @ ovlp
        commutator = orth.T @ (product - product.conj().swapaxes(-1, -2)) @ orth
        return float(np.linalg.norm(commutator) / np.sqrt(2))

    def initial_estimate(self, mf) -> EnergyEstimate | None:
        """What ``pyscf_mlguess.energy`` says of the guess; None if it does not serve, or nothing finite is known."""
        if self._dm is None or getattr(mf, "sigma", None) or not np.isfinite(self._vhf).all():
            return None
        try:
            return estimate(mf, self._dm, self._h1e, self._vhf, self.initial_energy)
        except Refusal:  # spinors
            return None

    def see_guess(self, dm, h1e, vhf, energy) -> None:
        """Keep the guess and its Fock matrix; what follows from them is computed when the clock no longer runs."""
        self.initial_energy, self._dm, self._h1e, self._vhf = float(energy), dm, h1e, vhf

    def see_cycle(self, envs: dict) -> None:
        """PySCF's ``mf.callback``."""
        # Newton calls once more at its end, with its last macro-iteration.
        if envs.get("imacro", len(self.curve)) >= len(self.curve):
            self.curve.append([float(envs["e_tot"]), float(envs["norm_gorb"])])


@contextmanager
def observing(mf) -> Iterator[Observation]:
    """An Observation of ``mf.kernel`` while the block runs."""
    observation, energy_tot = Observation(), mf.energy_tot

    def first_energy(dm=None, h1e=None, vhf=None):
        energy = energy_tot(dm, h1e, vhf)
        if observation.initial_energy is None:
            observation.see_guess(dm, h1e, vhf, energy)
        return energy

    mf.energy_tot, mf.callback = first_energy, observation.see_cycle
    try:
        yield observation
    finally:
        del mf.energy_tot
        mf.callback = None


def reset_peak_memory() -> bool:
    """Start the process's peak resident memory anew; False where the system cannot (only Linux can)."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def peak_memory_mb() -> float:
    """Peak resident memory of this process since ``reset_peak_memory``, MB."""
    return _status_mb("VmHWM:")


def resident_memory_mb() -> float:
    """Resident memory of this process, MB; 0 where the system does not tell (only Linux does)."""
    return _status_mb("VmRSS:") if _STATUS.exists() else 0.0


def _status_mb(name):
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    # In kB of 1024 bytes; PySCF's max_memory is in MB of a million.
    return int(line.split()[1]) * 1.024e-3


def release_memory() -> None:
    """Give back to the system what earlier runs have left, or it would be this run's: PySCF decides by it."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # not the GNU C library
        pass
