"""From an SCF object to its initial density matrix, one line per stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
from pyscf.lib import logger
from pyscf.scf import hf

from pyscf_mlguess import gate
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.level import triple_zeta_share
from pyscf_mlguess.models import load_model
from pyscf_mlguess.refusal import check_molecule, check_scf_class
from pyscf_mlguess.routes.auxiliary_density import predicted_guess
from pyscf_mlguess.routes.auxiliary_fock import COARSEST, GRID_LEVEL
from pyscf_mlguess.stages import stage
from pyscf_mlguess.structure import Structure

_correcting = True


@contextmanager
def density_alone() -> Iterator[None]:
    """Leave every predicted density as the model gave it: for benchmarks that ask what its correction brings."""
    global _correcting
    _correcting = False
    try:
        yield
    finally:
        _correcting = True


def initial_density_matrix(mf: hf.SCF, model: str = "default", to_be_refined: bool = False, *, corrected: bool = True,
                           checked: bool = True) -> np.ndarray:
    """The learned initial density matrix for ``mf``.

    model: its name or path; "ml" and "ml:<name or path>" are understood, too.
    corrected: False leaves the predicted density as it is.  checked: False skips the checks of quality.
    to_be_refined: xc on the grid where refinement begins, and all correction left to it.
    Returns (nao, nao) for restricted, (2, nao, nao) for unrestricted and restricted open-shell objects.
    Raises Refusal with the reason when the guess is not served or not trusted, ModelError or
    FileNotFoundError when the model cannot be loaded.
    """
    with ExitStack() as switches:
        if not corrected:
            switches.enter_context(density_alone())
        if not checked:
            switches.enter_context(gate.unchecked())
        return _initial_density_matrix(mf, model.removeprefix("ml").removeprefix(":") or "default", to_be_refined)


def _initial_density_matrix(mf, name, to_be_refined):
    check_scf_class(mf)
    check_molecule(mf.mol)
    model = load_model(name)
    potential = SemilocalPotential.of(mf)
    with stage("model"):
        structure = Structure.from_mol(mf.mol)
        level = potential.exact_exchange, triple_zeta_share(mf.mol)
        prediction = model.predict(structure, *level)
    gate.check_prediction(model, structure, prediction)
    with stage("route"):
        dm, report = predicted_guess(mf, prediction, potential, COARSEST if to_be_refined else GRID_LEVEL,
                                     answer=_correcting and not to_be_refined)
    gate.check_route(report, mf.mol)
    _log(mf, model, structure, prediction, level, report)
    return dm


def _log(mf, model, structure, prediction, level, report):
    unknown = sorted({mf.mol.atom_symbol(i) for i, b in zip(structure.atoms, prediction.blocks) if not b})
    notes = ["density of {:.2f} exact exchange and {:.2f} of the way to a triple-zeta basis".format(*level)]
    notes += report.notes
    if unknown:
        notes.append(f"free atoms for {', '.join(unknown)}")
    logger.info(mf, "Initial guess from %s.%s", model.card["name"], "".join(f"  {note}." for note in notes))
    logger.debug(mf, "electrons missing %.4f, in negative density %.4f, frontier gap %.4f Eh, novelty up to %.2f",
                 report.electrons_missing, report.negative_electrons, report.frontier_gap,
                 prediction.novelty.max(initial=0.0))
