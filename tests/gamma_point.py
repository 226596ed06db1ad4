"""What a density route for crystals could gain: cycles of PBE at the Gamma point, from molecules' guesses side by side.

    python tests/gamma_point.py

Six molecular crystals (molecules whole, structures idealised from their space groups), def2-SVP, all electrons,
Gaussian density fitting. "ml" puts the learned density matrices of the molecules alone on the diagonal, without the
checks, "molecules" their converged ones; "+ Fock" is the density matrix of one Fock matrix of the crystal.
"""

from itertools import product

import numpy as np
import scipy.linalg
from pyscf import dft, gto
from pyscf.pbc import dft as pbc_dft
from pyscf.pbc import gto as pbc_gto

from pyscf_mlguess.pipeline import initial_density_matrix

_SIGNS = [(1, 1, 1), (-1, 1, -1), (-1, -1, 1), (1, -1, -1)]
_CORNERS = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]


def linear_on_diagonals(edge, symbols, distances):
    """Pa-3: centrosymmetric linear molecules on a face-centred lattice, along the four diagonals."""
    return edge * np.eye(3), [
        [(symbol, edge * np.array(corner) + distance * np.array(signs) / np.sqrt(3))
         for symbol, distance in zip(symbols, distances)] for corner, signs in zip(_CORNERS, _SIGNS)]


def ammonia():
    """P2_1 3, a = 5.13 angstrom."""
    edge, nitrogen, hydrogen = 5.13, np.full(3, 0.2107), np.array([0.3689, 0.2671, 0.1159])
    shifts = [(0, 0, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.5, 0.5, 0)]
    signs = [(1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1)]
    return edge * np.eye(3), [
        [(symbol, edge * (np.array(sign) * atom + shift)) for symbol, atom in
         [("N", nitrogen), *(("H", np.roll(hydrogen, k)) for k in range(3))]] for sign, shift in zip(signs, shifts)]


def urea():
    """P-4 2_1 m, a = 5.565, c = 4.684 angstrom."""
    lattice = np.diag([5.565, 5.565, 4.684])
    half = [("C", 0, 0, 0.326), ("O", 0, 0, 0.5953)]
    half += [(symbol, sign * x, sign * x, z) for symbol, x, z in
             (("N", 0.1459, 0.1766), ("H", 0.2575, 0.2827), ("H", 0.1441, -0.038)) for sign in (1, -1)]
    first = [(symbol, np.array([x, 0.5 + y, z]) @ lattice) for symbol, x, y, z in half]
    second = [(symbol, np.array([0.5 + y, -x, -z]) @ lattice) for symbol, x, y, z in half]
    return lattice, [first, second]


def hydrogen_cyanide():
    """Imm2, parallel chains."""
    lattice = np.diag([4.13, 4.85, 4.34])
    chain = [("H", -1.066), ("C", 0.0), ("N", 1.156)]
    return lattice, [[(symbol, shift @ lattice + [0, 0, z]) for symbol, z in chain]
                     for shift in (np.zeros(3), np.full(3, 0.5))]


CRYSTALS = {
    "nitrogen": lambda: linear_on_diagonals(5.649, "NN", (0.549, -0.549)),
    "carbon dioxide": lambda: linear_on_diagonals(5.624, "COO", (0, 1.155, -1.155)),
    "acetylene": lambda: linear_on_diagonals(6.14, "CCHH", (0.601, -0.601, 1.662, -1.662)),
    "ammonia": ammonia,
    "hydrogen cyanide": hydrogen_cyanide,
    "urea": urea,
}


def cycles(mf, dm):
    mf.kernel(dm0=dm)
    return mf.cycles if mf.converged else np.nan


def after_a_fock_matrix(mf, dm):
    energies, orbitals = mf.eig(mf.get_fock(dm=dm), mf.get_ovlp())
    return mf.make_rdm1(orbitals, mf.get_occ(energies, orbitals))


def alone(atoms, learned):
    mf = dft.RKS(gto.M(atom=atoms, basis="def2-svp", verbose=0), xc="pbe").density_fit()
    return initial_density_matrix(mf, checked=False) if learned else mf.run().make_rdm1()


def main():
    names = [*("minao", "ml", "molecules"), *(f"{name} + Fock" for name in ("minao", "ml", "molecules"))]
    print(f"{'':18}" + "".join(f"{name:>18}" for name in names))
    for crystal, make in CRYSTALS.items():
        lattice, molecules = make()
        cell = pbc_gto.M(a=lattice, atom=[atom for atoms in molecules for atom in atoms], basis="def2-svp", verbose=0)
        mf = pbc_dft.RKS(cell, xc="pbe").density_fit()
        starts = {"minao": mf.get_init_guess(key="minao")}
        for name in ("ml", "molecules"):
            starts[name] = scipy.linalg.block_diag(*(alone(atoms, name == "ml") for atoms in molecules))
        counted, energies = [], []
        for corrected, name in product((False, True), starts):
            dm = after_a_fock_matrix(mf, starts[name]) if corrected else starts[name]
            counted.append(cycles(mf, dm))
            energies.append(mf.e_tot)
        print(f"{crystal:18}" + "".join(f"{count:18}" for count in counted)
              + f"   energies alike to {np.ptp(energies):.0e} Eh", flush=True)


if __name__ == "__main__":
    main()
