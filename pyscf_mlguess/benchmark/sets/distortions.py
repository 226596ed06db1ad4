"""Distorted geometries: Gaussian noise on all atoms, or one bond stretched or compressed."""

from __future__ import annotations

import numpy as np
from rdkit.Chem.rdMolTransforms import GetBondLength, SetBondLength

from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.smiles import conformer, molecule_from_conformer

_SEED = 11
# Standard deviation in angstrom of each coordinate.
_NOISE = [
    ("chloromethyl_methyl_sulfide", 0.05),
    ("1,1,2-trifluorocyclopropane", 0.05),
    ("furoyl_fluoride", 0.05),
    ("difluorothioacetamide", 0.10),
    ("3-chloromethylisoxazole", 0.10),
    ("N-chloro-N-methylmesylamide", 0.10),
    ("epifluorohydrin", 0.15),
    ("chlorodimethylphosphine", 0.15),
    ("1-fluorobutadiene", 0.15),
    ("4-chloroisothiazole", 0.15),
]
# Atoms of the bond as numbered in the SMILES; all that hangs on the second one moves with it.
_BONDS = [
    ("chloromethyl_methyl_sulfide", (2, 3), 1.5),
    ("2,2-difluoropropionitrile", (1, 4), 1.4),
    ("methyl_fluoroformate", (1, 0), 1.3),
    ("epifluorohydrin", (1, 0), 1.6),
    ("chloroacetaldoxime", (3, 4), 1.4),
    ("difluorothioacetamide", (1, 2), 1.2),
    ("chlorodimethylphosphine", (1, 3), 0.9),
    ("furoyl_fluoride", (1, 0), 0.9),
    ("1-fluorobutadiene", (2, 3), 0.9),
    ("chloroacetaldoxime", (0, 1), 0.9),
]


def distort(molecules: list[Molecule]) -> list[Molecule]:
    """The distorted geometries of the molecules, which must include all that are listed above.

    Named <molecule>_noise<angstrom> and <molecule>_<elements of the bond><factor>.
    """
    smiles = {molecule.name: molecule.smiles for molecule in molecules}
    rng = np.random.default_rng(_SEED)
    distorted = []
    for name, sigma in _NOISE:
        mol = conformer(smiles[name])
        positions = mol.GetConformer().GetPositions()
        mol.GetConformer().SetPositions(positions + sigma * rng.normal(size=positions.shape))
        distorted.append(molecule_from_conformer(mol, f"{name}_noise{sigma:.2f}", smiles[name]))
    for name, bond, factor in _BONDS:
        mol = conformer(smiles[name])
        SetBondLength(mol.GetConformer(), *bond, factor * GetBondLength(mol.GetConformer(), *bond))
        elements = "".join(mol.GetAtomWithIdx(i).GetSymbol() for i in bond)
        distorted.append(molecule_from_conformer(mol, f"{name}_{elements}{factor:g}", smiles[name]))
    return distorted
