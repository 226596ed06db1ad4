"""Reference calculations of the molecules that users try first and that drug-like sets lack: one or two heavy atoms.

`python -m pyscf_mlguess.labels.small_molecules OUTPUT.h5` writes the file that ships beside
this module (``small_molecules.h5``, the layout of ``training.reference``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
from pyscf import dft, gto, scf
from tqdm import tqdm

SHIPPED = Path(__file__).with_suffix(".h5")
LEVELS = ("pbe", "hf")
# Standard deviations (angstrom) of Gaussian noise on all coordinates.
DISPLACEMENTS = (0.0, 0.05)
SMILES = """
[H][H] C N O F S Cl Br N#N FF ClCl BrBr [C-]#[O+] ClF ClBr
CC C=C C#C C=O CO CN C=N C#N CF CCl CBr CS C=S NN N=N NO N=O OO OF OCl SS SCl NF NCl
O=C=O S=C=O S=C=S O=S=O [O-][O+]=O N#[N+][O-] FOF ClOCl ClSCl N=C=O N=C=S N=C=N N#CC#N N=[N+]=[N-]
FCF FC(F)F FC(F)(F)F ClCCl ClC(Cl)Cl ClC(Cl)(Cl)Cl BrCBr BrC(Br)Br FN(F)F FCCl FCBr ClCBr FC=O ClC=O ClC#N FC#N BrC#N
O[N+](=O)[O-] ON=O FS(F)(=O)=O
[OH-] [OH3+] [NH4+] [NH2-] [SH-] [SH3+] [F-] [Cl-] [Br-] [C-]#N C[NH3+] C[O-] C[S-] [O-]C=O [N-]=[N+]=[N-] C=[NH2+]
C=[OH+] [O-]N=O [O-][N+](=O)[O-] [O-]Cl NC=[NH2+] [N-]=C=O [S-]C#N
""".split()


def write_labels(path: str | Path, smiles: list[str] = SMILES, basis: str = "def2-svp") -> None:
    """Converge PBE and Hartree-Fock for every molecule at every displacement; what fails is named and left out."""
    tasks = [(s, d) for s in smiles for d in DISPLACEMENTS]
    with h5py.File(path, "w", libver="latest") as file:
        for number, (text, displacement) in enumerate(tqdm(tasks, desc="labels", unit="mol")):
            symbols, positions, charge = _geometry(text)
            positions = positions + displacement * np.random.default_rng(number).normal(size=positions.shape)
            mol = gto.M(atom=list(zip(symbols, positions)), basis=basis, charge=charge, verbose=0)
            runs = {level: _converge(mol, level) for level in LEVELS}
            failed = [level for level, mf in runs.items() if not mf.converged]
            if failed:
                tqdm.write(f"{text}, displaced by {displacement} angstrom: {', '.join(failed)} did not converge")
                continue
            group = file.create_group(f"small{number:04d}")
            group.attrs.update(smiles=text, charge=charge, spin=0, displacement_angstrom=displacement)
            group["atomic_numbers"] = mol.atom_charges().astype(np.int16)
            group["positions_bohr"] = mol.atom_coords()
            for level, mf in runs.items():
                group.create_group(level).attrs["e_tot"] = mf.e_tot
                group[level]["mo_coeff_occ"] = mf.mo_coeff[:, mf.mo_occ > 0].astype(np.float32)
                group[level]["mo_energy"] = mf.mo_energy


def _converge(mol, level):
    mf = (scf.RHF(mol) if level == "hf" else dft.RKS(mol, xc=level)).density_fit()
    if level != "hf":
        mf.grids.level = 1
    return mf.run(conv_tol=1e-10)


def _geometry(smiles: str):
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(molecule, randomSeed=7)
    if AllChem.MMFFHasAllMoleculeParams(molecule):
        AllChem.MMFFOptimizeMolecule(molecule)
    else:
        AllChem.UFFOptimizeMolecule(molecule)
    symbols = [atom.GetSymbol() for atom in molecule.GetAtoms()]
    return symbols, molecule.GetConformer().GetPositions(), Chem.GetFormalCharge(molecule)


if __name__ == "__main__":
    write_labels(sys.argv[1])
