"""Idealised geometries where an SCF may end in a saddle point: the set ``broken_symmetry``.

Diradicals, stretched bonds, hydrogen chains and rings, antiferromagnetic dimers, oxides of metals, structures on the
way over a barrier, symmetric saddles. Textbook bond lengths in angstrom, ideal angles; nothing is optimised.
"""

from __future__ import annotations

import numpy as np

from pyscf_mlguess.molecules.molecule import Molecule

_CH = 1.09
_X, _Y, _Z = np.eye(3)
# name: atoms, distance, multiplicity
_DIATOMICS = {
    "H2_3A": ("H H", 3.0, 1), "H2_3.5A": ("H H", 3.5, 1), "H2_5A": ("H H", 5.0, 1),
    "LiH_5A": ("Li H", 5.0, 1), "HF_2.2A": ("H F", 2.2, 1), "N2_2A": ("N N", 2.0, 1), "N2_2.8A": ("N N", 2.8, 1),
    "F2_1.6A": ("F F", 1.6, 1), "F2_2.2A": ("F F", 2.2, 1),
    "C2": ("C C", 1.24, 1), "O2_singlet": ("O O", 1.21, 1), "O2_1.8A_singlet": ("O O", 1.8, 1),
    "Cr2": ("Cr Cr", 1.68, 1), "V2_singlet": ("V V", 1.77, 1), "Mn2_singlet": ("Mn Mn", 2.6, 1),
    "TiO_triplet": ("Ti O", 1.62, 3), "VO_quartet": ("V O", 1.59, 4),
    "FeO_quintet": ("Fe O", 1.62, 5), "FeO_singlet": ("Fe O", 1.62, 1),
    "NiO_singlet": ("Ni O", 1.63, 1), "CuO_doublet": ("Cu O", 1.72, 2),
    "CoH_triplet": ("Co H", 1.52, 3),
}


def broken_symmetry() -> list[Molecule]:
    """All structures of the set, kind by kind."""
    molecules = [_molecule("O_triplet", [("O", 0 * _X)], multiplicity=3),
                 _molecule("Ti_triplet", [("Ti", 0 * _X)], multiplicity=3)]
    for name, (symbols, distance, multiplicity) in _DIATOMICS.items():
        molecules.append(_molecule(name, _line(symbols, [0.0, distance]), multiplicity=multiplicity))
    return molecules + _diradicals() + _stretched() + _hydrogens() + _dimers() + _barriers() + _symmetric()


def _diradicals():
    square, rectangle = (_regular(4, 1.44 / np.sqrt(2), 45), np.array(
        [[0.78, 0.67, 0], [-0.78, 0.67, 0], [-0.78, -0.67, 0], [0.78, -0.67, 0]]))
    centre, allyl = np.zeros(3), 1.39 * _polar([60, -60])
    return [
        *(_molecule(f"{name}_benzyne", _hydrocarbon_ring(_regular(6, 1.395), without={0, position}))
          for name, position in (("o", 1), ("m", 2), ("p", 3))),
        _molecule("cyclobutadiene_square", _hydrocarbon_ring(square)),
        _molecule("cyclobutadiene_rectangular", _hydrocarbon_ring(rectangle)),
        _molecule("ethylene_90deg", _ethylene(1.34, 90)), _molecule("ethylene_80deg", _ethylene(1.34, 80)),
        _molecule("trimethylenemethane_singlet", [("C", centre)] + [
            atom for ray in _polar([0, 120, 240]) for atom in _ch2(1.41 * ray, ray, np.cross(_Z, ray))]),
        _molecule("tetramethyleneethane_singlet", [
            atom for side in (1, -1) for atom in [("C", 0.745 * side * _X)] + [
                hydrogen for arm in allyl
                for hydrogen in _ch2(side * (0.745 * _X + arm), side * arm, np.cross(_Z, arm))]]),
        _molecule("oxyallyl_singlet", [("C", centre), ("O", -1.25 * _X)] + [
            atom for arm in 1.43 * _polar([60, -60]) for atom in _ch2(arm, arm, np.cross(_Z, arm))]),
        _molecule("methylene_singlet", [("C", centre), *_pair("C", centre, _X, _Y, "H", 102)]),
        _molecule("diazene_90deg", _diazene(1.25, 90)),
        _molecule("ozone", [("O", centre), *_pair("O", centre, _X, _Y, "O", 117)]),
    ]


def _stretched():
    bent = _polar([0, 104.5])
    return [
        _molecule("ethane_CC3A", _ch3(1.5 * _X, _X) + _ch3(-1.5 * _X, -_X)),
        _molecule("water_one_OH2.2A", [("O", 0 * _X), ("H", 2.2 * bent[0]), ("H", 0.96 * bent[1])]),
        _molecule("water_both_OH2A", [("O", 0 * _X), ("H", 2.0 * bent[0]), ("H", 2.0 * bent[1])]),
    ]


def _hydrogens():
    return [
        _molecule("H4_square_2A", [("H", point) for point in _regular(4, np.sqrt(2.0))]),
        _molecule("H6_ring_1.8A", [("H", point) for point in _regular(6, 1.8)]),
        _molecule("H8_chain_2A", _line("H " * 8, 2.0 * np.arange(8))),
        _molecule("HHeH_1.6A", _line("H He H", [-1.6, 0, 1.6])),
    ]


def _dimers():
    """Two metal atoms with bridges in the plane."""
    iron, sulphur = 1.35 * _X, 1.75 * _Y
    copper, bridge = 1.68 * _X, 1.60 * _Y
    outer = _polar([45, -45])
    return [
        _molecule("Fe2S2", [("Fe", iron), ("Fe", -iron), ("S", sulphur), ("S", -sulphur)]),
        _molecule("Cu2Cl6(2-)", [("Cu", copper), ("Cu", -copper), ("Cl", bridge), ("Cl", -bridge)] + [
            ("Cl", side * (copper + 2.19 * ray)) for side in (1, -1) for ray in outer], charge=-2),
    ]


def _barriers():
    """Structures on the way over a barrier, bonds half broken."""
    half = 1.05 * _X
    triangle = np.array([[0, 0.45, 0], [1.25, -0.40, 0], [-1.25, -0.40, 0]])
    return [
        _molecule("H3", _line("H H H", [-0.93, 0, 0.93]), multiplicity=2),
        _molecule("methane_methyl_transfer", _ch3(1.35 * _X, _X) + [("H", 0 * _X)] + _ch3(-1.35 * _X, -_X),
                  multiplicity=2),
        _molecule("ethylene_dimer_2.1A", [atom for side in (1, -1) for end in (1, -1) for atom in _ch2(
            side * half + 0.70 * end * _Y, end * _Y + 0.25 * side * _X, _Z)]),
        _molecule("cyclobutene_opening", [
            atom for side in (1, -1) for atom in [
                ("C", np.array([0.69 * side, 0.75, 0.0])), ("H", np.array([1.35 * side, 1.61, 0.0])),
                *_ch2(np.array([1.05 * side, -0.65, 0.0]), side * _X - 0.9 * _Y, _Z + side * 0.7 * _X)]]),
        _molecule("bicyclobutane_central_2.1A", [
            *(("C", side * half) for side in (1, -1)),
            *(("H", side * (half + 0.95 * _X) - 0.50 * _Z) for side in (1, -1)),
            *(atom for side in (1, -1) for atom in _ch2(
                np.array([0, 1.02 * side, 0.35]), side * _Y + 0.35 * _Z, 0.35 * side * _Y - _Z))]),
        _molecule("cyclopropane_opening", [
            ("C", triangle[0]), *_pair("C", triangle[0], _Y, _Z, "H", 113),
            *(atom for arm in triangle[1:] for atom in _ch2(arm, arm - triangle[0], np.cross(_Z, arm - triangle[0])
                                                            + 1.5 * _Z))]),
    ]


def _symmetric():
    """Saddles by symmetry: Jahn-Teller."""
    return [
        _molecule("benzene_cation", _hydrocarbon_ring(_regular(6, 1.395)), charge=1, multiplicity=2),
        _molecule("cyclopentadienyl_cation", _hydrocarbon_ring(_regular(5, 1.21)), charge=1),
        _molecule("FeCl2_quintet", _line("Cl Fe Cl", [-2.15, 0, 2.15]), multiplicity=5),
    ]


def _line(symbols, places):
    return [(symbol, place * _Z) for symbol, place in zip(symbols.split(), places, strict=True)]


def _polar(degrees):
    """Unit vectors of the plane."""
    angles = np.deg2rad(degrees)
    return np.column_stack([np.cos(angles), np.sin(angles), np.zeros(len(angles))])


def _regular(number, radius, first=0.0):
    """The corners of a polygon."""
    return radius * _polar(first + 360 / number * np.arange(number))


def _hydrocarbon_ring(corners, without=frozenset()):
    """One hydrogen outward of each corner but those in ``without``."""
    outward = corners / np.linalg.norm(corners, axis=1, keepdims=True)
    return [("C", corner) for corner in corners] + [
        ("H", corner + _CH * out) for i, (corner, out) in enumerate(zip(corners, outward)) if i not in without]


def _ch2(carbon, outward, across):
    """A carbon atom and two hydrogens, H-C-H 117 degrees, in the plane of the directions ``outward``, ``across``."""
    return [("C", carbon), *_pair("C", carbon, outward, across, "H", 117)]


def _pair(at, position, outward, across, symbol, degrees):
    """Two atoms bound to one, symmetric about the direction ``outward``, in its plane with ``across``."""
    length = {("C", "H"): _CH, ("O", "O"): 1.28}[at, symbol]
    u = outward / np.linalg.norm(outward)
    v = across - (across @ u) * u
    v /= np.linalg.norm(v)
    half = np.deg2rad(degrees / 2)
    return [(symbol, position + length * (np.cos(half) * u + side * np.sin(half) * v)) for side in (1, -1)]


def _ch3(carbon, outward):
    """A carbon atom and three hydrogens, tetrahedral, along the x axis."""
    around = np.column_stack([np.zeros(3), _polar([0, 120, 240])[:, :2]])
    return [("C", carbon)] + [("H", carbon + _CH * (outward / 3 + np.sqrt(8) / 3 * ray)) for ray in around]


def _ethylene(length, degrees):
    """Its ends turned against each other about the z axis."""
    (turned,) = _polar([degrees])
    return [*_ch2(length / 2 * _Z, _Z, _X), *_ch2(-length / 2 * _Z, -_Z, turned)]


def _diazene(length, degrees):
    """trans-N2H2, N-N-H 107 degrees, turned by so many degrees about the N-N axis (z)."""
    (turned,) = _polar([180 - degrees])
    slope = np.deg2rad(107 - 90)
    ends = [(length / 2 * _Z, _Z, _X), (-length / 2 * _Z, -_Z, turned)]
    return [("N", place) for place, *_ in ends] + [
        ("H", place + 1.03 * (np.sin(slope) * out + np.cos(slope) * across)) for place, out, across in ends]


def _molecule(name, atoms, charge=0, multiplicity=1):
    symbols, positions = zip(*atoms)
    return Molecule(name, symbols, tuple(map(tuple, (np.round(positions, 6) + 0.0).tolist())), charge, multiplicity)
