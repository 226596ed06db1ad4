"""Structures on which a plain SCF may not converge: atoms, small molecules of metals and complexes at several spins.

``search`` runs them and keeps those on which PySCF's default fails: the set ``difficult``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.benchmark.sets.broken_symmetry import broken_symmetry
from pyscf_mlguess.benchmark.sets.complexes import complexes, idealised_complex, sandwich
from pyscf_mlguess.molecules.molecule import Molecule

SPINS = {1: "singlet", 2: "doublet", 3: "triplet", 4: "quartet", 5: "quintet", 6: "sextet", 7: "septet", 9: "nonet",
         11: "undecet"}
_METALS = set(ELEMENTS[21:31])
# Symbol, charge and multiplicities: ground states of atoms and ions (NIST Atomic Spectra Database), other spins.
_ATOMS = """
Ti 3 5; V 4 6 2; Fe 5 3 7; Co 4 2; Ni 3 1; Sc 2 4; Cr 7 5; Cu 2; Mn 6 4; C 3; F 2; S 3; B 2; Si 3; Al 2; Cl 2
Ti(1+) 4; V(1+) 5 3; Cr(1+) 6; Fe(1+) 6 4; Co(1+) 3 5; Ni(1+) 2; Sc(1+) 3; F(1+) 3; O(1+) 4
Cu(2+) 2; Fe(2+) 5; Co(2+) 4; Ni(2+) 3; V(2+) 4; V(3+) 3; Ti(3+) 2; Ti(2+) 3; Cr(2+) 5; Cr(3+) 4; Mn(3+) 5
Zr 3 5; Nb 6 4; Mo 5; Tc 6; Ru 5 3; Rh 4 2; Pd 3; Y 2; Ag(2+) 2; Pd(2+) 3; Rh(1+) 3; Ru(1+) 4; Tc(1+) 7
Zr(1+) 4; Nb(1+) 5; Y(1+) 1
Hf 3; Ta 4; W 5 7; Re 4; Os 5 3; Ir 4 2; Pt 3 1; Hf(1+) 2; Ta(1+) 5; W(1+) 6; Os(1+) 6; Ir(1+) 5; Pt(1+) 2; La 2
"""
# Molecule, bond length in angstrom, multiplicities. Lengths near the measured ones, or typical of the bond.
_DIATOMICS = """
B2 1.59 1; NO 1.15 2; C2(1+) 1.30 4 2; CN 1.17 2; OH 0.97 2; CH 1.12 2; NH 1.04 1; SiC 1.72 1
FeO 1.62 5 3 7; MnO 1.65 6 4; NiO 1.63 3 1; CuO 1.72 2; CoO 1.63 4 2; VO 1.59 4 2; CrO 1.62 5 3; TiO 1.62 3; ScO 1.67 2
CoH 1.52 3 5; FeH 1.59 4 6; NiH 1.48 2; CrH 1.66 6; VH 1.73 5; TiH 1.78 4; MnH 1.73 7
FeC 1.59 3 1; CoC 1.56 2; NiC 1.63 1; CrC 1.62 3; VC 1.61 2; MnC 1.60 4; TiC 1.73 3 1
FeN 1.58 2 4; CoN 1.57 1 3; NiN 1.64 2 4; MnN 1.57 3; CrN 1.56 4; VN 1.57 3
FeF 1.78 6 4; CoF 1.74 3 5; NiF 1.74 2; TiF 1.83 4; VF 1.78 5; CrF 1.78 6
FeCl 2.18 6 4; CoCl 2.07 3 5; NiCl 2.06 2; VCl 2.21 5; TiCl 2.26 4
FeS 2.02 5 3; CoS 1.98 4; NiS 1.96 3; MnS 2.07 6; CuS 2.05 2; CrS 2.08 5; VS 2.05 4
Fe2 2.02 7 9; Co2 2.10 5; Ni2 2.15 3; V2 1.77 3; Ti2 1.94 3; Cr2 1.68 1; Mn2 2.60 11 1; Sc2 2.65 5
FeO(1+) 1.64 6 4; CoO(1+) 1.64 5; NiO(1+) 1.64 4; MnO(1+) 1.60 5; FeH(1+) 1.60 5; CoH(1+) 1.54 4
NiH(1+) 1.48 3; CuH(1+) 1.55 2
FeCo 2.05 6; FeNi 2.10 5; CuNi 2.23 2; FeCu 2.30 4
RuO 1.72 5 3; RhO 1.72 4 2; PdO 1.80 3; MoO 1.70 5; NbO 1.69 4; ZrO 1.71 1; RuC 1.61 1; RhC 1.61 2; PdC 1.71 1
RhH 1.58 3; RuH 1.61 4; PdH 1.53 2; Ru2 2.20 7; Rh2 2.25 5; Pd2 2.50 3; Mo2 1.93 1; Nb2 2.08 3; Zr2 2.24 3; Tc2 1.95 3
Ir2 2.30 5; Os2 2.25 7; Pt2 2.33 3; W2 2.05 1; Hf2 2.45 3; IrC 1.68 2; PtC 1.68 1; OsO 1.70 5; IrO 1.72 4; PtO 1.73 3
"""
# Central atom first, then what is bound to it: molecule, bond length in angstrom, multiplicities. Linear.
_DIHALIDES = """
FeCl2 2.13 5 3; CoCl2 2.11 4; NiCl2 2.06 3; VCl2 2.17 4; TiCl2 2.27 3; FeF2 1.77 5; CoF2 1.75 4; CuCl2 2.04 2
"""
# Metal, edge in angstrom, multiplicities: equilateral triangles and tetrahedra.
_CLUSTERS = {3: "Cu3 2.35 2; Ni3 2.25 3; Fe3 2.20 11; Co3 2.25 6; Pd3 2.50 3; V3 2.20 2", 4: "Ni4 2.30 5; Cu4 2.40 3"}
# Positions in units of the edge.
_SIMPLICES = {3: np.array([[0, 0, 0], [1, 0, 0], [0.5, np.sqrt(3) / 2, 0]]),
              4: np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(8)}
_COMPLEXES = {
    "permanganate": ("[Mn+7]", "tetrahedral", [("O", 1.63)] * 4, (1,)),
    "permanganyl_fluoride": ("[Mn+7]", "tetrahedral", [("F", 1.72)] + [("O", 1.59)] * 3, (1,)),
    "tetrachloroferrate(III)": ("[Fe+3]", "tetrahedral", [("Cl", 2.20)] * 4, (6, 4)),
    "tetrachloroferrate(II)": ("[Fe+2]", "tetrahedral", [("Cl", 2.30)] * 4, (5,)),
    "tetrachlorocobaltate(II)": ("[Co+2]", "tetrahedral", [("Cl", 2.28)] * 4, (4,)),
    "tetrachloronickelate(II)": ("[Ni+2]", "tetrahedral", [("Cl", 2.27)] * 4, (3,)),
    "tetrachlorocuprate(II)": ("[Cu+2]", "square planar", [("Cl", 2.26)] * 4, (2,)),
    "iron_tetracarbonyl": ("[Fe]", "tetrahedral", [("CO", 1.84)] * 4, (3, 1)),
    "cobalt_tetracarbonyl": ("[Co]", "tetrahedral", [("CO", 1.83)] * 4, (2,)),
    "manganese_pentacarbonyl": ("[Mn]", "square pyramidal", [("CO", 1.83)] * 5, (2,)),
    "hexaaquairon(II)": ("[Fe+2]", "octahedral", [("H2O", 2.12)] * 6, (5, 3)),
    "hexaaquacobalt(II)": ("[Co+2]", "octahedral", [("H2O", 2.08)] * 6, (4,)),
    "hexaaquavanadium(III)": ("[V+3]", "octahedral", [("H2O", 1.99)] * 6, (3,)),
    "hexaaquatitanium(III)": ("[Ti+3]", "octahedral", [("H2O", 2.03)] * 6, (2,)),
    "hexafluoroferrate(III)": ("[Fe+3]", "octahedral", [("F", 1.93)] * 6, (6, 4)),
    "hexafluorocobaltate(III)": ("[Co+3]", "octahedral", [("F", 1.89)] * 6, (5,)),
    "hexafluorotitanate(III)": ("[Ti+3]", "octahedral", [("F", 1.97)] * 6, (2,)),
}
_FROM_ELEMENTS = {"vanadium_oxytrichloride", "cobalt_tricarbonyl_nitrosyl"}
# Metal, distance of metal and ring in angstrom, multiplicity.
_SANDWICHES = {"vanadocene": ("[V+2]", 1.93, 4), "chromocene": ("[Cr+2]", 1.80, 3), "manganocene": ("[Mn+2]", 2.05, 6),
               "ferrocenium": ("[Fe+3]", 1.70, 2), "cobaltocene": ("[Co+2]", 1.72, 2),
               "nickelocene": ("[Ni+2]", 1.82, 3)}


def other_levels() -> dict[str, Molecule]:
    """Two molecules that PySCF's users reported unconverged at levels of their own, by the name of the set."""
    nitric_oxide = Molecule("nitric_oxide", ("O", "N"), ((0.5825, 0.0, 0.0), (-0.5825, 0.0, 0.0)), multiplicity=2)
    return {"nitric_oxide": nitric_oxide, "trimethyltin": idealised_complex(
        "trimethyltin", "[Sn+3]", "trigonal pyramidal", [("CH3", 2.17)] * 3, multiplicity=2)}


def candidates() -> Iterator[Molecule]:
    """All structures that ``search`` runs: those of ``broken_symmetry`` without a metal, and the tables above."""
    yield from (molecule for molecule in broken_symmetry() if not _METALS & set(molecule.symbols))
    for symbols, charge, _, multiplicities in _entries(_ATOMS, lengths=False):
        yield from _at_spins(symbols, np.zeros((1, 3)), charge, multiplicities)
    for symbols, charge, length, multiplicities in _entries(_DIATOMICS):
        yield from _at_spins(symbols, np.array([[0, 0, 0], [0, 0, length]]), charge, multiplicities)
    for symbols, charge, length, multiplicities in _entries(_DIHALIDES):
        yield from _at_spins(symbols, np.array([[0, 0, 0], [0, 0, length], [0, 0, -length]]), charge, multiplicities)
    for number, text in _CLUSTERS.items():
        for symbols, charge, edge, multiplicities in _entries(text):
            yield from _at_spins(symbols, edge * _SIMPLICES[number], charge, multiplicities)
    yield from _clusters_of_noble_metals()
    yield from (molecule for molecule in complexes() if molecule.name in _FROM_ELEMENTS)
    yield _iron_tetracarbonyl_ethylene()
    for name, (metal, geometry, ligands, multiplicities) in _COMPLEXES.items():
        for multiplicity in multiplicities:
            yield idealised_complex(f"{name}_{SPINS[multiplicity]}", metal, geometry, ligands, multiplicity)
    for name, (metal, distance, multiplicity) in _SANDWICHES.items():
        yield sandwich(f"{name}_{SPINS[multiplicity]}", metal, distance, multiplicity)


def _clusters_of_noble_metals():
    """Au4O 2+, a tetrahedron around oxygen; Ag6 +, an octahedron."""
    gold = 2.10 / np.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    yield from _at_spins(("O",) + ("Au",) * 4, np.concatenate([np.zeros((1, 3)), gold]), 2, (1,))
    silver = 2.80 / np.sqrt(2) * np.concatenate([np.eye(3), -np.eye(3)])
    yield from _at_spins(("Ag",) * 6, silver, 1, (2,))


def _iron_tetracarbonyl_ethylene():
    """Fe(C2H4)(CO)4, trigonal bipyramidal, ethylene in the equator and its hydrogens bent away from iron."""
    fragment = idealised_complex("", "[Fe]", "seesaw", [("CO", 1.81)] * 2 + [("CO", 1.80)] * 2)
    ethylene = [(symbol, (x, side * y, z)) for side in (1, -1) for symbol, x, y, z in (
        ("C", 2.02, 0.70, 0.0), ("H", 2.25, 1.25, 0.91), ("H", 2.25, 1.25, -0.91))]
    symbols, positions = zip(*ethylene)
    return Molecule("iron_tetracarbonyl_ethylene_singlet", fragment.symbols + symbols, fragment.positions + positions)


def _entries(text, lengths=True):
    """Element symbols, charge, length and multiplicities of each entry of a table."""
    for entry in re.split(r"[;\n]", text.strip()):
        formula, *numbers = entry.split()
        atoms, _, charge = formula.rstrip("+)").partition("(")
        symbols = [symbol for symbol, count in re.findall(r"([A-Z][a-z]?)(\d?)", atoms) for _ in range(int(count or 1))]
        length = float(numbers.pop(0)) if lengths else 0.0
        yield tuple(symbols), int(charge or 0), length, tuple(map(int, numbers))


def _at_spins(symbols, positions, charge, multiplicities):
    counts = [f"{symbol}{symbols.count(symbol)}".removesuffix("1") for symbol in dict.fromkeys(symbols)]
    formula = "".join(counts) + (f"({charge}+)" if charge else "")
    for multiplicity in multiplicities:
        yield Molecule(f"{formula}_{SPINS[multiplicity]}", symbols, _rounded(positions), charge, multiplicity)


def _rounded(positions):
    return tuple(map(tuple, np.round(positions, 6).tolist()))
