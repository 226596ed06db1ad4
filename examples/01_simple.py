"""The main job: switch the learned guess on, and compare with PySCF's default."""

from pyscf import dft, gto

import pyscf_mlguess  # registers init_guess = 'ml'

# Glycine.
mol = gto.M(
    atom="""
    N  -1.949   0.108   0.012
    C  -0.608   0.646  -0.018
    C   0.481  -0.404   0.010
    O   0.293  -1.597   0.046
    O   1.704   0.155  -0.010
    H  -2.074  -0.533  -0.764
    H  -2.057  -0.465   0.844
    H  -0.459   1.288  -0.894
    H  -0.464   1.292   0.855
    H   2.340  -0.586   0.010
    """,
    basis="def2-svp",
    verbose=0,
)

for guess in ("minao", "ml"):
    mf = dft.RKS(mol, xc="pbe").density_fit()
    mf.init_guess = guess
    mf.kernel()
    print(f"{guess:6} {mf.cycles:3d} cycles   E = {mf.e_tot:.9f} Eh")

# The matrix itself, without touching mf.init_guess: any PySCF code that takes a dm0 can use it.
dm = pyscf_mlguess.guess(mf)
mf.kernel(dm0=dm)
