"""Energies and dipoles without an SCF: one Fock build at the guess, and how far to trust it."""

from pyscf import dft, gto

import pyscf_mlguess

mol = gto.M(
    atom="""
    C   0.16  -0.39   0.04
    O   1.19   0.24  -0.09
    N  -1.08   0.16   0.13
    H   0.14  -1.49   0.02
    H  -1.18   1.16  -0.07
    H  -1.90  -0.42   0.21
    """,
    basis="def2-svp",
    verbose=0,
)
mf = dft.RKS(mol, xc="pbe").density_fit()

for key in ("minao+refine", "ml"):
    found = pyscf_mlguess.energy(mf, key)
    print(f"{key:12} E = {found.energy:.9f} Eh, right to some {found.energy_error:.0e} Eh; "
          f"dipole {abs(found.dipole).max():.4f} debye at most, right to some {found.dipole_error:.0e}")

mf.kernel(dm0=found.dm)                               # what was made can be used
print(f"{'SCF':12} E = {mf.e_tot:.9f} Eh; the largest component of its dipole is "
      f"{abs(mf.dip_moment(verbose=0)).max():.4f} debye")
