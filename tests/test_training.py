import numpy as np
import pytest
from command_line import mlguess
from pyscf import dft, scf

from pyscf_mlguess.density_fitting.auxiliary_basis import AUXBASIS, auxiliary_mole
from pyscf_mlguess.density_fitting.fitting import DensityFitting
from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients
from pyscf_mlguess.functional import SemilocalPotential
from pyscf_mlguess.labels.calculation import calculate, displaced
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models import load_model
from pyscf_mlguess.models.linear_density import design, training
from pyscf_mlguess.models.linear_density.features import AceSettings
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.molecules.label import Level, molecule_of
from pyscf_mlguess.molecules.label_files import read_labels, write_labels
from pyscf_mlguess.molecules.smiles import canonical_smiles, conformer, molecule_from_conformer
from pyscf_mlguess.molecules.split import split_of
from pyscf_mlguess.molecules.training_data import DATA
from pyscf_mlguess.predictions import AuxiliaryDensity
from pyscf_mlguess.routes.auxiliary_density import DensityRoute, density_matrix
from pyscf_mlguess.routes.auxiliary_fock import AuxiliaryFock
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training import responses
from pyscf_mlguess.training.dataset import _SMALL_WEIGHT, COULOMB_SHARE, load_targets
from pyscf_mlguess.training.metric import PackedMetric
from pyscf_mlguess.training.solver import Design, Problem, solve
from pyscf_mlguess.training.targets import (
    BASE,
    GAP_FLOOR,
    metric_path,
    prepare_metrics,
    read_target,
)

SETTINGS = AceSettings(elements=(1, 6, 7, 8, 9), radial=4, channels=(4, 3, 3, 2, 2), invariants=2, factors=6,
                       charge_features=2)
LEVELS = ["pbe/def2-svp", "hf/def2-svp", "pbe/def2-tzvp"]


@pytest.fixture(scope="module")
def labels():
    """Labels of tiny molecules, each at two geometries; water comes first."""
    found = []
    for smiles in ("O", "N", "C", "F", "[OH-]"):
        molecule = molecule_from_conformer(conformer(smiles), smiles, smiles)
        for sigma in (0.0, 0.05):
            label = calculate(displaced(molecule, sigma), [Level.parse(text) for text in LEVELS])
            label.name = f"{smiles}-{sigma}"
            found.append(label)
    return found


def test_shipped_labels_are_converged_densities():
    found = {path.stem: read_labels(path) for path in DATA.glob("*.h5")}
    assert sum(map(len, found.values())) > 1500
    label = next(label for label in found["small_molecules"] if label.smiles == "O")
    mol = molecule_of(label).mol("def2-svp")
    again = scf.RHF(mol).density_fit().run(conv_tol=1e-10)
    fitting = DensityFitting(mol)
    error = label.coefficients["hf/def2-svp"] - fitting.fit(again.make_rdm1())
    assert error @ fitting.metric.matrix @ error < 1e-9


def test_split_follows_the_molecule_and_not_how_it_is_written():
    assert split_of("CCO") == split_of("OCC") == split_of("C(C)O")
    assert canonical_smiles("C[C@H](N)O") == canonical_smiles("C[CH](N)O")
    counts = [split_of("C" * n) for n in range(1, 400)]
    assert 0.85 < counts.count("train") / len(counts) < 0.95 and {"test", "validation"} <= set(counts)
    with pytest.raises(ValueError, match="no-smiles"):
        split_of("no-smiles")


def target_of(label, cache):
    prepare_metrics([label], cache, jobs=1, progress=False)
    return read_target(cache, label)


def test_metric_predicts_the_error_of_the_first_fock_matrix(labels, tmp_path):
    """d^T Q d is the second-order energy error of the route's density matrix, xc kernel included."""
    target = target_of(labels[0], tmp_path)
    mf = dft.RKS(molecule_of(labels[0]).mol(BASE.basis), xc=BASE.xc)
    route = AuxiliaryFock(DensityFitting(mf.mol), SemilocalPotential.of(mf))
    fitted = labels[0].coefficients[str(BASE)]

    def fock(coefficients):
        return mf.get_hcore() + route.matrix(coefficients)[0]

    energies, orbitals = mf.eig(fock(fitted), mf.get_ovlp())
    nocc = mf.mol.nelectron // 2
    gaps = np.maximum(energies[None, nocc:] - energies[:nocc, None], GAP_FLOOR)
    error = 0.05 * (route.fitting.fit(scf.hf.init_guess_by_minao(mf.mol)) - fitted)
    change = orbitals[:, :nocc].T @ (fock(fitted + error) - fock(fitted - error)) @ orbitals[:, nocc:] / 2
    assert np.sum(change**2 / gaps) == pytest.approx(target.metric.loss(error), rel=0.1)


def test_metrics_resume_and_leave_nothing_half_written(labels, tmp_path):
    labels = labels[:2]
    prepare_metrics(labels, tmp_path, jobs=1, progress=False)
    kept, lost = (metric_path(tmp_path, label) for label in labels)
    assert set(tmp_path.iterdir()) == {kept, lost}
    before = kept.stat().st_mtime_ns
    lost.unlink()
    # A kill in the middle of writing leaves a file of another name.
    lost.with_suffix(".4711").write_bytes(b"half")
    prepare_metrics(labels, tmp_path, jobs=1, progress=False)
    assert kept.stat().st_mtime_ns == before
    target = read_target(tmp_path, labels[1])
    assert target.label.smiles == "O"
    auxmol = auxiliary_mole(molecule_of(labels[1]).mol("def2-svp"))
    assert target.difference["hf/def2-svp"] + free_atom_coefficients(auxmol) == pytest.approx(
        labels[1].coefficients["hf/def2-svp"], abs=1e-6)
    for content in (b"", lost.read_bytes()[:-400], b"half"):
        lost.write_bytes(content)
        with pytest.raises(ValueError, match=f"{lost.name}: a damaged metric .*; delete it"):
            read_target(tmp_path, labels[1])


@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_packed_metric_acts_as_the_whole_matrix(size, precision):
    rng = np.random.default_rng(size)
    matrix = rng.normal(size=(size, size)).astype(np.float32)
    matrix, vector = matrix + matrix.T, rng.normal(size=size).astype(precision)
    metric, index = PackedMetric.of(matrix), rng.permutation(size)[: size // 2 + 1]
    product = metric @ vector
    assert product.dtype == precision and product == pytest.approx(matrix @ vector, abs=1e-5)
    assert metric.block(index).tolist() == matrix[np.ix_(index, index)].tolist()
    assert metric.scaled(0.3) @ vector.astype(float) == pytest.approx(0.3 * matrix.astype(float) @ vector, abs=1e-12)
    assert metric.loss(vector.astype(float)) == pytest.approx(vector @ matrix.astype(float) @ vector, abs=1e-12)


def test_metrics_of_a_training_set_stay_on_disk(labels, tmp_path):
    labels = labels[:3]
    prepare_metrics(labels, tmp_path, jobs=1, progress=False)
    targets = load_targets(tmp_path, labels, progress=False)
    assert len(list(tmp_path.iterdir())) == 3  # the file that is mapped has no name
    for label, target in zip(labels, targets, strict=True):
        assert isinstance(target.metric.triangle, np.memmap)
        # Of free atoms 1 by the metric, and the Coulomb share.
        assert target.metric.loss(target.difference[str(BASE)]) == pytest.approx(
            _SMALL_WEIGHT * (1 + COULOMB_SHARE), rel=1e-4)  # single precision
        assert target.label is label


def test_principal_components_of_some_of_many_atoms(monkeypatch):
    rng = np.random.default_rng(7)
    structures = [Structure(rng.choice([1, 6, 7], 6), rng.normal(scale=3.0, size=(6, 3)), 0, np.arange(6))
                  for _ in range(130)]
    monkeypatch.setattr(design, "_SAMPLE", 100)
    sample = design._sample(structures, SETTINGS)
    assert {z: len(charges) for z, (_, charges) in sample.items()} == {1: 100, 6: 100, 7: 100}
    # The design is made of all of them, some structures after the other, and does not depend on how many.
    features = design.fit_all_features(structures, SETTINGS)
    contractions = design.fit_contractions(structures, features, SETTINGS, (5, 6, 6))
    whole = design.make_design(structures, features, SETTINGS, contractions)
    monkeypatch.setattr(design, "_CHUNK", 7)
    parts = design.make_design(structures, features, SETTINGS, contractions)
    assert whole.offsets.tolist() == parts.offsets.tolist() and sum(map(len, whole.features.values())) > 130 * 6
    for key, rows in whole.features.items():
        assert parts.features[key] == pytest.approx(rows, abs=1e-6)
        assert parts.indices[key].tolist() == whole.indices[key].tolist()


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
        metrics.append(PackedMetric.of((root @ root.T / offsets[1] + 0.1 * np.eye(offsets[1])).astype(np.float32)))
    problem = Problem(design, design.predict(true), metrics)
    found = solve(problem, 1e-6, 60, progress=False)
    assert found[6, 1] == pytest.approx(true[6, 1], abs=1e-3)
    assert problem.losses(found).max() < 1e-5 * problem.losses({}).min()


def test_solver_with_nothing_to_learn():
    """No atom of an element that has features, and targets of zero: no division by zero."""
    metrics = [PackedMetric.of(np.eye(6, dtype=np.float32))]
    assert solve(Problem(Design({}, {}, np.array([0, 6])), np.ones(6, np.float32), metrics), 1e-3, 5, False) == {}
    assert Design({}, {}, np.array([0, 6])).predict({}).tolist() == [0.0] * 6
    design = Design({(1, 0): np.ones((2, 2), np.float32)}, {(1, 0): np.arange(6).reshape(2, 1, 3)}, np.array([0, 6]))
    found = solve(Problem(design, np.zeros(6, np.float32), metrics), 1e-3, 5, progress=False)
    assert found[1, 0].tolist() == np.zeros((3, 2)).tolist()


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A file of labels, ten molecules to train on (one with bromine) and one for validation; a folder for metrics."""
    folder = tmp_path_factory.mktemp("few")
    smiles = {"C", "N", "CC", "CN", "C=N", "C=C", "C[NH3+]", "C=[NH2+]", "[NH4+]", "BrBr", "NC=[NH2+]"}
    chosen = [label for label in read_labels(DATA / "small_molecules.h5") if label.smiles in smiles]
    assert [split_of(label.smiles) for label in chosen].count("train") == 20 and len(chosen) == 22
    write_labels(folder / "few.h5", chosen)
    return folder / "few.h5", folder / "metrics"


def test_training_on_few_molecules(few, tmp_path):
    path, cache = few
    result = mlguess("train", path, "--molecules", 10, "--size", "small", "--jobs", 1, "--cache", cache,
                     "--output", tmp_path / "few.safetensors")
    assert result.exit_code == 0, result.output
    card = load_model(tmp_path / "few.safetensors").card
    assert card["training"]["molecules"] == 10 and card["elements"] == [1, 6, 7]
    # So few want a stronger prior than thousands.
    assert card["training"]["ridge"] > max(training.RIDGES)
    assert card["training"]["responses"]["losses"]["step 2"] < 0.01


def test_elements_of_too_few_molecules_are_told(few, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(design, "_CHUNK", 1)  # most of them without one of the elements
    path = training.train([few[0]], tmp_path / "few.safetensors", few[1], jobs=1, size="small", progress=False)
    model, reason = load_model(path), "1 training molecules, 3 needed"
    assert model.card["training"]["elements_left_out"] == {"Br": reason} and 35 not in model.card["elements"]
    assert f"Br stays a free atom: {reason}" in caplog.text
    # Molecules are counted, not their two geometries.
    assert model.card["training"]["molecules_per_element"] == {"1": 9, "6": 7, "7": 6}


def test_no_element_in_enough_molecules(few, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "FEWEST_SHARE", 2)
    with pytest.raises(ValueError, match="no element is in enough of the 10 training molecules: H: 9 training molec"):
        training.train([few[0]], tmp_path / "few.safetensors", few[1], jobs=1, size="small", progress=False)


def test_responses_that_do_not_help_are_left_out(caplog):
    losses = {"density": 0.1, "step 1": 0.01, "step 2": 0.02}
    assert training._helpful(("first", "second"), losses) == (("first",), {"density": 0.1, "step 1": 0.01})
    assert "1 of 2 responses are left out" in caplog.text
    assert training._helpful(("first",), {"density": 0.1, "step 1": 0.2}) == ((), {"density": 0.1})
    assert training._helpful(("first",), {"density": 0.1, "step 1": 0.01})[0] == ("first",)


def test_training_makes_a_model_that_loads_and_knows_its_levels(labels, tmp_path, monkeypatch):
    # How well the molecules that were trained on are fitted, and not which ridge another one would want.
    monkeypatch.setattr(training, "LARGEST_RIDGE", 0.0)
    monkeypatch.setitem(training.SIZES, "tiny", (SETTINGS, (20, 30, 30)))
    monkeypatch.setattr(responses, "_FEWEST_ATOMS", 1)
    monkeypatch.setattr(training, "split_of", lambda smiles: "validation" if smiles == "O" else "train")
    for name, part in (("first", labels[:4]), ("second", labels[4:])):
        write_labels(tmp_path / f"{name}.h5", part)
    path = training.train([tmp_path / "first.h5", tmp_path / "second.h5"], tmp_path / "tiny.safetensors",
                          tmp_path / "metrics", jobs=1, size="tiny", progress=False)
    model = load_model(path)
    # Water is held out, and was not seen.
    assert model.card["elements"] == [1, 6, 7, 8, 9]
    assert model.card["training"]["geometries"] == 8 and model.card["training"]["validation_geometries"] == 2
    ammonia = labels[2]
    target = target_of(ammonia, tmp_path / "metrics")
    mol = molecule_of(ammonia).mol("def2-svp")
    auxmol = auxiliary_mole(mol)
    free = target.difference[str(BASE)]
    ends = LevelOfTheory(), LevelOfTheory(1.0, 1.0), LevelOfTheory(triple_zeta=1.0)
    for name, level in zip(LEVELS, ends):
        error = model.predict(Structure.from_mol(mol), level).assemble(auxmol) - target.difference[name]
        assert target.metric.loss(error) < 0.02 * target.metric.loss(free)
    # Half of the way between two levels lies half of the way between their densities.
    ends = [model.predict(Structure.from_mol(mol), LevelOfTheory(share, share)).assemble(auxmol)
            for share in (0.0, 0.5, 1.0)]
    assert ends[1] == pytest.approx((ends[0] + ends[2]) / 2, abs=1e-10)


def test_a_density_is_corrected_by_what_its_fock_matrix_gives_back(labels):
    """With the inverse dielectric that is exact for one molecule, its residual leads to the exact density."""
    label = labels[2]
    mf = dft.RKS(molecule_of(label).mol(BASE.basis), xc=BASE.xc)
    route = DensityRoute(mf, grid=0)
    auxmol, metric = route.fitting.auxmol, route.fitting.metric.matrix
    exact = label.coefficients[str(BASE)].astype(float)
    free = free_atom_coefficients(auxmol)
    wrong = exact + 0.1 * (free - exact)
    residual = route.output_density(wrong) - wrong
    damped = Response(0.3).correction(label.numbers, auxmol, residual, metric)
    before, after = (d @ metric @ d for d in (wrong - exact, wrong + damped - exact))
    assert after < 0.5 * before
    prediction = AuxiliaryDensity.split(AUXBASIS, wrong - free, auxmol)
    plain, answered = (np.asarray(density_matrix(mf, prediction, responses)[0])
                       for responses in ((), (Response(0.3),)))
    converged = mf.density_fit().run(conv_tol=1e-10).make_rdm1()
    assert np.linalg.norm(answered - converged) < 0.7 * np.linalg.norm(plain - converged)
