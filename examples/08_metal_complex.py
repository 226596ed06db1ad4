"""A transition-metal complex: the model knows metals in closed shells, the two-level SCF need not know any."""

from pyscf import dft, gto

from pyscf_mlguess import two_level

# Nickel tetracarbonyl, tetrahedral: Ni-C 1.838, C-O 1.142 angstrom.
directions = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
carbonyls = [(symbol, [d * distance / 3**0.5 for d in direction])
             for direction in directions for symbol, distance in (("C", 1.838), ("O", 2.980))]
mol = gto.M(atom=[("Ni", (0, 0, 0)), *carbonyls], basis="def2-svp", verbose=0)


def mean_field():
    mf = dft.RKS(mol, xc="pbe").density_fit()
    mf.grids.level = 1
    return mf


plain = mean_field().run()
print(f"minao      {plain.cycles + 2:3d} Fock builds   E = {plain.e_tot:.9f} Eh")

# A charge or a spin that the model has not learned is refused with one warning, and the SCF begins from refined minao.
mf = mean_field().set(init_guess="ml").run()
print(f"ml         {mf.cycles + 2:3d} Fock builds   E = {mf.e_tot:.9f} Eh")

# Refinement and the two-level SCF know every element up to radon.
mf = two_level(mean_field()).run()
print(f"two-level  {mf.cycles + 1:3d} Fock builds   E = {mf.e_tot:.9f} Eh, right to {mf.energy_error:.0e} Eh")
