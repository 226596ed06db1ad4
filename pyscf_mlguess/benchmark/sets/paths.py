"""Geometry paths: a relaxed torsion scan and a piece of molecular dynamics, both with MMFF94."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from rdkit.Chem.rdForceFieldHelpers import MMFFGetMoleculeForceField, MMFFGetMoleculeProperties
from rdkit.Chem.rdMolTransforms import SetDihedralDeg

from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.smiles import conformer, molecule_from_conformer

_FRAMES = 10  # of a torsion scan
_TORSION_STEP = 18.0  # degrees
_TORSION_FORCE = 1e4  # kcal/mol/rad^2: holds the torsion to a fraction of a degree
_TEMPERATURE = 300.0  # K
_TIME_STEP = 0.5  # fs
_STEPS_BEFORE = 1000
_SEED = 5


def torsion_scan(parent: Molecule, torsion: tuple[int, int, int, int]) -> list[Molecule]:
    """Frames from 180 degrees downwards, everything but the torsion relaxed from the frame before.

    torsion: atoms as numbered in the SMILES.
    """
    mol = conformer(parent.smiles)
    frames = []
    for number in range(_FRAMES):
        angle = 180.0 - number * _TORSION_STEP
        SetDihedralDeg(mol.GetConformer(), *torsion, angle)
        field = _force_field(mol)
        field.MMFFAddTorsionConstraint(*torsion, False, angle, angle, _TORSION_FORCE)
        field.Minimize(maxIts=5000)
        frames.append(molecule_from_conformer(mol, f"{parent.name}_{angle:.0f}deg", parent.smiles, parent.name))
    return frames


def dynamics(parent: Molecule, frames: int, steps_between: int) -> list[Molecule]:
    """Frames of Langevin dynamics, one every ``steps_between`` steps of 0.5 fs, after half a picosecond."""
    mol = conformer(parent.smiles)
    atoms = Atoms(parent.symbols, mol.GetConformer().GetPositions(), calculator=_MMFF(mol))
    MaxwellBoltzmannDistribution(atoms, temperature_K=_TEMPERATURE, rng=np.random.RandomState(_SEED))
    run = Langevin(atoms, _TIME_STEP * units.fs, temperature_K=_TEMPERATURE, friction=0.01 / units.fs,
                   fixcm=False, rng=np.random.RandomState(_SEED))
    run.run(_STEPS_BEFORE)
    found = []
    for number in range(frames):
        mol.GetConformer().SetPositions(atoms.get_positions())
        time = number * steps_between * _TIME_STEP
        found.append(molecule_from_conformer(mol, f"{parent.name}_{time:g}fs", parent.smiles, parent.name))
        run.run(steps_between)
    return found


class _MMFF(Calculator):
    """MMFF94 energy (eV) and forces (eV/angstrom) of one RDKit molecule."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, mol):
        super().__init__()
        self._field = _force_field(mol)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        positions = self.atoms.get_positions().ravel().tolist()
        kcal = units.kcal / units.mol
        self.results = {"energy": self._field.CalcEnergy(positions) * kcal,
                        "forces": -np.reshape(self._field.CalcGrad(positions), (-1, 3)) * kcal}


def _force_field(mol):
    field = MMFFGetMoleculeForceField(mol, MMFFGetMoleculeProperties(mol))
    field.Initialize()
    return field
