"""Structures -> features of all elements, and the design matrices that the solver works with."""

from __future__ import annotations

import numpy as np
from pyscf.data.elements import ELEMENTS
from pyscf.data.nist import BOHR

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.models.linear_density.compression import compress, coupling_coefficients, fit_features
from pyscf_mlguess.models.linear_density.features import (
    AceFeatures,
    AceSettings,
    Contraction,
    nearness,
    neighbour_density,
)
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.shells import irrep_indices
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.solver import Design
from pyscf_mlguess.training.targets import BASE

# Principal components are made of so many atoms of an element: more take memory and say nothing new.
_SAMPLE = 4000
# Structures whose features are made at a time.
_CHUNK = 50


def densities(structures: list[Structure], settings: AceSettings):
    """Neighbour densities, atomic numbers and charges per atom of all structures, concatenated."""
    parts = [neighbour_density(s, settings) for s in structures]
    density = {l: np.concatenate([p[l] for p in parts]) for l in parts[0]}
    numbers = np.concatenate([s.numbers for s in structures])
    charges = np.concatenate([np.full(len(s), s.charge / len(s)) for s in structures])
    return density, numbers, charges


def in_chunks(structures: list[Structure], settings: AceSettings):
    """``densities`` of some structures after the other."""
    for start in range(0, len(structures), _CHUNK):
        yield densities(structures[start : start + _CHUNK], settings)


def fit_all_features(structures: list[Structure], settings: AceSettings) -> dict[int, AceFeatures]:
    """Features per element, leading components from these structures."""
    couplings = coupling_coefficients(settings.lmax)
    return {z: fit_features(density, settings, couplings) for z, (density, _) in _sample(structures, settings).items()}


def fit_contractions(structures: list[Structure], features: dict[int, AceFeatures], settings: AceSettings,
                     keep: tuple[int, int, int]) -> dict[int, dict[int, Contraction]]:
    """From all features to those that the solver sees, {element: {l: Contraction}}.

    keep: leading features of correlation order one, two and above.
    """
    sample = _sample(structures, settings)
    return {z: compress(model, *sample[z], keep) for z, model in features.items()}


def _sample(structures, settings):
    """Neighbour densities and charges per atom, {element: (densities, charges)}, of all atoms or a random part."""
    order = np.random.default_rng(0).permutation(len(structures))
    found = {z: [] for z in settings.elements}
    counts = dict.fromkeys(settings.elements, 0)
    for density, numbers, charges in in_chunks([structures[i] for i in order], settings):
        for z in settings.elements:
            atoms = np.flatnonzero(numbers == z)[: _SAMPLE - counts[z]]
            if len(atoms):
                found[z].append(({l: a[atoms] for l, a in density.items()}, charges[atoms]))
                counts[z] += len(atoms)
    return {z: ({l: np.concatenate([density[l] for density, _ in parts]) for l in parts[0][0]},
                np.concatenate([charges for _, charges in parts])) for z, parts in found.items() if parts}


def make_design(structures: list[Structure], features: dict[int, AceFeatures], settings: AceSettings,
                contractions: dict[int, dict[int, Contraction]]) -> Design:
    """Feature matrices and coefficient indices of all atoms."""
    matrices, indices, offset, offsets = {}, {}, 0, [0]
    for start in range(0, len(structures), _CHUNK):
        chunk = structures[start : start + _CHUNK]
        layouts = []
        for s in chunk:
            auxmol = _auxiliary_mole(s)
            layouts += [{l: index.T + offset for l, index in atom.items()} for atom in irrep_indices(auxmol)]
            offset += auxmol.nao
            offsets.append(offset)
        density, numbers, charges = densities(chunk, settings)
        near = np.concatenate([nearness(s, settings) for s in chunk])
        for z, model in features.items():
            atoms = np.flatnonzero(numbers == z)
            if len(atoms) == 0:
                continue
            for l, all_of_them in model({l: a[atoms] for l, a in density.items()}, charges[atoms]).items():
                if l in layouts[atoms[0]]:
                    rows = contractions[z][l](all_of_them) * near[atoms, None, None]
                    rows = rows.transpose(0, 2, 1).astype(np.float32).reshape(-1, rows.shape[1])
                    matrices.setdefault((z, l), []).append(rows)
                    indices.setdefault((z, l), []).append(np.stack([layouts[a][l] for a in atoms]))
    # One after the other, and what was joined is let go.
    for parts in (matrices, indices):
        for key in parts:
            parts[key] = np.concatenate(parts[key])
    return Design(matrices, indices, np.array(offsets))


def _auxiliary_mole(structure):
    """As ``base_auxiliary_mole``; the spin does not matter here."""
    symbols = tuple(ELEMENTS[number] for number in structure.numbers)
    positions = tuple(map(tuple, (structure.positions * BOHR).tolist()))
    odd = int(structure.numbers.sum() - structure.charge) % 2
    return auxiliary_mole(Molecule("", symbols, positions, structure.charge, 1 + odd).mol(BASE.basis))
