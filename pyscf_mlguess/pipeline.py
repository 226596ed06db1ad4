"""From an SCF object to its initial density matrix, one line per stage."""

from __future__ import annotations

import numpy as np
from pyscf.data.elements import ELEMENTS
from pyscf.lib import logger
from pyscf.scf import hf

from pyscf_mlguess import gate, routes
from pyscf_mlguess.cheap.problem import CheapProblem
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models import load_model
from pyscf_mlguess.models.base import Model
from pyscf_mlguess.predictions import FockBlocks
from pyscf_mlguess.refusal import check_molecule, check_scf_class, numerical_errors_refused
from pyscf_mlguess.stages import stage
from pyscf_mlguess.structure import Structure


def initial_density_matrix(mf: hf.SCF, model: Model | str = "default", *, corrected: bool = True,
                           checked: bool = True, cheap: CheapProblem | None = None) -> np.ndarray:
    """The learned initial density matrix for ``mf``.

    model: the model, its name or its path.
    corrected: let the model's responses correct the prediction by what its own Fock matrix gives back.
    checked: refuse what the model does not serve and guesses of bad quality; without, benchmarks can ask whether the
        gate is right.
    cheap: the cheap problem that is to refine the guess: its integrals serve, and all correction is left to it.
    Returns (nao, nao) for restricted, (2, nao, nao) for unrestricted and restricted open-shell objects.
    Raises Refusal with the reason when the guess is not served or not trusted, ModelError or
    FileNotFoundError when the model cannot be loaded.
    """
    check_scf_class(mf)
    check_molecule(mf.mol)
    model = load_model(model) if isinstance(model, str) else model
    if model.density is not None and (cheap is not None or abs(int(mf.mol.spin)) not in model.card["spins"]):
        # The cheap problem has exact exchange itself: a predicted one costs more than the iteration that it would save.
        # For other spins there is no prediction but of the density.
        model = model.density
    with numerical_errors_refused():
        with stage("model"):
            structure, level = Structure.from_mol(mf.mol), LevelOfTheory.of(mf)
            gate.check_known(model, structure)
            if checked:
                gate.check_card(model, structure, mf.mol)
            prediction = model.predict(structure, level)
        if checked:
            gate.check_prediction(model, structure, prediction)
        with stage("route"):
            responses = model.responses if corrected and cheap is None else None
            dm, report = routes.density_matrix(mf, prediction, responses, cheap)
        if checked:
            gate.check_report(report)
    _log(mf, model, structure, prediction, level, report)
    return dm


def _log(mf, model, structure, prediction, level, report):
    notes = [f"density of a functional with {level.exact_exchange:.0%} exact exchange"] if level.exact_exchange else []
    if level.triple_zeta:
        notes.append(f"density {level.triple_zeta:.0%} of the way from a split-valence to a triple-zeta basis")
    if isinstance(prediction, FockBlocks) and not level.is_semilocal:
        known = ", ".join(sorted(ELEMENTS[element] for element in prediction.blocks.onsite))
        notes.append(f"exact exchange as predicted for {known}")
    notes += report.notes
    unknown = structure.atoms[gate.unknown_atoms(model, structure)]
    if len(unknown):
        notes.append(f"free atoms for {', '.join(sorted({mf.mol.atom_symbol(i) for i in unknown}))}")
    logger.info(mf, "Initial guess from the model %s%s.", model.card["name"], "".join(f"; {note}" for note in notes))
    logger.debug(mf, "%s, novelty up to %.2f", report, prediction.novelty.max(initial=0.0))
