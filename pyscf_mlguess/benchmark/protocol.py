"""What a benchmark run holds fixed."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pyscf
from pyscf import dft, gto, scf
from pyscf.lib.exceptions import BasisNotFoundError


@dataclass(frozen=True)
class Protocol:
    """Level of theory and SCF settings; DIIS and all that is not named here are PySCF's defaults.

    xc: PySCF's functional string, or "hf".
    threads: OpenMP threads of PySCF.
    """

    xc: str = "pbe"
    basis: str = "def2-svp"
    density_fit: bool = True
    grid_level: int = 3
    conv_tol: float = 1e-9
    max_cycle: int = 50
    threads: int = 1
    pyscf_version: str = pyscf.__version__

    def mean_field(self, mol: gto.Mole) -> scf.hf.SCF:
        """A fresh SCF object: restricted for closed shells, unrestricted otherwise."""
        mf = self._bare(mol)
        if self.density_fit:
            mf = mf.density_fit()
            # Without exact exchange PySCF recomputes the integrals in every cycle: same cycles, twice the time.
            mf.with_df.build()
        mf.conv_tol = self.conv_tol
        mf.max_cycle = self.max_cycle
        return mf

    def _bare(self, mol):
        if self.xc.lower() == "hf":
            # Not scf.HF: its class for one electron has no cycles to count.
            return scf.RHF(mol) if mol.spin == 0 else scf.UHF(mol)
        mf = dft.KS(mol, xc=self.xc)
        mf.grids.level = self.grid_level
        return mf

    def coarse(self, mol: gto.Mole, grid_level: int) -> scf.hf.SCF:
        """The same level of theory with density fitting and xc on ``grid_level``; its tensor is not built yet."""
        mf = self._bare(mol).density_fit()
        if self.xc.lower() != "hf":
            mf.grids.level = grid_level
        return mf

    def check(self) -> None:
        """Raise ValueError for a functional or basis that PySCF does not know."""
        try:
            mf = self.mean_field(gto.M(atom="H 0 0 0; H 0 0 0.74", basis=self.basis, verbose=0))
            if self.xc.lower() != "hf":
                mf._numint.rsh_and_hybrid_coeff(mf.xc)
        except BasisNotFoundError:
            raise ValueError(f"PySCF does not know the basis {self.basis!r}") from None
        except KeyError as error:
            raise ValueError(f"PySCF does not know the functional {self.xc!r}: {error.args[0]}") from None

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in asdict(self).items())
