"""What the guess serves, and what happens where it does not: fall back to minao with one warning."""

import warnings

from pyscf import dft, gto, scf

import pyscf_mlguess

water = "O 0 0 0; H 0 0.757 0.587; H 0 -0.757 0.587"

# A radical cation: alpha and beta are occupied from the same Fock matrix.
cation = dft.UKS(gto.M(atom=water, basis="def2-svp", charge=1, spin=1, verbose=0), xc="b3lyp")
cation.init_guess = "ml"
cation.kernel()
print(f"water cation     {cation.cycles:3d} cycles   E = {cation.e_tot:.9f} Eh")

# Iodine is unknown to the model and has an effective core potential: a free atom stands in for it.
iodide = gto.M(atom="I 0 0 0; C 0 0 2.15; H 1.03 0 2.5; H -0.51 0.89 2.5; H -0.51 -0.89 2.5",
               basis="def2-svp", ecp="def2-svp", verbose=0)
mf = scf.RHF(iodide)
mf.init_guess = "ml"
mf.kernel()
print(f"methyl iodide    {mf.cycles:3d} cycles   E = {mf.e_tot:.9f} Eh")

# A stretched bond: UHF breaks the spin symmetry of a singlet guess, as PySCF's own guesses do.
stretched = scf.UHF(gto.M(atom="H 0 0 0; H 0 0 3", basis="def2-svp", verbose=0))
stretched.init_guess = "ml"
stretched.kernel()
print(f"stretched H2     {stretched.cycles:3d} cycles   E = {stretched.e_tot:.9f} Eh, <S^2> = {stretched.spin_square()[0]:.2f}")

# Generalised Hartree-Fock is not served yet: minao takes over and says so.
ghf = scf.GHF(gto.M(atom=water, basis="def2-svp", verbose=0))
ghf.init_guess = "ml"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", pyscf_mlguess.GuessRefused)
    ghf.kernel()
print("GHF:", next(str(w.message) for w in caught if w.category is pyscf_mlguess.GuessRefused))
