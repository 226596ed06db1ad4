"""Three-centre integrals (ij|P), computed anew for every contraction or held: fitted Coulomb matrices without exchange.

The integral-direct contractions are those of PySCF's own integral-direct density fitting.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pyscf import df, gto, lib
from pyscf.scf import _vhf, jk

_DIRECT_THRESHOLD = 1e-11


class ThreeCentreIntegrals:
    """mol: orbital basis.  auxmol: auxiliary functions, spherical or cartesian as those of ``mol``.

    hold_mb: memory (MB) that the integrals may take in double precision; where they need more, and by default, they
    are computed in every contraction.
    """

    def __init__(self, mol: gto.Mole, auxmol: gto.Mole, hold_mb: float = 0.0):
        self.mol, self.auxmol = mol, auxmol
        self.held = 8e-6 * mol.nao * (mol.nao + 1) / 2 * auxmol.nao < hold_mb

    def project(self, dm: np.ndarray) -> np.ndarray:
        """(P|D) = sum_ij (ij|P) D_ij, shape (naux,), for a symmetric D of shape (nao, nao)."""
        if self.held:
            # Both triangles count, the diagonal once.
            return lib.pack_tril(2 * dm - np.diag(np.diag(dm))) @ self._integrals
        opt, both, slices = self._direct
        with lib.temporary_env(opt, prescreen="CVHFnr3c2e_vj_pass1_prescreen"):
            return jk.get_jk(both, np.asarray(dm, order="C"), "ijkl,ji->kl", "int3c2e", aosym="s2ij", hermi=0,
                             shls_slice=slices, vhfopt=opt)[:, 0]

    def contract(self, vector: np.ndarray) -> np.ndarray:
        """sum_P (ij|P) x_P, shape (nao, nao), for x of shape (naux,)."""
        if self.held:
            return lib.unpack_tril(self._integrals @ vector)
        opt, both, slices = self._direct
        loc = self.auxmol.ao_loc
        # This prescreening wants the largest coefficient of each auxiliary shell.
        bound = np.array([np.abs(vector[a:b]).max() for a, b in zip(loc[:-1], loc[1:])])
        with lib.temporary_env(opt, prescreen="CVHFnr3c2e_vj_pass2_prescreen", _dmcondname=None):
            opt.dm_cond = bound
            matrix = jk.get_jk(both, vector[np.newaxis], "ijkl,lk->ij", "int3c2e", aosym="s2ij", hermi=1,
                               shls_slice=slices, vhfopt=opt)
        return lib.hermi_triu(matrix, inplace=False)

    @cached_property
    def _integrals(self) -> np.ndarray:
        """(ij|P) of the packed lower triangle, (nao (nao + 1) / 2, naux)."""
        return df.incore.aux_e2(self.mol, self.auxmol, aosym="s2ij")

    @cached_property
    def _direct(self):
        """Screening data, both bases in one molecule, and where their shells stand there."""
        mol, auxmol = self.mol, self.auxmol
        opt = _vhf._VHFOpt(mol, "int3c2e", "CVHFnr3c2e_schwarz_cond", dmcondname="CVHFnr_dm_cond",
                           direct_scf_tol=_DIRECT_THRESHOLD)
        opt.init_cvhf_direct(mol, "int2e", "CVHFnr_int2e_q_cond")
        diagonal = np.sqrt(np.abs(auxmol.intor("int2c2e", hermi=1).diagonal()))
        loc = auxmol.ao_loc
        shell_bound = [diagonal[a:b].max() for a, b in zip(loc[:-1], loc[1:])]
        opt.q_cond = np.hstack((opt.q_cond.ravel(), shell_bound))
        both = mol + auxmol
        both._bas = np.vstack((both._bas, np.array([0, 0, 1, 1, 0, 0, 0, 0], dtype=np.int32)))
        last = mol.nbas + auxmol.nbas
        return opt, both, (0, mol.nbas, 0, mol.nbas, mol.nbas, last, last, last + 1)
