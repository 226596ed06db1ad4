"""What the guess serves, and what happens where it does not: fall back to minao with one warning."""

import warnings

from pyscf import dft, gto, scf

import pyscf_mlguess

water = "O 0 0 0; H 0 0.757 0.587; H 0 -0.757 0.587"

# A radical: the spin density of the first orbitals parts alpha from beta.
methyl = "C 0 0 0; H 0 1.08 0; H 0.935 -0.54 0; H -0.935 -0.54 0"
radical = dft.UKS(gto.M(atom=methyl, basis="def2-svp", spin=1, verbose=0), xc="b3lyp")
radical.init_guess = "ml"
radical.kernel()
print(f"methyl radical   {radical.cycles:3d} cycles   E = {radical.e_tot:.9f} Eh")

# Iodine has an effective core potential.
iodide = gto.M(atom="I 0 0 0; C 0 0 2.15; H 1.03 0 2.5; H -0.51 0.89 2.5; H -0.51 -0.89 2.5",
               basis="def2-svp", ecp={"I": "def2-svp"}, verbose=0)
mf = scf.RHF(iodide)
mf.init_guess = "ml"
mf.kernel()
print(f"methyl iodide    {mf.cycles:3d} cycles   E = {mf.e_tot:.9f} Eh")

# Selenium is unknown to the model: a free atom stands in for it.
selenol = gto.M(atom="Se 0 0 0; H 1.45 0 -0.2; C 0 0 2.0; H 1.03 0 2.35; H -0.51 0.89 2.35; H -0.51 -0.89 2.35",
                basis="def2-svp", verbose=0)
mf = dft.RKS(selenol, xc="pbe")
mf.init_guess = "ml"
mf.kernel()
print(f"methaneselenol   {mf.cycles:3d} cycles   E = {mf.e_tot:.9f} Eh")

# A stretched bond: the spin symmetry of a singlet guess is broken as init_guess_breaksym says.
stretched = dft.UKS(gto.M(atom="H 0 0 0; H 0 0 2.5", basis="def2-svp", verbose=0), xc="pbe")
stretched.init_guess = "ml"
stretched.init_guess_breaksym = "mix"
stretched.kernel()
spin_square, _ = stretched.spin_square()
print(f"stretched H2     {stretched.cycles:3d} cycles   E = {stretched.e_tot:.9f} Eh, <S^2> = {spin_square:.2f}")

# Generalised Hartree-Fock, with spin-orbit coupling: the guess of real orbitals, in spinors.
ghf = scf.GHF(gto.M(atom=water, basis="def2-svp", verbose=0)).x2c()
ghf.init_guess = "ml"
ghf.kernel()
print(f"water, GHF       {ghf.cycles:3d} cycles   E = {ghf.e_tot:.9f} Eh")

# More unpaired electrons than the model has learned of are refused: refined minao takes over and says so.
chloride = scf.UHF(gto.M(atom="Mn 0 0 0; Cl 0 0 2.2; Cl 0 0 -2.2", basis="def2-svp", spin=5, verbose=0))
chloride.init_guess = "ml"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", pyscf_mlguess.GuessRefused)
    chloride.kernel()
print("MnCl2:", next(str(w.message) for w in caught if w.category is pyscf_mlguess.GuessRefused))
