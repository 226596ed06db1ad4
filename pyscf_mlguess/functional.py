"""The user's functional as a semilocal potential of the density, with a stand-in for what is not semilocal."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from pyscf import dft

# Takes the place of what cannot be had from a density and its gradient.
STAND_IN = "pbe,pbe"
STAND_IN_EXCHANGE = "pbe,"


@dataclass
class SemilocalPotential:
    """A GGA or LDA potential.

    terms: (share, functional) pairs; functionals are PySCF's xc strings or whatever ``numint`` accepts.
    exact_exchange: share of exact exchange that the user's functional has (0 to 1).
    notes: what was replaced or left out, in words for the log.
    """

    numint: dft.numint.NumInt
    terms: list[tuple[float, str]]
    exact_exchange: float = 0.0
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, mf) -> "SemilocalPotential":
        """The potential for a PySCF mean-field object; Hartree-Fock objects get the stand-in."""
        numint = getattr(mf, "_numint", None)
        if numint is None:
            return cls(dft.numint.NumInt(), [(1.0, STAND_IN)], 1.0,
                       [f"exact exchange replaced by {STAND_IN}"])
        notes = []
        omega, long_range, short_range = numint.rsh_and_hybrid_coeff(mf.xc, mf.mol.spin)
        share = short_range if omega <= 0 else max(short_range, long_range)
        if mf.do_nlc():
            notes.append("non-local correlation left out")
        xctype = numint._xc_type(mf.xc)
        if xctype == "HF":
            return cls(numint, [(1.0, STAND_IN)], 1.0, notes + [f"exact exchange replaced by {STAND_IN}"])
        if xctype not in ("LDA", "GGA") or not _can_be_evaluated(numint, mf.xc):
            return cls(numint, [(1.0, STAND_IN)], share, notes + [f"{mf.xc} replaced by {STAND_IN}"])
        terms = [(1.0, mf.xc)]
        if short_range:
            terms.append((short_range, STAND_IN_EXCHANGE))
            notes.append(f"exact exchange replaced by {short_range:g} {STAND_IN_EXCHANGE}")
        return cls(numint, terms, share, notes)

    def first_derivative(self, density: np.ndarray) -> np.ndarray:
        """d e_xc / d (rho, grad rho), shape (4, n), for ``density`` of shape (4, n) in atomic units."""
        total = np.zeros_like(density)
        for share, xc in self.terms:
            total += share * _pad(self._derivatives(xc, density, 1), 4)
        return total

    def second_derivative(self, density: np.ndarray) -> np.ndarray:
        """Second derivatives of e_xc in (rho, grad rho), shape (4, 4, n)."""
        total = np.zeros((4, *density.shape))
        for share, xc in self.terms:
            part = self._derivatives(xc, density, 2)
            total[: len(part), : len(part)] += share * part
        return total

    def _derivatives(self, xc, density, order):
        lda = self.numint._xc_type(xc) == "LDA"
        return self.numint.eval_xc_eff(xc, density[0] if lda else density, deriv=order,
                                       xctype="LDA" if lda else "GGA", spin=0)[order]


def _pad(array: np.ndarray, rows: int) -> np.ndarray:
    array = array.reshape(-1, array.shape[-1])
    return np.vstack([array, np.zeros((rows - len(array), array.shape[-1]))])


def _can_be_evaluated(numint, xc) -> bool:
    probe = np.array([[0.1, 0.3], [0.02, 0.0], [0.0, 0.01], [0.0, 0.0]])
    try:
        lda = numint._xc_type(xc) == "LDA"
        values = numint.eval_xc_eff(xc, probe[0] if lda else probe, deriv=1, xctype="LDA" if lda else "GGA", spin=0)[1]
    except (NotImplementedError, KeyError, ValueError, RuntimeError):
        return False
    return bool(np.all(np.isfinite(values)))
