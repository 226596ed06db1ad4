"""Geometries of compounds that RDKit's force fields do not know: a central atom, and what coordinates to it.

    python -m pyscf_mlguess.molecules.coordination LIST.smi --output MOLECULES.xyz
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from pyscf.data.nist import BOHR
from pyscf.data.radii import COVALENT
from rdkit import Chem, rdBase
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from pyscf_mlguess.extras import how_to_install
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.smiles import embedded, molecule_from_conformer, parse_smiles, smi_lines
from pyscf_mlguess.molecules.xyz import write_xyz

_SEED = 7
# From the centre to the atom that coordinates, in sums of covalent radii; the places that a ligand tries.
_LENGTH, _PLACES = 1.1, 400
# Force (eV/angstrom) and steps of the relaxation: carefully first, for ligands may nearly touch.
_CAREFUL, _RELAXED = (0.5, 80), (0.03, 300)
# In sums of covalent radii: closer atoms are no molecule, and what is farther from each other is not bonded any more.
_CLOSEST, _LONGEST = 0.7, 1.4


def coordinated(smiles: str, name: str) -> Molecule:
    """A closed-shell compound, relaxed with GFN2-xTB (Bannwarth, Ehlert, Grimme, JCTC 15, 1652 (2019)).

    smiles: where it has several parts, the first atom of the first one is the centre, and the first atom of each of
        the others coordinates to it: ``[Li]C.O(C)C`` is methyl lithium with a molecule of dimethyl ether.

    The same geometry, up to rounding, with the same RDKit and tblite.  Raises ValueError where RDKit cannot read the
    SMILES or embed a part, and where the relaxation does not end, or ends with atoms that meet or with a bond broken.
    """
    whole = Chem.AddHs(parse_smiles(smiles))
    with rdBase.BlockLogs():
        centre, *ligands = [embedded(part, smiles, _SEED) for part in Chem.GetMolFrags(whole, asMols=True)]
    rng = np.random.default_rng(_SEED)
    bonds = []
    for ligand in ligands:
        bonds.append((0, centre.GetNumAtoms()))
        centre = _joined(centre, ligand, rng)
    bonds += [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in centre.GetBonds()]
    symbols = [atom.GetSymbol() for atom in centre.GetAtoms()]
    positions = _relaxed(smiles, symbols, centre.GetConformer().GetPositions(), Chem.GetFormalCharge(centre))
    _check(smiles, centre, positions, bonds)
    centre.GetConformer().SetPositions(positions)
    for atom in centre.GetAtoms():  # RDKit takes an unusual valence for unpaired electrons
        atom.SetNumRadicalElectrons(0)
    return molecule_from_conformer(centre, name, smiles)


def _joined(centre, ligand, rng):
    """Both as one, the ligand where it is farthest from all that is there."""
    there, moved = centre.GetConformer().GetPositions(), ligand.GetConformer().GetPositions()
    first = ligand.GetAtomWithIdx(0)
    moved = moved - moved[0]
    lone_pair, _ = Rotation.align_vectors([0, 0, -1], _away(moved, [a.GetIdx() for a in first.GetNeighbors()]))
    moved = lone_pair.apply(moved) + [0, 0, _LENGTH * (_radius(centre.GetAtomWithIdx(0)) + _radius(first))]
    radii = np.add.outer([_radius(a) for a in ligand.GetAtoms()], [_radius(a) for a in centre.GetAtoms()])
    # To the centre the distance is what it is to be.
    places = [turn.apply(moved) + there[0] for turn in Rotation.random(_PLACES, random_state=rng)]
    best = max(places, key=lambda place: (cdist(place, there) / radii)[:, 1:].min(initial=np.inf))
    ligand.GetConformer().SetPositions(np.ascontiguousarray(best))
    return Chem.CombineMols(centre, ligand)


def _away(positions, neighbours):
    """Where the lone pair of the atom at the origin points."""
    bonds = [positions[i] / np.linalg.norm(positions[i]) for i in neighbours]
    direction = -np.sum(bonds, axis=0) if bonds else np.array([0.0, 0.0, 1.0])
    if np.linalg.norm(direction) < 0.2:  # a line, or a plane
        direction = np.linalg.svd(bonds)[2][-1]
    return direction / np.linalg.norm(direction)


def _radius(atom):
    return COVALENT[atom.GetAtomicNum()] * BOHR


def _relaxed(smiles, symbols, positions, total_charge):
    try:
        from ase import Atoms
        from ase.optimize import FIRE, LBFGS
        from tblite.ase import TBLite
    except ModuleNotFoundError as error:
        raise ValueError(f"geometries of {smiles!r} need {error.name}: {how_to_install('train')}") from None
    atoms = Atoms(symbols, positions=positions)
    atoms.calc = TBLite(method="GFN2-xTB", charge=total_charge, multiplicity=1, verbosity=0)
    try:
        FIRE(atoms, logfile=None).run(*_CAREFUL)
        done = LBFGS(atoms, logfile=None).run(*_RELAXED)
    except RuntimeError as error:
        raise ValueError(f"GFN2-xTB fails on {smiles!r}: {error}") from None
    if not done:
        raise ValueError(f"{smiles!r} is not relaxed after {_RELAXED[1]} steps")
    return atoms.get_positions()


def _check(smiles, mol, positions, bonds):
    radii = np.array([_radius(atom) for atom in mol.GetAtoms()])
    lengths = squareform(pdist(positions)) / np.add.outer(radii, radii)
    if (lengths + np.eye(len(radii))).min() < _CLOSEST:
        raise ValueError(f"atoms of {smiles!r} meet")
    for pair in bonds:
        if lengths[pair] > _LONGEST:
            broken = "-".join(mol.GetAtomWithIdx(i).GetSymbol() for i in pair)
            raise ValueError(f"the bond {broken} of {smiles!r} is broken after the relaxation")


def coordinated_list(path: str | Path, jobs: int = 1) -> tuple[list[Molecule], list[str]]:
    """The compounds of a .smi file (name in the second column), and what was wrong with the others."""
    lines = [(fields[0], fields[1] if len(fields) > 1 else f"{Path(path).stem}_{index + 1}")
             for index, fields in smi_lines(path)]
    found = Parallel(jobs, return_as="generator")(delayed(_tried)(*line) for line in lines)
    found = list(tqdm(found, total=len(lines), desc="relax", unit="mol"))
    return [each for each in found if isinstance(each, Molecule)], [each for each in found if isinstance(each, str)]


def _tried(smiles, name):
    try:
        return coordinated(smiles, name)
    except ValueError as error:
        return f"{name}: {error}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("smiles", type=Path, help=".smi file; see coordinated()")
    parser.add_argument("--output", type=Path, required=True, help="xyz file to write, for mlguess label and bench")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args(arguments)
    molecules, errors = coordinated_list(options.smiles, options.jobs)
    write_xyz(options.output, molecules)
    print("\n".join([*errors, f"{options.output}: {len(molecules)} molecules, {len(errors)} lost"]))


if __name__ == "__main__":
    main()
