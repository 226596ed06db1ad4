import numpy as np
import pytest
from pyscf import dft, scf

from pyscf_mlguess.adft import AuxiliaryProblem
from pyscf_mlguess.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.labels.small_molecules import SHIPPED, SMILES, write_labels
from pyscf_mlguess.models import load_model
from pyscf_mlguess.models.ace_features import AceSettings
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training import train as training
from pyscf_mlguess.training.reference import read_entry, read_names
from pyscf_mlguess.training.solver import Design, Problem, solve
from pyscf_mlguess.training.split import canonical_smiles, split_of
from pyscf_mlguess.training.targets import (
    GAP_FLOOR,
    _virtual_orbitals,
    make_target,
    prepare_targets,
    read_target,
    target_path,
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Reference calculations of a few tiny molecules, each at two geometries."""
    path = tmp_path_factory.mktemp("reference") / "tiny.h5"
    write_labels(path, ["O", "N", "C", "F"])
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Takes the place of the shipped small molecules; one of them is held out by ``reference``."""
    path = tmp_path_factory.mktemp("small") / "small.h5"
    write_labels(path, ["[H][H]", "O"])
    return path


def test_shipped_labels_are_those_of_the_list():
    found = {smiles for _, smiles in read_names(SHIPPED)}
    assert found <= set(SMILES) and len(found) > 0.95 * len(SMILES)
    entry = read_entry(SHIPPED, read_names(SHIPPED)[0][0])
    again = scf.RHF(entry.mol("def2-svp")).density_fit().run(conv_tol=1e-10)
    dm = 2 * entry.orbitals["hf"] @ entry.orbitals["hf"].T
    assert dm == pytest.approx(again.make_rdm1(), abs=1e-5)


def test_split_follows_the_molecule_and_not_how_it_is_written():
    assert split_of("CCO") == split_of("OCC") == split_of("C(C)O")
    assert canonical_smiles("C[C@H](N)O") == canonical_smiles("C[C@@H](N)O")
    counts = [split_of("C" * n) for n in range(1, 400)]
    assert 0.85 < counts.count("train") / len(counts) < 0.95 and {"test", "validation"} <= set(counts)
    with pytest.raises(ValueError, match="no-smiles"):
        split_of("no-smiles")


def test_metric_predicts_the_error_of_the_first_fock_matrix(reference):
    """d^T Q d is the second-order energy error of the route's density matrix, xc kernel included."""
    entry = read_entry(reference, "small0000")
    target = make_target(entry, "def2-svp")
    mol = entry.mol("def2-svp")
    mf = dft.RKS(mol, xc="pbe")
    problem = AuxiliaryProblem(mol)
    occupied = entry.orbitals["pbe"]
    fitted = problem.fit(2 * occupied @ occupied.T)
    potential = SemilocalPotential.of(mf)

    def fock(coefficients):
        return mf.get_hcore() + problem.effective_potential(coefficients, potential)

    virtual, energies = _virtual_orbitals(fock(fitted), occupied, mf.get_ovlp())
    gaps = np.maximum(energies[None] - entry.orbital_energies["pbe"][: occupied.shape[1], None], GAP_FLOOR)
    error = 0.05 * (problem.fit(scf.hf.init_guess_by_minao(mol)) - fitted)
    change = occupied.T @ (fock(fitted + error) - fock(fitted - error)) @ virtual / 2
    assert np.sum(change**2 / gaps) == pytest.approx(error @ target.metric @ error, rel=0.1)


def test_targets_resume_and_leave_nothing_half_written(reference, tmp_path, monkeypatch):
    prepare_targets(reference, tmp_path, jobs=1, progress=False)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{name}.npz" for name, _ in read_names(reference)]
    before = target_path(tmp_path, "small0002").read_bytes()
    target_path(tmp_path, "small0001").unlink()
    # A kill in the middle of writing leaves a file of another name.
    (tmp_path / "small0001.4711").write_bytes(b"half")
    prepare_targets(reference, tmp_path, jobs=1, progress=False)
    assert target_path(tmp_path, "small0002").read_bytes() == before
    target = read_target(target_path(tmp_path, "small0001"))
    assert target.metric == pytest.approx(target.metric.T, abs=0) and target.smiles == "O"


def test_solver_finds_the_weights_that_made_the_data():
    rng = np.random.default_rng(3)
    natm, outputs, inputs, nmol = 60, 3, 5, 20
    features = rng.normal(size=(natm * 3, inputs)).astype(np.float32)
    places = np.arange(natm * 3 * outputs).reshape(natm, 3, outputs)
    offsets = np.arange(nmol + 1) * natm * 3 * outputs // nmol
    design = Design({(6, 1): features}, {(6, 1): places}, offsets)
    true = {(6, 1): rng.normal(size=(outputs, inputs))}
    metrics = []
    for _ in range(nmol):
        root = rng.normal(size=(offsets[1], offsets[1]))
        metrics.append((root @ root.T / offsets[1] + 0.1 * np.eye(offsets[1])).astype(np.float32))
    problem = Problem(design, design.predict(true), metrics)
    found = solve(problem, 1e-6, 60, progress=False)
    assert found[6, 1] == pytest.approx(true[6, 1], abs=1e-3)
    assert problem.losses(found).max() < 1e-5 * problem.losses({}).min()


def test_training_makes_a_model_that_loads_and_improves_on_free_atoms(reference, small, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "FEWEST_MOLECULES", 1)
    monkeypatch.setattr(training, "SMALL_MOLECULES", small)
    monkeypatch.setattr(training, "split_of", lambda smiles: "validation" if smiles == "O" else "train")
    settings = AceSettings(elements=(1, 6, 7, 8, 9), radial=4, channels=(4, 3, 3, 2, 2), invariants=2, factors=6,
                           charge_features=2)
    path = training.train(reference, tmp_path / "tiny.safetensors", tmp_path, jobs=1, settings=settings,
                          progress=False)
    model = load_model(path)
    # Water is held out, so no oxygen was seen, not even among the small molecules.
    assert model.card["elements"] == [1, 6, 7, 9]
    assert model.card["training"]["molecules"] == 8 and model.card["training"]["validation_molecules"] == 2
    target = read_target(target_path(tmp_path / "tiny.targets", "small0002"))
    ammonia = read_entry(reference, "small0002").mol("def2-svp")
    error = model.predict(Structure.from_mol(ammonia)).assemble(auxiliary_mole(ammonia)) - target.difference["pbe"]
    free = target.difference["pbe"]
    assert error @ target.metric @ error < 0.2 * (free @ target.metric @ free)
