"""Chooses the molecules to label next: where a linear model trained on the labels there are would be least certain.

For ridge regression the variance of a prediction is, up to a constant, the leverage x^T (X^T X + lambda)^-1 x of
its features x.  Molecules are taken by the leverage of their atoms for the cost of their label; what is taken counts
as known at once, so that no two of a kind are taken.
"""

from __future__ import annotations

import heapq

import numpy as np
from tqdm import tqdm

from pyscf_mlguess.models.linear_density.design import fit_all_features, fit_contractions, make_design
from pyscf_mlguess.models.linear_density.features import AceSettings
from pyscf_mlguess.molecules.label import Label, molecule_of
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.structure import Structure

# A label costs as the square of the number of atoms, about.
_COST_EXPONENT = 2.0
# Leading features of correlation order one, two and above that are looked at.
_KEEP = (30, 50, 50)
# lambda, as a share of the mean squared feature of the training set times its number of atoms.
_RIDGE = 1e-5


def choose(candidates: list[Molecule], labels: list[Label], count: int, settings: AceSettings = AceSettings(),
           progress: bool = True) -> list[Molecule]:
    """``count`` of the candidates, the most wanted first.

    labels: what a model is or will be trained on.  Candidates with an element that no label has come last.
    """
    known = [Structure.from_mol(_mol(label)) for label in labels]
    features = fit_all_features(known, settings)
    contractions = fit_contractions(known, features, settings, _KEEP)
    design = make_design(known, features, settings, contractions)
    grams = {key: (rows.T @ rows).astype(float) for key, rows in design.features.items()}
    inverses = {key: np.linalg.inv(gram + _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)))
                for key, gram in grams.items()}
    structures = [Structure.from_mol(_mol(molecule)) for molecule in candidates]
    rows = [make_design([s], features, settings, contractions).features
            for s in tqdm(structures, desc="features", unit="mol", disable=not progress)]
    costs = np.array([len(s) ** _COST_EXPONENT for s in structures])
    # Gains only shrink as others are taken, so the best of the old ones is the first to look at again.
    waiting = [(-_leverage(x, inverses) / cost, index) for index, (x, cost) in enumerate(zip(rows, costs))]
    heapq.heapify(waiting)
    taken = []
    while waiting and len(taken) < count:
        index = waiting[0][1]
        gain = _leverage(rows[index], inverses) / costs[index]
        heapq.heapreplace(waiting, (-gain, index))
        if waiting[0][1] == index:
            heapq.heappop(waiting)
            taken.append(index)
            for key, x in rows[index].items():
                inverses[key] = _updated(inverses[key], x.astype(float))
    return [candidates[index] for index in taken]


def _leverage(rows, inverses):
    """Sum over atoms and l of what each would teach, saturating: log(1 + leverage)."""
    return sum(float(np.log1p(np.einsum("ai,ij,aj->a", x, inverses[key], x)).sum()) for key, x in rows.items())


def _updated(inverse, x):
    """(H + x^T x)^-1 by the Woodbury identity."""
    half = x @ inverse
    return inverse - half.T @ np.linalg.solve(np.eye(len(x)) + half @ x.T, half)


def _mol(entry):
    return (molecule_of(entry) if isinstance(entry, Label) else entry).mol("sto-3g")
