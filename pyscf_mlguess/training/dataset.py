"""Labels and metrics -> design matrices and the least-squares problem, in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pyscf.data.elements import ELEMENTS
from pyscf.data.nist import BOHR
from tqdm import tqdm

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.models.linear_density.compression import compress, coupling_coefficients, fit_features
from pyscf_mlguess.models.linear_density.features import AceFeatures, AceSettings, neighbour_density
from pyscf_mlguess.molecules.label import Label
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.shells import irrep_indices
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.solver import Design, Problem
from pyscf_mlguess.training.targets import BASE, Target, base_auxiliary_mole, read_target

# Share of the plain Coulomb metric, which holds the directions that the solver-aligned one is blind to.
COULOMB_SHARE = 0.3
# Molecules of at most this many heavy atoms have this share of the others' weight: they say less about molecules.
_SMALL, _SMALL_WEIGHT = 2, 0.1


def load_targets(cache: str | Path, labels: list[Label], progress: bool = True) -> list[Target]:
    """The targets of ``labels``; to the metric comes a share of the Coulomb metric, all over the loss of free atoms."""
    targets = []
    for label in tqdm(labels, desc="reading metrics", disable=not progress):
        target = read_target(cache, label)
        free = target.difference[str(BASE)]
        coulomb = base_auxiliary_mole(target).intor("int2c2e", hermi=1)
        weight = _SMALL_WEIGHT if np.count_nonzero(target.numbers > 1) <= _SMALL else 1.0
        target.metric *= weight / float(free @ target.metric @ free)
        target.metric += (weight * COULOMB_SHARE / float(free @ coulomb @ free) * coulomb).astype(np.float32)
        targets.append(target)
    return targets


def structures_of(targets: list[Target]) -> list[Structure]:
    """Atoms and charge of each target."""
    return [Structure(t.numbers, t.positions, t.charge, np.arange(len(t.numbers))) for t in targets]


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
                rows = block.transpose(0, 2, 1).astype(np.float32)
                matrices[z, l] = np.ascontiguousarray(rows).reshape(-1, block.shape[1])
                indices[z, l] = np.stack([layouts[a][l].T for a in atoms])
    return Design(matrices, indices, np.array(offsets)), contractions if contractions is not None else fitted


def _auxiliary_mole(structure):
    """As ``base_auxiliary_mole``; the spin does not matter here."""
    symbols = tuple(ELEMENTS[number] for number in structure.numbers)
    positions = tuple(map(tuple, (structure.positions * BOHR).tolist()))
    odd = int(structure.numbers.sum() - structure.charge) % 2
    return auxiliary_mole(Molecule("", symbols, positions, structure.charge, 1 + odd).mol(BASE.basis))


def make_problem(targets: list[Target], design: Design, level: str = str(BASE), relative_to: str = "") -> Problem:
    """The least-squares problem for the density of ``level``, or for its difference from another level's."""
    parts = [t.difference[level] - (t.difference[relative_to] if relative_to else 0.0) for t in targets]
    return Problem(design, np.concatenate(parts).astype(np.float32), [t.metric for t in targets])
