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
    "trigonal pyramidal": np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3),
    "trigonal bipyramidal": np.concatenate([_AXES[:2], _EQUATOR]),
    "octahedral": _AXES,
    "square planar": _AXES[2:],
    "square pyramidal": _AXES[1:],
    # The vacant direction is the x axis.
    "seesaw": np.concatenate([_AXES[:2], [[np.cos(t), np.sin(t), 0.0] for t in np.deg2rad([124, 236])]]),
}
# Diatomic ligands: second atom and its distance from the first; XH3 ligands: X-H distance.
_SECOND_ATOM = {"CO": ("O", 1.145), "NO": ("O", 1.165)}
_HYDROGENS = {"CH3": 1.09, "NH3": 1.02}
_WATER = {"O-H": 0.96, "H-O-H": 106.0}
_LIGAND_SMILES = {"CO": "[C-]#[O+]", "NO": "N#[O+]", "CH3": "[CH3-]", "NH3": "N", "Cl": "[Cl-]", "O": "[O-2]",
                  "H": "[H-]", "F": "[F-]", "H2O": "O"}
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
    return [idealised_complex(name, *what) for name, what in _COMPLEXES.items()] + [sandwich("ferrocene", "[Fe+2]")]


def idealised_complex(name: str, metal: str, geometry: str, ligands: list[tuple[str, float]],
                      multiplicity: int = 1) -> Molecule:
    """A complex of ideal angles.

    metal: with its charge, as it stands in the SMILES; the charges of the ligands are added.
    ligands: each with its distance from the metal, angstrom, in the order of the directions of ``geometry``.
    """
    atoms = [(metal.strip("[]+-0123456789"), np.zeros(3))]
    for direction, (ligand, distance) in zip(_DIRECTIONS[geometry], ligands, strict=True):
        atoms += _ligand(ligand, direction, distance)
    return _molecule(name, atoms, ".".join([metal] + [_LIGAND_SMILES[ligand] for ligand, _ in ligands]),
                     multiplicity)


def _ligand(ligand, direction, distance):
    bound = distance * direction
    if ligand in _SECOND_ATOM:
        symbol, bond = _SECOND_ATOM[ligand]
        return [(ligand[0], bound), (symbol, bound + bond * direction)]
    if ligand in _HYDROGENS:
        u = _across(direction)
        v = np.cross(direction, u)
        around = [direction / 3 + np.sqrt(8) / 3 * (np.cos(t) * u + np.sin(t) * v) for t in np.deg2rad([0, 120, 240])]
        return [(ligand[0], bound)] + [("H", bound + _HYDROGENS[ligand] * h) for h in around]
    if ligand == "H2O":
        u = _across(direction)
        half = np.deg2rad(_WATER["H-O-H"]) / 2
        return [("O", bound)] + [("H", bound + _WATER["O-H"] * (np.cos(half) * direction + side * np.sin(half) * u))
                                 for side in (1, -1)]
    return [(ligand, bound)]


def _across(direction):
    """A unit vector at right angles."""
    u = np.cross(direction, np.roll(direction, 1))
    return u / np.linalg.norm(u)


def sandwich(name: str, metal: str, height: float = _FERROCENE["Fe to ring"], multiplicity: int = 1) -> Molecule:
    """A metallocene, rings eclipsed.

    metal: with its charge, as it stands in the SMILES; each ring is an anion.
    height: distance of the metal from the rings' centres, angstrom.
    """
    radius = _FERROCENE["ring radius"]
    ring = np.array([[np.cos(t), np.sin(t), 0.0] for t in np.deg2rad(72) * np.arange(5)])
    atoms = [(metal.strip("[]+-0123456789"), np.zeros(3))]
    for z in (height, -height):
        for symbol, r in [("C", radius), ("H", radius + _FERROCENE["C-H"])]:
            atoms += [(symbol, r * point + [0.0, 0.0, z]) for point in ring]
    return _molecule(name, atoms, metal + ".c1cc[cH-]c1" * 2, multiplicity)


def _molecule(name, atoms, smiles, multiplicity):
    symbols, positions = zip(*atoms)
    charge = sum(atom.GetFormalCharge() for atom in parse_smiles(smiles).GetAtoms())
    return Molecule(name, symbols, tuple(map(tuple, np.round(positions, 6).tolist())), charge,
                    multiplicity, smiles=smiles, inchikey=molecule_key(smiles))
