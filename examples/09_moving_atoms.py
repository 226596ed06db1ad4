"""Hydrogen peroxide in motion: a scan of its torsion, molecular dynamics, an optimisation; all SCFs are two-level."""

import numpy as np
from pyscf import dft, gto, md

from pyscf_mlguess import accelerated, two_level


def peroxide(torsion):
    """Geometry for a torsion in degrees."""
    half = np.radians(torsion) / 2
    y, z = 0.96 * np.cos(half), 0.96 * np.sin(half)
    return [("O", (0.72, 0, 0)), ("O", (-0.72, 0, 0)), ("H", (0.9, y, z)), ("H", (-0.9, y, -z))]


def mean_field(torsion=110):
    mf = dft.RKS(gto.M(atom=peroxide(torsion), basis="def2-svp", verbose=0), xc="pbe").density_fit()
    mf.grids.level = 1
    return mf


# Conformers: a scanner begins every step where the last one ended, refined.
scanner = two_level(mean_field()).as_scanner()
for torsion in range(60, 181, 30):
    energy = scanner(mean_field(torsion).mol)
    print(f"torsion {torsion:3d}   {scanner.cycles + 1} Fock builds   E = {energy:.9f} Eh")

with accelerated():
    # Ten steps of half a femtosecond (20 atomic units), total energy conserved.
    dynamics = md.NVE(mean_field(), dt=20, steps=10, verbose=0).run()
    print(f"after {dynamics.steps} steps   E = {dynamics.epot + dynamics.ekin:.9f} Eh, potential and kinetic")

    # To the next minimum (geomeTRIC; solver="berny" for PyBerny).
    try:
        mol = mean_field().nuc_grad_method().optimizer(solver="geometric").kernel()
        print(f"optimised      E = {mean_field().reset(mol).run().e_tot:.9f} Eh")
    except ImportError as error:
        print(f"no optimisation: {error}")
