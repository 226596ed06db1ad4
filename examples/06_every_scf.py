"""Every SCF as a two-level one, without a change to what runs it: steps of a geometry, a solvent, an active space.

For all of your scripts at once, without an import: `mlguess enable --two-level` (and `mlguess disable`).
"""

from pyscf import dft, gto, mcscf, scf

from pyscf_mlguess import accelerated

methanol = """
C -0.67  0.02  0.00
O  0.73 -0.13  0.00
H -1.11 -0.98  0.00
H -1.02  0.56  0.89
H -1.02  0.56 -0.89
H  1.14  0.75  0.00
"""
mol = gto.M(atom=methanol, basis="6-31g", verbose=0)


def gradient_path():
    """Three steps down, as an optimiser does them."""
    scanner, moved = dft.RKS(mol, xc="pbe").density_fit().nuc_grad_method().as_scanner(), mol
    for _ in range(3):
        energy, gradient = scanner(moved)
        moved = moved.set_geom_(moved.atom_coords() - 0.3 * gradient, unit="Bohr", inplace=False)
    return energy


def solvent():
    return dft.RKS(mol, xc="b3lyp").density_fit().PCM().kernel()


def active_space():
    return mcscf.CASSCF(scf.RHF(mol).run(), 4, 4).kernel()[0]


for run in (gradient_path, solvent, active_space):
    plain = run()
    with accelerated():
        energy = run()
    print(f"{run.__name__:14} E = {energy:.9f} Eh, {energy - plain:+.0e} Eh from plain PySCF")

# What cannot be served has one line in PySCF's log.
with accelerated():
    scf.GHF(mol).set(verbose=3, max_cycle=1).kernel()
