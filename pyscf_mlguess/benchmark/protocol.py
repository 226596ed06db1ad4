"""What a benchmark run holds fixed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import pyscf
from pyscf import dft, gto, lib, scf
from pyscf.df.addons import make_auxmol
from pyscf.lib.exceptions import BasisNotFoundError

# The share of the free memory that PySCF gives a fitting tensor (``df.DF.build``).
_SHARE_OF_MEMORY = 0.9
_RARE = ("max_memory", "smearing", "symmetry", "restricted_open", "unrestricted", "generalised", "x2c", "scanner",
         "converge_on", "stability", "without_scf")


@dataclass(frozen=True)
class Protocol:
    """Level of theory and SCF settings; DIIS and all that is not named here are PySCF's defaults.

    xc: PySCF's functional string, or "hf".
    threads: OpenMP threads of PySCF.
    max_memory: what PySCF may use, MB.
    smearing: width of Fermi smearing, Eh; 0 for whole occupations.
    symmetry: point-group symmetry.
    restricted_open: ROHF or ROKS for open shells.
    unrestricted: UHF or UKS for closed shells, too.
    generalised: GHF or GKS for all.
    x2c: exact two-component relativity; for generalised objects with spin-orbit coupling.
    scanner: the frames of a path are steps of one PySCF scanner; the first is walked, not recorded.
    converge_on: converged runs go on to 1e-12 Eh, which shows what their energy lacked.
    without_scf: of guesses other than minao the energy is taken and no SCF run.
    stability: of converged runs it is asked whether they ended in a minimum (``benchmark.stability``).
    """

    xc: str = "pbe"
    basis: str = "def2-svp"
    density_fit: bool = True
    grid_level: int = 3
    conv_tol: float = 1e-9
    max_cycle: int = 50
    threads: int = 1
    max_memory: int = 4000
    smearing: float = 0.0
    symmetry: bool = False
    restricted_open: bool = False
    unrestricted: bool = False
    generalised: bool = False
    x2c: bool = False
    scanner: bool = False
    converge_on: bool = False
    stability: bool = False
    without_scf: bool = False
    pyscf_version: str = pyscf.__version__

    def mean_field(self, mol: gto.Mole) -> scf.hf.SCF:
        """A fresh SCF object: restricted for closed shells, otherwise unrestricted, unless the settings say else."""
        mol.max_memory = self.max_memory
        if self.symmetry:
            mol.symmetry = True
            mol.build(False, False)
        mf = self._bare(mol)
        if self.x2c:
            mf = mf.x2c()
        if self.density_fit:
            mf = mf.density_fit()
            self.build_tensor(mf.with_df)
        if self.smearing:
            mf = scf.addons.smearing(mf, sigma=self.smearing, method="fermi")
        mf.conv_tol = self.conv_tol
        mf.max_cycle = self.max_cycle
        return mf

    def build_tensor(self, with_df) -> None:
        """Build the fitting tensor of ``with_df`` where memory holds it.

        Without exact exchange PySCF would recompute the integrals in every cycle: same cycles, twice the time.
        """
        pairs = with_df.mol.nao * (with_df.mol.nao + 1) // 2
        needed = 8e-6 * pairs * make_auxmol(with_df.mol, with_df.auxbasis).nao
        if needed < _SHARE_OF_MEMORY * (with_df.max_memory - lib.current_memory()[0]):
            with_df.build()

    def scanning(self, mf: scf.hf.SCF) -> scf.hf.SCF:
        """The scanner of ``mf``, which has its fitting tensor at every geometry where a single run has it."""
        scanner = mf.as_scanner()
        if self.density_fit:
            with_df, reset = scanner.with_df, scanner.with_df.reset

            def reset_and_build(mol=None):
                reset(mol)
                self.build_tensor(with_df)
                return with_df

            with_df.reset = reset_and_build
        return scanner

    def _bare(self, mol):
        restricted_open = self.restricted_open and mol.spin
        unrestricted = self.unrestricted or mol.spin
        if self.xc.lower() == "hf":
            # Not scf.HF: its class for one electron has no cycles to count.
            return (scf.GHF if self.generalised else scf.ROHF if restricted_open
                    else scf.UHF if unrestricted else scf.RHF)(mol)
        mf = (dft.GKS if self.generalised else dft.ROKS if restricted_open
              else dft.UKS if unrestricted else dft.RKS)(mol, xc=self.xc)
        mf.grids.level = self.grid_level
        return mf

    def coarse(self, mol: gto.Mole, grid_level: int) -> scf.hf.SCF:
        """The same level of theory with density fitting and xc on ``grid_level``; its tensor is not built yet."""
        mf = self._bare(mol).density_fit()
        if self.xc.lower() != "hf":
            mf.grids.level = grid_level
        return mf

    def check(self) -> None:
        """Raise ValueError for a functional or basis that PySCF does not know, and settings that exclude another."""
        if self.restricted_open + self.unrestricted + self.generalised > 1:
            raise ValueError("restricted_open, unrestricted and generalised exclude each other; leave in one of them")
        if self.smearing and self.stability:
            raise ValueError("PySCF's stability analysis wants whole occupations; leave out smearing or stability")
        try:
            mf = self.mean_field(gto.M(atom="H 0 0 0; H 0 0 0.74", basis=self.basis, verbose=0))
            if self.xc.lower() != "hf":
                mf._numint.rsh_and_hybrid_coeff(mf.xc)
        except BasisNotFoundError:
            raise ValueError(f"PySCF does not know the basis {self.basis!r}") from None
        except KeyError as error:
            raise ValueError(f"PySCF does not know the functional {self.xc!r}: {error.args[0]}") from None

    def __str__(self) -> str:
        """All that decides numbers, and of the rare settings those in use."""
        usual = {field.name: field.default for field in fields(self) if field.name in _RARE}
        return ", ".join(f"{name}={value}" for name, value in asdict(self).items()
                         if name not in usual or value != usual[name])
