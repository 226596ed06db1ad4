"""What the learned guess serves, when it is refused, and what the user is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.refusal import Refusal

# What separates good guesses from bad ones, on molecules far from and near to the training set: see the
# README, "When a guess is refused".
MOST_ELECTRONS_MISSING = 0.1  # per atom, before the count is restored
MOST_NEGATIVE_ELECTRONS = 0.04  # per atom, in regions of negative fitted density
SMALLEST_GAP = 0.04  # Eh; the occupation, and with it the whole guess, hangs on less than the error
MOST_NOVELTY = 3.0  # an atom's invariants, in units of the training range
MOST_UNKNOWN = 0.5  # share of atoms that stay free atoms: such bonds are mostly ionic
# Transition metals and lanthanides, whose shells fill in a complex otherwise than in the free atom: Ni(CO)4 and
# Fe(CO)5 from free metal atoms take 26 and more than 50 cycles, minao 16 and 17.
NOT_AS_FREE_ATOMS = frozenset((*range(21, 31), *range(39, 49), *range(57, 81)))

_checking = True


@contextmanager
def unchecked() -> Iterator[None]:
    """Let every prediction pass, whatever its quality: for benchmarks that ask whether the checks are right."""
    global _checking
    _checking = False
    try:
        yield
    finally:
        _checking = True


def check_prediction(model, structure, prediction) -> None:
    """Raise Refusal for a prediction that is not finite, or says little or nothing about this molecule."""
    name = model.card["name"]
    unknown = [not block for block in prediction.blocks]
    if all(unknown):
        raise Refusal(f"the model {name} knows none of the elements of this molecule")
    if not _checking:
        return
    metals = {ELEMENTS[z] for z, bare in zip(structure.numbers, unknown) if bare and z in NOT_AS_FREE_ATOMS}
    if metals:
        raise Refusal(f"the model {name} does not know {', '.join(sorted(metals))}, "
                      "and the free atom of a transition metal is no start")
    if np.mean(unknown) >= MOST_UNKNOWN:
        raise Refusal(f"the model {name} does not know {sum(unknown)} of the {len(unknown)} atoms")
    for atom, block in zip(structure.atoms, prediction.blocks):
        if not all(np.isfinite(values).all() for values in block.values()):
            raise Refusal(f"the prediction for atom {atom} is not finite")
    farthest = int(np.argmax(prediction.novelty))
    if prediction.novelty[farthest] > MOST_NOVELTY:
        raise Refusal(f"the surroundings of atom {structure.atoms[farthest]} are {prediction.novelty[farthest]:.1f} "
                      f"times as far from the mean as the training set of {name} reaches (limit {MOST_NOVELTY})")


def check_route(report, mol: gto.MoleBase) -> None:
    """Raise Refusal when the way from prediction to density matrix shows a guess that will not serve."""
    if not _checking:
        return
    wrong = abs(report.electrons_missing)
    if wrong / mol.natm > MOST_ELECTRONS_MISSING:
        raise Refusal(f"the predicted density has {wrong:.2f} electrons too "
                      f"{'few' if report.electrons_missing > 0 else 'many'} "
                      f"({wrong / mol.natm:.3f} an atom, limit {MOST_ELECTRONS_MISSING})")
    negative = report.negative_electrons / mol.natm
    if negative > MOST_NEGATIVE_ELECTRONS:
        raise Refusal(f"the predicted density is negative over {report.negative_electrons:.2f} electrons "
                      f"({negative:.3f} an atom, limit {MOST_NEGATIVE_ELECTRONS})")
    # An open shell's gap is often that small, and the SCF itself opens it.
    if mol.spin == 0 and report.frontier_gap < SMALLEST_GAP:
        raise Refusal(f"the frontier gap is {report.frontier_gap:.3f} Eh (limit {SMALLEST_GAP})")
