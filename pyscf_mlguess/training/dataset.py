"""Labels and metrics -> targets and the least-squares problem, in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from pyscf_mlguess.molecules.label import Label
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
        coulomb = base_auxiliary_mole(label).intor("int2c2e", hermi=1)
        weight = _SMALL_WEIGHT if np.count_nonzero(label.numbers > 1) <= _SMALL else 1.0
        target.metric *= weight / float(free @ target.metric @ free)
        target.metric += (weight * COULOMB_SHARE / float(free @ coulomb @ free) * coulomb).astype(np.float32)
        targets.append(target)
    return targets


def structures_of(targets: list[Target]) -> list[Structure]:
    """Atoms and charge of each target."""
    return [Structure(t.label.numbers, t.label.positions.astype(float), t.label.charge, np.arange(len(t.label.numbers)))
            for t in targets]


def make_problem(targets: list[Target], design: Design, level: str = str(BASE), relative_to: str = "") -> Problem:
    """The least-squares problem for the density of ``level``, or for its difference from another level's."""
    parts = [t.difference[level] - (t.difference[relative_to] if relative_to else 0.0) for t in targets]
    return Problem(design, np.concatenate(parts).astype(np.float32), [t.metric for t in targets])
