"""The user's functional as a semilocal potential of the density, with a stand-in for what is not semilocal."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from pyscf import dft

# Takes the place of what cannot be had from a density and its gradient.
STAND_IN = "pbe,pbe"
STAND_IN_EXCHANGE = "pbe,"
STAND_IN_NAME = "PBE"


def exchange_note(share: float) -> str:
    """What the log says where a share of exact exchange has a semilocal stand-in."""
    return f"{share:.0%} exact exchange replaced by as much of {STAND_IN_NAME} exchange"


@dataclass
class SemilocalPotential:
    """A GGA or LDA potential.

    terms: (share, functional) pairs; functionals are PySCF's xc strings or whatever ``numint`` accepts.
    notes: what was replaced or left out, in words for the log.
    """

    numint: dft.numint.NumInt
    terms: list[tuple[float, str]]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, mf, exchange_known: bool = False) -> "SemilocalPotential":
        """The potential for a PySCF mean-field object; Hartree-Fock objects get the stand-in.

        exchange_known: what exact exchange is more than its stand-in is known from elsewhere.
        """
        numint = getattr(mf, "_numint", None)
        if exchange_known and (numint is None or numint._xc_type(mf.xc) == "HF"):
            share = 1.0 if numint is None else numint.rsh_and_hybrid_coeff(mf.xc, mf.mol.spin)[2]
            return cls(numint or dft.numint.NumInt(), [(share, STAND_IN_EXCHANGE)])
        if numint is None:
            return cls(dft.numint.NumInt(), [(1.0, STAND_IN)], [f"Hartree-Fock exchange replaced by {STAND_IN_NAME}"])
        notes = ["non-local correlation left out"] if mf.do_nlc() else []
        xctype = numint._xc_type(mf.xc)
        if xctype not in ("LDA", "GGA") or not _can_be_evaluated(numint, mf.xc):
            return cls(numint, [(1.0, STAND_IN)], [*notes, f"{mf.xc} replaced by {STAND_IN_NAME}"])
        short_range = numint.rsh_and_hybrid_coeff(mf.xc, mf.mol.spin)[2]
        if not short_range:
            return cls(numint, [(1.0, mf.xc)], notes)
        notes += [] if exchange_known else [exchange_note(short_range)]
        return cls(numint, [(1.0, mf.xc), (short_range, STAND_IN_EXCHANGE)], notes)

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
