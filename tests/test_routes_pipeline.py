"""From a model that predicts density or Fock matrices through gate, pipeline and log."""

import numpy as np
import pytest
from conftest import FORMAMIDE, WATER
from oracles import KINDS, blocks_of, check_determinant, molecule, oracle, solution
from pyscf import gto, scf

from pyscf_mlguess import pipeline, routes
from pyscf_mlguess.blocks import Blocks
from pyscf_mlguess.predictions import AuxiliaryDensity, DensityBlocks, FockBlocks
from pyscf_mlguess.refusal import Refusal

METHYL = "C 0 0 0; H 0 1.08 0; H .935 -.54 0.1; H -.935 -.54 0"
IODOMETHANE = "I 0 0 0; C 0 0 2.15; H 1.03 0 2.5; H -0.51 0.89 2.5; H -0.51 -0.89 2.5"


@pytest.mark.parametrize("kind", KINDS)
def test_atoms_of_blocks_that_are_not_finite_are_named(kind, formamide):
    prediction = blocks_of(kind, formamide, np.eye(formamide.nao))
    assert prediction.atoms_not_finite() == []
    prediction.blocks.onsite[1][2, 0, 0] = np.inf  # the third hydrogen, the last atom
    assert prediction.atoms_not_finite() == [5]
    prediction.blocks.pairs[7, 8][0, 1, 2] = np.nan
    assert prediction.atoms_not_finite() == [1, 2, 5]


class Oracle:
    """A model of one molecule, which it knows perfectly; ``change`` edits its predictions."""

    responses, density = (), None

    def __init__(self, kind, mf, change=lambda prediction: None):
        self.card = {"name": "oracle", "elements": [1, 6, 7, 8], "charges": [0], "spins": [0]}
        self._prediction, self._change = oracle(kind, mf), change

    def predict(self, structure, level):
        assert len(structure) == len(self._prediction.novelty)
        self._change(self._prediction)
        return self._prediction


@pytest.mark.parametrize("kind", KINDS)
def test_the_pipeline_takes_matrices(kind, formamide):
    mf = solution(FORMAMIDE)
    dm = pipeline.initial_density_matrix(scf.RHF(formamide), Oracle(kind, mf), corrected=False)
    assert np.asarray(dm) == pytest.approx(np.asarray(mf.make_rdm1()), abs=1e-8)
    other = scf.RHF(molecule(FORMAMIDE, "6-31g*"))
    check_determinant(other, pipeline.initial_density_matrix(other, Oracle(kind, mf)))


def test_the_log_tells_model_and_figures(tmp_path):
    mf = solution()
    for kind, figures in ((DensityBlocks, "gap of natural occupations 1.0000"), (FockBlocks, "frontier gap 0.6")):
        log = tmp_path / "log"
        mol = gto.M(atom=WATER, basis="def2-svp", verbose=5, output=str(log))
        pipeline.initial_density_matrix(scf.RHF(mol), Oracle(kind, mf))
        mol.stdout.flush()
        assert "Initial guess from the model oracle" in log.read_text() and figures in log.read_text()


def spoil(prediction):
    prediction.blocks.onsite[8][0, 0, 0] = np.nan


def surprise(prediction):
    prediction.novelty[2] = 7.0


def empty(prediction):
    for blocks in (prediction.blocks.onsite, prediction.blocks.pairs):
        for block in blocks.values():
            block[:] = 0.0


def crowd(prediction):
    prediction.density.blocks[1][0] = np.array([[9.0]])


def spoil_density(prediction):
    prediction.density.blocks[1][0] = np.array([[np.nan]])


@pytest.mark.parametrize("kind, change, reason", [
    *((kind, spoil, "atom 1 is not finite") for kind in KINDS),
    *((kind, surprise, "surroundings of atom 2 are 7.0") for kind in KINDS),
    (DensityBlocks, empty, "too few"),
    (FockBlocks, crowd, "the predicted density has .* electrons too many"),
    (FockBlocks, spoil_density, "atom 1 is not finite"),
])
def test_the_gate_judges_matrices(kind, change, reason, formamide):
    with pytest.raises(Refusal, match=reason):
        pipeline.initial_density_matrix(scf.RHF(formamide), Oracle(kind, solution(FORMAMIDE), change))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gate_reads_the_card_of_a_model_of_matrices(kind, formamide):
    model = Oracle(kind, solution(FORMAMIDE))
    cation = scf.UHF(molecule(FORMAMIDE, charge=1, spin=1))
    with pytest.raises(Refusal, match="total charge is 1; the model oracle serves 0"):
        pipeline.initial_density_matrix(cation, model)
    model.card["elements"] = [1, 6, 7]
    check_determinant(cation, pipeline.initial_density_matrix(cation, model, checked=False))


def without_oxygen(kind, blocks):
    known = Blocks(blocks.sites, {z: b for z, b in blocks.onsite.items() if z != 8},
                   {species: b for species, b in blocks.pairs.items() if 8 not in species})
    density = (AuxiliaryDensity.free_atoms(6),) if kind is FockBlocks else ()
    return kind("def2-svp", known, np.zeros(6), *density)


def test_an_element_without_blocks_of_a_density_matrix_is_refused(formamide):
    blocks = oracle(DensityBlocks, solution(FORMAMIDE)).blocks
    with pytest.raises(Refusal, match="no blocks for O"):
        routes.density_matrix(scf.RHF(formamide), without_oxygen(DensityBlocks, blocks))


def test_an_element_without_blocks_of_a_fock_matrix_has_no_difference(formamide):
    prediction = oracle(FockBlocks, solution(FORMAMIDE))
    bare, _ = routes.density_matrix(scf.RHF(formamide), without_oxygen(FockBlocks, prediction.blocks))
    check_determinant(scf.RHF(formamide), bare)
    for block in (prediction.blocks.onsite[8], prediction.blocks.pairs[1, 8], prediction.blocks.pairs[6, 8],
                  prediction.blocks.pairs[7, 8]):
        block[:] = 0.0
    zero, _ = routes.density_matrix(scf.RHF(formamide), prediction)
    assert np.asarray(bare) == pytest.approx(np.asarray(zero), abs=1e-10)


def test_other_cores_leave_the_density_of_a_fock_matrix():
    replaced = solution(IODOMETHANE, potentials=(("I", "def2-svp"),))
    mf = scf.RHF(molecule(IODOMETHANE, "sto-3g"))
    prediction = oracle(FockBlocks, replaced)
    dm, report = routes.density_matrix(mf, prediction)
    alone, _ = routes.density_matrix(mf, prediction.density)
    assert np.asarray(dm) == pytest.approx(np.asarray(alone), abs=1e-10)
    assert any("Fock matrix of the density alone: a core potential replaces 0" in note for note in report.notes)
