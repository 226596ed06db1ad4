"""Makes the shipped sets: python -m pyscf_mlguess.benchmark.sets.make --validation DIR --train DIR --reference DIR.

Candidates stand in the .smi files beside this script; a candidate that a training list holds is dropped.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path

from rdkit import Chem
from rdkit.Chem.rdDetermineBonds import DetermineBonds

from pyscf_mlguess.benchmark.sets.atoms import atoms
from pyscf_mlguess.benchmark.sets.broken_symmetry import broken_symmetry
from pyscf_mlguess.benchmark.sets.complexes import complexes
from pyscf_mlguess.benchmark.sets.difficult import other_levels
from pyscf_mlguess.benchmark.sets.distortions import distort
from pyscf_mlguess.benchmark.sets.paths import dynamics, torsion_scan
from pyscf_mlguess.benchmark.sets.training_molecules import TrainingMolecules
from pyscf_mlguess.molecules.coordination import coordinated_list
from pyscf_mlguess.molecules.files import read_molecules
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.smiles import molecule_key
from pyscf_mlguess.molecules.training_data import DATA
from pyscf_mlguess.molecules.xyz import write_xyz

_FOLDER = Path(__file__).parent
_SEED = 3
# Frames, and steps of 0.5 fs between them: far apart for guesses, as a scanner meets them for steps.
_FAR_APART, _AS_THEY_COME = (10, 10), (4, 1)
_SCANNED_TORSION = (1, 2, 3, 4)
_SPICE = {"ALA/0": "alanine_in_water", "ASP/0": "aspartate_in_water", "ARG/0": "argininium_in_water",
          "water30/0": "water_30"}


class _Candidates:
    """Candidates that no training list holds; those that one holds are printed."""

    def __init__(self, training: TrainingMolecules):
        self._training = training

    def read(self, stem: str) -> list[Molecule]:
        """The novel ones of a .smi file beside this script."""
        molecules, errors = read_molecules(_FOLDER / f"{stem}.smi")
        for error in errors:
            raise error
        return self.novel(stem, molecules)

    def coordinated(self, stem: str) -> list[Molecule]:
        """As ``read``, relaxed with GFN2-xTB."""
        molecules, errors = coordinated_list(_FOLDER / f"{stem}.smi")
        if errors:
            raise ValueError("\n".join(errors))
        return self.novel(stem, molecules)

    def novel(self, stem: str, molecules: list[Molecule]) -> list[Molecule]:
        dropped = [molecule for molecule in molecules if molecule in self._training]
        for molecule in dropped:
            print(f"{stem}: dropped {molecule.name} {molecule.smiles}, which a training list holds")
        return [molecule for molecule in molecules if molecule not in dropped]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validation", type=Path, required=True,
                        help="folder with fda_drugs/fda_drugs.smi and spice_large/spice_large.xyz")
    parser.add_argument("--train", type=Path, required=True, help="folder of training lists: .smi, .xyz, .xyz.gz")
    parser.add_argument("--reference", type=Path, required=True, help="folder of reference calculations: .h5")
    arguments = parser.parse_args()
    training = TrainingMolecules(arguments.train, [*arguments.reference.rglob("*.h5"), *DATA.rglob("*.h5")])
    candidates = _Candidates(training)
    doublets, triplets = [], []
    for molecule in candidates.read("radicals"):
        (doublets if molecule.multiplicity == 2 else triplets).append(molecule)
    path, small = candidates.read("path"), candidates.read("small_drugs")
    sets = {
        "qm9_size": _shuffled(candidates.read("qm9_size"), 50),
        "drug_like": _shuffled(candidates.read("drug_like"), 30),
        "ions": _shuffled(candidates.read("ions"), 20),
        "radicals": _shuffled(_first(doublets, 15) + _first(triplets, 5), 20),
        "elements": _shuffled(_first(candidates.read("elements"), 9)
                              + _first(candidates.novel("elements", complexes()), 11), 20),
        "main_group": _shuffled(candidates.coordinated("main_group"), 32),
        "multiply_charged": _shuffled(candidates.coordinated("multiply_charged"), 28),
        "distorted": _shuffled(distort(candidates.read("distorted")), 20),
        "path": torsion_scan(path[0], _SCANNED_TORSION) + dynamics(path[1], *_FAR_APART),
        "steps": [frame for molecule in _first(small, 10) for frame in dynamics(molecule, *_AS_THEY_COME)],
        "small_drugs": _first(small, 14),
        "natural_products": _first(candidates.read("natural_products"), 2),
        "broken_symmetry": broken_symmetry(),
        "atoms": atoms(),
        **{stem: [molecule] for stem, molecule in other_levels().items()},
        "large": _large(candidates, arguments.validation),
    }
    for stem, molecules in sets.items():
        write_xyz(_FOLDER / f"{stem}.xyz", molecules)
        print(f"{stem}.xyz: {len(molecules)}")


def _large(candidates, validation):
    drugs = _first(candidates.read("large"), 6)
    solvated, _ = read_molecules(validation / "spice_large" / "spice_large.xyz")
    solvated = [_perceived(molecule) for molecule in solvated if molecule.name in _SPICE]
    return sorted(drugs + _first(candidates.novel("large", solvated), 4), key=lambda molecule: len(molecule.symbols))


def _perceived(molecule):
    """With the SMILES that RDKit finds from the geometry."""
    atoms = "".join(f"{symbol} {x} {y} {z}\n" for symbol, (x, y, z) in zip(molecule.symbols, molecule.positions))
    mol = Chem.MolFromXYZBlock(f"{len(molecule.symbols)}\n\n{atoms}")
    DetermineBonds(mol, charge=molecule.charge)
    smiles = Chem.MolToSmiles(Chem.RemoveHs(mol))
    return replace(molecule, name=_SPICE[molecule.name], smiles=smiles, inchikey=molecule_key(smiles))


def _shuffled(molecules, wanted):
    """The first ones, in a random but fixed order: any leading part is a fair sample."""
    return random.Random(_SEED).sample(_first(molecules, wanted), wanted)


def _first(molecules, wanted):
    if len(molecules) < wanted:
        raise ValueError(f"{wanted} molecules are wanted, {len(molecules)} are left: write more candidates")
    return molecules[:wanted]


if __name__ == "__main__":
    main()
