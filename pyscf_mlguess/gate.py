"""Whether a model serves a molecule, and whether its prediction can be trusted: asks cards and reports."""

from __future__ import annotations

import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.models.base import Model
from pyscf_mlguess.predictions import Prediction
from pyscf_mlguess.refusal import Refusal
from pyscf_mlguess.routes.report import Report
from pyscf_mlguess.structure import Structure

MOST_NOVELTY = 3.0  # an atom's features, in units of the training range
MOST_UNKNOWN = 0.5  # share of atoms that stay free atoms: such bonds are mostly ionic
# Transition metals and lanthanides, whose shells fill in a complex otherwise than in the free atom: Ni(CO)4 and
# Fe(CO)5 from free metal atoms take 26 and more than 50 cycles, minao 16 and 17.
NOT_AS_FREE_ATOMS = frozenset((*range(21, 31), *range(39, 49), *range(57, 81)))


def unknown_atoms(model: Model, structure: Structure) -> np.ndarray:
    """Which atoms are of elements that the model does not know, (natm,) bool."""
    return ~np.isin(structure.numbers, model.card["elements"])


def check_known(model: Model, structure: Structure) -> None:
    """Raise Refusal for a molecule of which the model knows no element at all."""
    if unknown_atoms(model, structure).all():
        raise Refusal(f"the model {model.card['name']} knows none of the elements of this molecule")


def check_card(model: Model, structure: Structure, mol: gto.MoleBase) -> None:
    """Raise Refusal for a molecule outside of what the card says that the model serves."""
    name, unknown = model.card["name"], unknown_atoms(model, structure)
    for what, value, served in (("total charge", int(mol.charge), model.card["charges"]),
                                ("number of unpaired electrons", abs(int(mol.spin)), model.card["spins"])):
        if value not in served:
            raise Refusal(f"the {what} is {value}; the model {name} serves {', '.join(map(str, sorted(served)))}")
    metals = {ELEMENTS[z] for z in structure.numbers[unknown] if z in NOT_AS_FREE_ATOMS}
    if metals:
        raise Refusal(f"the model {name} does not know {', '.join(sorted(metals))}, "
                      "and the free atom of a transition metal is no start")
    if unknown.mean() >= MOST_UNKNOWN:
        raise Refusal(f"the model {name} does not know {unknown.sum()} of the {len(unknown)} atoms")


def check_prediction(model: Model, structure: Structure, prediction: Prediction) -> None:
    """Raise Refusal for a prediction that is not finite, or says little about this molecule."""
    for atom in prediction.atoms_not_finite():
        raise Refusal(f"the prediction for atom {structure.atoms[atom]} is not finite")
    farthest = int(np.argmax(prediction.novelty))
    if not prediction.novelty[farthest] <= MOST_NOVELTY:
        raise Refusal(f"the surroundings of atom {structure.atoms[farthest]} are {prediction.novelty[farthest]:.1f} "
                      f"times as far from the mean as the training set of {model.card['name']} reaches "
                      f"(limit {MOST_NOVELTY})")


def check_report(report: Report) -> None:
    """Raise Refusal where the way from the prediction to a density matrix speaks against the guess."""
    if objection := report.objection():
        raise Refusal(objection)
