"""Half the Fock builds with a refined guess, two with the two-level SCF; energies are compared; steps of a path."""

from pyscf import dft, gto

from pyscf_mlguess import refine, two_level

glycine = """
N -1.87  0.12 -0.05
C -0.57 -0.55  0.02
C  0.58  0.43  0.00
O  0.47  1.64 -0.03
O  1.76 -0.22  0.03
H -1.95  0.79  0.72
H -1.93  0.69 -0.90
H -0.52 -1.17  0.92
H -0.47 -1.21 -0.85
H  2.46  0.45  0.02
"""
mol = gto.M(atom=glycine, basis="def2-svp", verbose=0)


def report(label, mf, uncounted=2):
    # PySCF counts neither the build at the guess nor its extra one at the end; the two-level SCF makes no extra one.
    print(f"{label:24} {mf.cycles + uncounted:3d} Fock builds   E = {mf.e_tot:.9f} Eh")


mf = dft.RKS(mol, xc="b3lyp").run()
report("minao", mf)

mf = dft.RKS(mol, xc="b3lyp")
mf.init_guess = "ml"                                  # or 'minao+refine', 'sap+refine', ...
report("ml", mf.run())

mf = dft.RKS(mol, xc="b3lyp")
dm = refine(mf, mf.get_init_guess(key="huckel"))      # any density matrix
mf.kernel(dm0=dm)
report("huckel, refined", mf)

mf = two_level(dft.RKS(mol, xc="b3lyp"))              # combines with density_fit(), solvent, as_scanner() ...
mf.init_guess = "ml"                                  # refined by the two-level SCF itself
report("two-level", mf.run(), uncounted=1)
print(f"the energy is right to {mf.energy_error:.0e} Eh")

scanner = mf.as_scanner()                             # every step begins with the density of the one before, refined
for stretched in (0.01, 0.02):                        # angstrom
    moved = mol.atom_coords(unit="Angstrom")
    moved[3, 1] += stretched
    scanner(mol.set_geom_(moved, unit="Angstrom", inplace=False))
    report(f"C=O {stretched} longer", scanner, uncounted=1)

gradient = mf.nuc_grad_method().kernel()              # the object is used as any other
plain = mf.undo_two_level()
print(f"largest force {abs(gradient).max():.4f} Eh/bohr, {type(plain).__name__} again")
