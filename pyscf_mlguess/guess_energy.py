"""Energy and dipole of a guess from a single Fock build, without an SCF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyscf import gto, lib
from pyscf.scf import hf

from pyscf_mlguess.convergence import relaxed
from pyscf_mlguess.hook import checked_guess
from pyscf_mlguess.memory import integrals_stay
from pyscf_mlguess.refusal import (
    Refusal,
    check_density_matrix,
    check_molecule,
    check_scf_class,
    numerical_errors_refused,
)
from pyscf_mlguess.scf_copy import ScfCopy


@dataclass(frozen=True)
class EnergyEstimate:
    """What a density matrix says of the converged SCF.

    energy: total energy, Eh, the functional of ``dm``: from orbitals that are filled or empty it is never too low.
    energy_error: Eh, |tr F (D' - D)|, D' the density matrix of the orbitals of the Fock matrix F.  It is the energy
        that electrons would gain which do not answer to their own change, to second order (of closed shells)
        sum_ia 2 F_ia^2 / (e_a - e_i); without it the energy is that of Harris, Phys. Rev. B 31, 1770 (1985).
    dipole: (3,), debye, PySCF's origin.  dipole_error: length of the dipole's change from D to D', debye.
    dm: the density matrix, PySCF's shapes.

    Both errors are guides, no bounds.  Of 104 molecules (PBE/def2-SVP, ``mlguess bench --suite energies``)
    ``energy_error`` was 1.0 to 1.4 times the error of a refined prediction (5 % and 95 % quantiles), and below it for
    six.
    """

    energy: float
    energy_error: float
    dipole: np.ndarray
    dipole_error: float
    dm: np.ndarray


def energy(mf: hf.SCF, guess: str | np.ndarray = "ml") -> EnergyEstimate:
    """Energy and dipole of a guess: one Fock build, no SCF.

    mf: RHF, RKS, UHF, UKS, ROHF or ROKS object, also with density fitting, symmetry, solvents; nothing of it changes.
    guess: a value of ``mf.init_guess``, as 'ml', 'ml:<model name or path>' or 'minao+refine', before a Fock matrix of
        ``mf`` corrects it, or a density matrix of PySCF's shapes.
    Raises ValueError (Refusal) for what guesses do not serve, with the reason for a guess that is refused, for
    smearing, whose entropy a density matrix does not tell, and for a key that nobody knows.
    """
    check_scf_class(mf)
    check_molecule(mf.mol)
    if getattr(mf, "sigma", None):
        raise Refusal("no energy of a guess with smearing, whose entropy a density matrix does not tell")
    with integrals_stay(mf):
        scf = _detached(mf)
        h1e = scf.get_hcore()
        # Dear with X2C and QM/MM, and asked for again by the guess.
        scf.get_hcore = lambda *_: h1e
        try:
            dm = checked_guess(scf, guess) if isinstance(guess, str) else guess
        except Refusal as refusal:
            raise Refusal(f"no energy without an SCF, for the guess {guess!r} is refused: {refusal}") from None
        check_density_matrix(scf, dm)
        with numerical_errors_refused():
            vhf = scf.get_veff(scf.mol, dm)
            return estimate(scf, dm, h1e, vhf, scf.energy_tot(dm, h1e, vhf))


def estimate(mf: hf.SCF, dm: np.ndarray, h1e: np.ndarray, vhf: np.ndarray, energy: float) -> EnergyEstimate:
    """``energy`` where the Fock matrix is there: h1e + vhf of ``dm``, and the functional's energy (Eh)."""
    fock = mf.get_fock(h1e, mf.get_ovlp(), vhf, dm)
    change, after = relaxed(ScfCopy(mf), dm, fock)
    dipole, next_dipole = (np.asarray(mf.dip_moment(mf.mol, np.asarray(d), verbose=0)) for d in (dm, after))
    return EnergyEstimate(float(energy), abs(change), dipole, float(np.linalg.norm(next_dipole - dipole)), dm)


def _detached(mf):
    """A quiet copy, whose grids, fitting tensor and solvent are its own: PySCF keeps there what it builds."""
    copy = mf.copy()
    for name, part in vars(mf).items():
        if isinstance(part, (lib.StreamObject, dict)) and not isinstance(part, gto.MoleBase):
            setattr(copy, name, part.copy())
    # The dispersion that stands there is that of the last run.
    copy.verbose, copy.scf_summary = 0, {}
    return copy
