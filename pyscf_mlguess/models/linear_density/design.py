"""Structures -> features of all elements, and the design matrices that the solver works with."""

from __future__ import annotations

import numpy as np
from pyscf.data.elements import ELEMENTS
from pyscf.data.nist import BOHR

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.models.linear_density.compression import compress, coupling_coefficients, fit_features
from pyscf_mlguess.models.linear_density.features import AceFeatures, AceSettings, nearness, neighbour_density
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.shells import irrep_indices
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.solver import Design
from pyscf_mlguess.training.targets import BASE


def densities(structures: list[Structure], settings: AceSettings):
    """Neighbour densities, atomic numbers and charges per atom of all structures, concatenated."""
    parts = [neighbour_density(s, settings) for s in structures]
    density = {l: np.concatenate([p[l] for p in parts]) for l in parts[0]}
    numbers = np.concatenate([s.numbers for s in structures])
    charges = np.concatenate([np.full(len(s), s.charge / len(s)) for s in structures])
    return density, numbers, charges


def fit_all_features(structures: list[Structure], settings: AceSettings) -> dict[int, AceFeatures]:
    """Features per element, leading components from these structures."""
    couplings = coupling_coefficients(settings.lmax)
    density, numbers, _ = densities(structures, settings)
    return {z: fit_features({l: a[numbers == z] for l, a in density.items()}, settings, couplings)
            for z in settings.elements if np.any(numbers == z)}


def make_design(structures: list[Structure], features: dict[int, AceFeatures], settings: AceSettings,
                contractions: dict | None = None, keep: tuple[int, int, int] = (80, 300, 300)):
    """Feature matrices and coefficient indices of all atoms; contractions are fitted unless given.

    keep: leading features of correlation order one, two and above.  Returns the design and the contractions
    {element: {l: Contraction}}.
    """
    density, numbers, charges = densities(structures, settings)
    near = np.concatenate([nearness(s, settings) for s in structures])
    layouts, offsets = [], [0]
    for s in structures:
        auxmol = _auxiliary_mole(s)
        layouts += [{l: index + offsets[-1] for l, index in atom.items()} for atom in irrep_indices(auxmol)]
        offsets.append(offsets[-1] + auxmol.nao)
    matrices, indices, fitted = {}, {}, {}
    for z, model in features.items():
        atoms = np.flatnonzero(numbers == z)
        if len(atoms) == 0:
            continue
        own = {l: a[atoms] for l, a in density.items()}
        if contractions is None:
            blocks, fitted[z] = compress(model, own, charges[atoms], keep)
        else:
            blocks = {l: contractions[z][l](a) for l, a in model(own, charges[atoms]).items()}
        for l, block in blocks.items():
            if l in layouts[atoms[0]]:
                rows = (block * near[atoms, None, None]).transpose(0, 2, 1).astype(np.float32)
                matrices[z, l] = np.ascontiguousarray(rows).reshape(-1, block.shape[1])
                indices[z, l] = np.stack([layouts[a][l].T for a in atoms])
    return Design(matrices, indices, np.array(offsets)), contractions if contractions is not None else fitted


def _auxiliary_mole(structure):
    """As ``base_auxiliary_mole``; the spin does not matter here."""
    symbols = tuple(ELEMENTS[number] for number in structure.numbers)
    positions = tuple(map(tuple, (structure.positions * BOHR).tolist()))
    odd = int(structure.numbers.sum() - structure.charge) % 2
    return auxiliary_mole(Molecule("", symbols, positions, structure.charge, 1 + odd).mol(BASE.basis))
