"""Labels and metrics -> targets and the least-squares problem; metrics stay on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from pyscf import lib
from tqdm import tqdm

from pyscf_mlguess.molecules.label import Label
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.metric import PackedMetric
from pyscf_mlguess.training.solver import Design, Problem
from pyscf_mlguess.training.targets import BASE, Target, base_auxiliary_mole, read_target

# Share of the plain Coulomb metric, which holds the directions that the solver-aligned one is blind to.
COULOMB_SHARE = 0.3
# Molecules of at most this many heavy atoms have this share of the others' weight: they say less about molecules.
_SMALL, _SMALL_WEIGHT = 2, 0.1


def load_targets(cache: str | Path, labels: list[Label], progress: bool = True) -> list[Target]:
    """The targets of ``labels``; to the metric comes a share of the Coulomb metric, all over the loss of free atoms.

    The metrics lie in a file without a name in the folder ``cache`` and are mapped: what memory has no room for is read
    anew whenever it is needed.
    """
    found, stops = [], [0]
    with tempfile.TemporaryFile(dir=cache) as file:
        for label in tqdm(labels, desc="reading metrics", disable=not progress):
            target = read_target(cache, label)
            triangle = _over_free_atoms(target)
            file.write(triangle)
            found.append((label, target.difference))
            stops.append(stops[-1] + len(triangle))
        file.flush()
        mapped = np.memmap(file, np.float32, mode="r")
    return [Target(*one, PackedMetric(mapped[start:stop])) for one, start, stop in zip(found, stops, stops[1:])]


def _over_free_atoms(target):
    free = target.difference[str(BASE)]
    coulomb = base_auxiliary_mole(target.label).intor("int2c2e", hermi=1)
    weight = _SMALL_WEIGHT if np.count_nonzero(target.label.numbers > 1) <= _SMALL else 1.0
    share = COULOMB_SHARE / float(free @ coulomb @ free)
    both = target.metric.triangle / target.metric.loss(free) + share * lib.pack_tril(coulomb)
    return (weight * both).astype(np.float32)


def structures_of(targets: list[Target]) -> list[Structure]:
    """Atoms and charge of each target."""
    return [Structure(t.label.numbers, t.label.positions.astype(float), t.label.charge, np.arange(len(t.label.numbers)))
            for t in targets]


def make_problem(targets: list[Target], design: Design, level: str = str(BASE), relative_to: str = "") -> Problem:
    """The least-squares problem for the density of ``level``, or for its difference from another level's."""
    parts = [t.difference[level] - (t.difference[relative_to] if relative_to else 0.0) for t in targets]
    return Problem(design, np.concatenate(parts).astype(np.float32), [t.metric for t in targets])
