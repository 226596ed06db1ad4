"""Idealised geometries of first-row transition-metal complexes: ideal angles, textbook bond lengths in angstrom."""

from __future__ import annotations

import numpy as np

from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.smiles import molecule_key, parse_smiles

_AXES = np.array([[0, 0, 1], [0, 0, -1], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], dtype=float)
_EQUATOR = np.array([[np.cos(t), np.sin(t), 0.0] for t in np.deg2rad([0, 120, 240])])
_DIRECTIONS = {
    "linear": _AXES[:2],
    "trigonal planar": _EQUATOR,
    "tetrahedral": np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3),
    "trigonal bipyramidal": np.concatenate([_AXES[:2], _EQUATOR]),
    "octahedral": _AXES,
}
# Diatomic ligands: second atom and its distance from the first; XH3 ligands: X-H distance.
_SECOND_ATOM = {"CO": ("O", 1.145), "NO": ("O", 1.165)}
_HYDROGENS = {"CH3": 1.09, "NH3": 1.02}
_LIGAND_SMILES = {"CO": "[C-]#[O+]", "NO": "N#[O+]", "CH3": "[CH3-]", "NH3": "N", "Cl": "[Cl-]", "O": "[O-2]",
                  "H": "[H-]"}
# name: metal as it stands in the SMILES, geometry, ligands with their distances from the metal
_COMPLEXES = {
    "nickel_tetracarbonyl": ("[Ni]", "tetrahedral", [("CO", 1.84)] * 4),
    "chromium_hexacarbonyl": ("[Cr]", "octahedral", [("CO", 1.91)] * 6),
    "iron_pentacarbonyl": ("[Fe]", "trigonal bipyramidal", [("CO", 1.81)] * 2 + [("CO", 1.83)] * 3),
    "dimethylzinc": ("[Zn+2]", "linear", [("CH3", 1.93)] * 2),
    "diamminecopper(I)": ("[Cu+]", "linear", [("NH3", 1.89)] * 2),
    "scandium_trichloride": ("[Sc+3]", "trigonal planar", [("Cl", 2.29)] * 3),
    "vanadium_oxytrichloride": ("[V+5]", "tetrahedral", [("O", 1.57)] + [("Cl", 2.14)] * 3),
    "cobalt_tricarbonyl_nitrosyl": ("[Co-]", "tetrahedral", [("NO", 1.66)] + [("CO", 1.83)] * 3),
    "manganese_pentacarbonyl_hydride": ("[Mn+]", "octahedral", [("H", 1.58)] + [("CO", 1.85)] * 5),
    "hexaamminecobalt(III)": ("[Co+3]", "octahedral", [("NH3", 1.97)] * 6),
}
_FERROCENE = {"Fe to ring": 1.66, "ring radius": 1.21, "C-H": 1.08}


def complexes() -> list[Molecule]:
    """All complexes, closed shells."""
    return [_complex(name, *what) for name, what in _COMPLEXES.items()] + [_ferrocene()]


def _complex(name, metal, geometry, ligands):
    atoms = [(metal.strip("[]+-0123456789"), np.zeros(3))]
    for direction, (ligand, distance) in zip(_DIRECTIONS[geometry], ligands, strict=True):
        atoms += _ligand(ligand, direction, distance)
    return _molecule(name, atoms, ".".join([metal] + [_LIGAND_SMILES[ligand] for ligand, _ in ligands]))


def _ligand(ligand, direction, distance):
    bound = distance * direction
    if ligand in _SECOND_ATOM:
        symbol, bond = _SECOND_ATOM[ligand]
        return [(ligand[0], bound), (symbol, bound + bond * direction)]
    if ligand in _HYDROGENS:
        u = np.cross(direction, np.roll(direction, 1))
        u /= np.linalg.norm(u)
        v = np.cross(direction, u)
        around = [direction / 3 + np.sqrt(8) / 3 * (np.cos(t) * u + np.sin(t) * v) for t in np.deg2rad([0, 120, 240])]
        return [(ligand[0], bound)] + [("H", bound + _HYDROGENS[ligand] * h) for h in around]
    return [(ligand, bound)]


def _ferrocene():
    """Eclipsed rings."""
    height, radius = _FERROCENE["Fe to ring"], _FERROCENE["ring radius"]
    ring = np.array([[np.cos(t), np.sin(t), 0.0] for t in np.deg2rad(72) * np.arange(5)])
    atoms = [("Fe", np.zeros(3))]
    for z in (height, -height):
        for symbol, r in [("C", radius), ("H", radius + _FERROCENE["C-H"])]:
            atoms += [(symbol, r * point + [0.0, 0.0, z]) for point in ring]
    return _molecule("ferrocene", atoms, "[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1")


def _molecule(name, atoms, smiles):
    symbols, positions = zip(*atoms)
    charge = sum(atom.GetFormalCharge() for atom in parse_smiles(smiles).GetAtoms())
    return Molecule(name, symbols, tuple(map(tuple, np.round(positions, 6).tolist())), charge,
                    smiles=smiles, inchikey=molecule_key(smiles))
