"""2,089 structures made from the shipped sets: displaced, scaled, with other charges, spins and conformers.

Made anew at every load, by rules and random numbers that follow from the name: the same with the same RDKit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
from pyscf.data.elements import charge
from pyscf.data.nist import BOHR
from pyscf.data.radii import COVALENT
from scipy.spatial.distance import pdist, squareform

from pyscf_mlguess.benchmark.sets import load_set
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.smiles import conformer, molecule_from_conformer

_SETS = ("atoms", "broken_symmetry", "difficult", "distorted", "elements", "hard", "ions", "nitric_oxide", "path",
         "qm9_size", "radicals", "small_drugs", "trimethyltin")
# Those whose geometries are relaxed conformers; of the complexes of metals RDKit makes none.
_WITH_CONFORMERS = ("ions", "qm9_size", "radicals")
# Whose frames are variants of one molecule.
_PATHS = ("path",)
# Atoms of those that are taken as they are and with other conformers, and of those that others are made from.
_LARGEST, _LARGEST_VARIED = 17, 14
# Standard deviation in angstrom of each coordinate; factors of all distances.
_DISPLACEMENTS, _SCALES = (0.05, 0.1, 0.2), (0.92, 1.15)
_CONFORMER_SEEDS = range(1, 7)
# Conformers whose sorted distances (angstrom) differ less are the same.
_SAME_CONFORMER = 0.1
# Atoms may come as close as this share of the sum of their covalent radii; draws until they do not.
_CLOSEST, _DRAWS = 0.6, 20
_DECIMALS = 6


@cache
def structures() -> tuple[Molecule, ...]:
    """All of them, named <set>/<molecule> or <set>/<molecule>/<what was done to it>, in a fixed mixed order.

    Any leading part is a fair sample. Frames of a path are molecules of their own here.
    """
    made: dict[str, Molecule] = {}
    for name in _SETS:
        for molecule in load_set(name)[0]:
            if len(molecule.symbols) <= _LARGEST:
                named = replace(molecule, name=f"{name}/{molecule.name}", path="")
                for variant in (named,) if name in _PATHS else _variants(named, name in _WITH_CONFORMERS):
                    # Two sets may hold the same molecule, and the cation of a quintet may be its quartet's.
                    made.setdefault(variant.fingerprint, variant)
    return tuple(sorted(made.values(), key=lambda molecule: _digest(molecule.name)))


def _digest(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _variants(molecule: Molecule, with_conformers: bool) -> Iterator[Molecule]:
    yield molecule
    if with_conformers:
        yield from _conformers(molecule)
    if len(molecule.symbols) <= _LARGEST_VARIED:
        yield from _states(molecule)
        if len(molecule.symbols) > 1:
            yield from _geometries(molecule)


def _states(molecule):
    """With an electron less and one more, in the lowest spin nearby; molecules with two more unpaired electrons."""
    lower = molecule.multiplicity - 1 or 2
    wanted = [("cation", 1, lower), ("anion", -1, lower)] if molecule.charge == 0 else []
    if len(molecule.symbols) > 1:
        wanted.append(("spin", molecule.charge, molecule.multiplicity + 2))
    for what, total, multiplicity in wanted:
        # No electrons to be bare of, or too few to be unpaired.
        if sum(map(charge, molecule.symbols)) - total > multiplicity - 1:
            yield replace(molecule, name=f"{molecule.name}/{what}", charge=total, multiplicity=multiplicity)


def _geometries(molecule):
    positions = np.array(molecule.positions)
    for factor in _SCALES:
        if _apart(molecule, factor * positions):
            yield _moved(molecule, f"scaled{factor:.2f}", factor * positions)
    for sigma in _DISPLACEMENTS:
        what = f"displaced{sigma:.2f}"
        rng = np.random.default_rng(_digest(f"{molecule.name}/{what}"))
        draws = (positions + sigma * rng.normal(size=positions.shape) for _ in range(_DRAWS))
        if (found := next((draw for draw in draws if _apart(molecule, draw)), None)) is not None:
            yield _moved(molecule, what, found)


def _apart(molecule, positions):
    radii = BOHR * np.array([COVALENT[charge(symbol)] for symbol in molecule.symbols])
    sums = radii[:, None] + radii
    np.fill_diagonal(sums, 0.0)
    return bool(np.all(squareform(pdist(positions)) >= _CLOSEST * sums))


def _moved(molecule, what, positions):
    return replace(molecule, name=f"{molecule.name}/{what}",
                   positions=tuple(map(tuple, positions.round(_DECIMALS).tolist())))


def _conformers(molecule):
    """Those that differ from the molecule's own geometry and from each other."""
    known = [np.sort(pdist(molecule.positions))]
    for seed in _CONFORMER_SEEDS:
        found = molecule_from_conformer(conformer(molecule.smiles, seed), f"{molecule.name}/conformer{seed}",
                                        molecule.smiles)
        distances = np.sort(pdist(found.positions))
        if all(np.abs(distances - other).max() > _SAME_CONFORMER for other in known):
            known.append(distances)
            yield found
