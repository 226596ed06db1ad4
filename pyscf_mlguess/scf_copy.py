"""A quiet copy of the user's SCF object, on which guesses work: its integrals once, its occupations any time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from pyscf import lib
from pyscf.scf import hf, rohf, uhf

from pyscf_mlguess.refusal import check_one_electron_matrices


@dataclass
class ScfCopy:
    """What a guess asks of an SCF object; symmetry, smearing, fixed irreps, linear dependence are those of ``mf``.

    hcore, ovlp: (nao, nao) core Hamiltonian (Eh) and overlap, computed once: they are dear with X2C and QM/MM.
    Raises Refusal where the user has put something of another shape in their place.
    """

    mf: hf.SCF
    hcore: np.ndarray = field(init=False)
    ovlp: np.ndarray = field(init=False)

    def __post_init__(self):
        self._scf = self.mf.copy()
        self._scf.verbose, self._scf.chkfile, self._scf.callback = 0, None, None
        # PySCF's copies are shallow, and get_occ notes the gap there.
        self._scf.scf_summary = {}
        self.hcore, self.ovlp = np.asarray(self.mf.get_hcore()), np.asarray(self.mf.get_ovlp())
        check_one_electron_matrices(self.mf.mol, self.hcore, self.ovlp)
        # What PySCF's kernel hands to eig: without it, functions that are nearly dependent would be left in.
        self._space = self._scf.check_linear_dependency(self.ovlp)
        self.restricted_open = isinstance(self.mf, rohf.ROHF)

    @cached_property
    def basis(self) -> np.ndarray:
        """X (nao, k), X^T S X = 1, that spans the space of ``mf``'s orbitals: what its ``eig`` leaves in."""
        unrestricted = isinstance(self.mf, uhf.UHF)
        coefficients = self._scf.eig(np.array([self.hcore] * 2) if unrestricted else self.hcore, self.ovlp,
                                     x=self._space)[1]
        return np.asarray(coefficients[0] if unrestricted else coefficients)

    def orbitals(self, fock: np.ndarray, spins: np.ndarray | None = None):
        """Orbital energies (Eh), coefficients and occupations of a Fock matrix, or one of every spin of UHF.

        spins: alpha and beta Fock matrix behind an effective one of ROHF, by which it orders its orbitals.
        """
        if self.restricted_open and spins is not None:
            fock = lib.tag_array(fock, focka=spins[0], fockb=spins[1])
        energies, coefficients = self._scf.eig(fock, self.ovlp, x=self._space)
        return energies, coefficients, self._scf.get_occ(energies, coefficients)

    def spins(self, fock: np.ndarray) -> np.ndarray:
        """That of every spin behind a Fock matrix of ``mf.get_fock``, whose effective one of ROHF carries both."""
        return np.array([fock.focka, fock.fockb]) if self.restricted_open else np.asarray(fock)

    def irreps(self, coefficients: np.ndarray) -> np.ndarray | None:
        """Numbers of the irreducible representations of orbitals, of every spin of UHF; None without symmetry."""
        if not self.mf.mol.symmetry or not hasattr(self._scf, "get_orbsym"):
            return None
        return np.asarray(self._scf.get_orbsym(coefficients))

    def density_matrix(self, coefficients: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """(nao, nao), or (2, nao, nao) for unrestricted and restricted open-shell objects, tagged with its orbitals."""
        return self._scf.make_rdm1(coefficients, occupations)

    def entropy_energy(self) -> float:
        """That of the occupations that ``orbitals`` found last."""
        return entropy_energy(self._scf)


def entropy_energy(mf: hf.SCF) -> float:
    """-sigma S (Eh) of the fractional occupations of smearing; 0 without smearing."""
    sigma, entropy = getattr(mf, "sigma", None), getattr(mf, "entropy", None)
    return -sigma * entropy if sigma and entropy is not None else 0.0


def gradient_threshold(mf: hf.SCF) -> float:
    """The orbital gradient (Eh) below which ``mf`` may stop: its own, or PySCF's for its ``conv_tol``."""
    return float(mf.conv_tol_grad or np.sqrt(mf.conv_tol))
