"""A model that corrects another one: what it learns, what it leaves alone, and how it is kept."""

import numpy as np
import pytest
from command_line import mlguess
from pyscf import dft

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.models import available, checkpoint, load_model, trained_on
from pyscf_mlguess.models.base import ModelError
from pyscf_mlguess.models.geometries import geometries_path, read_geometries
from pyscf_mlguess.models.linear_density import adaptation, training
from pyscf_mlguess.models.linear_density.features import AceSettings
from pyscf_mlguess.molecules.label import identity, molecule_of
from pyscf_mlguess.molecules.label_files import read_labels, write_labels
from pyscf_mlguess.molecules.training_data import DATA
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.metric import PackedMetric
from pyscf_mlguess.training.solver import Design, Problem, solve
from pyscf_mlguess.training.targets import BASE

SETTINGS = AceSettings(elements=(1, 6, 7), radial=4, channels=(4, 3, 3, 2, 2), invariants=2, factors=6,
                       charge_features=2)
KNOWN = {"C", "N", "CC", "CN", "C=N", "C=C", "C[NH3+]", "C=[NH2+]", "[NH4+]", "NC=[NH2+]"}
OWN = {"O", "CO", "C=O", "OO", "NO", "[OH-]", "[OH3+]"}
MIXED = OWN | {"C#N", "NN"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with label files, a model of hydrogen, carbon and nitrogen, and two that oxygen was added to: from
    labels that all hold it, and from others, too."""
    folder = tmp_path_factory.mktemp("adaptation")
    found = read_labels(DATA / "small_molecules.h5", orbitals=False)
    for name, smiles in (("known", KNOWN), ("own", OWN), ("mixed", MIXED), ("fluoride", {"F"}),
                         ("few", {"O", "CO"})):
        write_labels(folder / f"{name}.h5", [label for label in found if label.smiles in smiles])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.SIZES, "tiny", (SETTINGS, (20, 30, 30)))
        patch.setattr(training, "RIDGES", (1e-2,))
        patch.setattr(training, "LARGEST_RIDGE", 1e-2)
        patch.setattr(training, "split_of", lambda smiles: "validation" if smiles == "NC=[NH2+]" else "train")
        training.train([folder / "known.h5"], folder / "start.safetensors", folder / "metrics", 1, "tiny",
                       progress=False)
        for name in ("own", "mixed"):
            adaptation.adapt([folder / f"{name}.h5"], folder / f"{name}.safetensors", folder / "metrics",
                             folder / "start.safetensors", 1, "tiny", progress=False)
    return folder


def coulomb_error(model, label):
    """The Coulomb norm of the error of the base level's density."""
    mol = molecule_of(label).mol(BASE.basis)
    auxmol = auxiliary_mole(mol)
    error = model.predict(Structure.from_mol(mol)).assemble(auxmol) + free(auxmol) - label.coefficients[str(BASE)]
    return np.sqrt(error @ auxmol.intor("int2c2e") @ error)


def free(auxmol):
    from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients

    return free_atom_coefficients(auxmol)


@pytest.mark.parametrize("learned", ["own", "mixed"])
def test_it_learns_its_own_molecules_and_forgets_none_of_the_start(files, learned):
    start, own = (load_model(files / f"{name}.safetensors") for name in ("start", learned))
    assert start.card["elements"] == [1, 6, 7] and own.card["elements"] == [1, 6, 7, 8]
    for name, most in ((learned, 0.3), ("known", 1.3)):
        labels = read_labels(files / f"{name}.h5", orbitals=False)
        before, after = ([coulomb_error(model, label) for label in labels] for model in (start, own))
        assert np.sum(after) < most * np.sum(before)
    losses = own.card["training"]["validation_loss"]
    assert losses["base"] < 0.5 * losses["start"]
    # Hydrogen next to oxygen is nothing that the start had seen; to the one that learned it is not novel.
    water = Structure.from_mol(molecule_of(read_labels(files / "own.h5", orbitals=False)[0]).mol("def2-svp"))
    assert own.predict(water).novelty.max() <= 1.2


def test_labels_that_all_hold_a_new_element_change_nothing_without_it(files):
    start, own, mixed = (load_model(files / f"{name}.safetensors") for name in ("start", "own", "mixed"))
    assert own.settings.only_near == (8,) and mixed.settings.only_near == ()
    for label in read_labels(files / "known.h5", orbitals=False):
        structure = Structure.from_mol(molecule_of(label).mol("def2-svp"))
        before, after, other = (model.predict(structure) for model in (start, own, mixed))
        assert np.array_equal(before.novelty, after.novelty)
        for first, second in zip(before.blocks, after.blocks, strict=True):
            assert all(np.array_equal(first[l], second[l]) for l in first.keys() | second.keys())
        assert any(not np.array_equal(first[l], second[l])
                   for first, second in zip(before.blocks, other.blocks) for l in first)


def test_an_element_of_too_few_molecules_teaches_nothing_of_its_neighbours(files, tmp_path, monkeypatch):
    monkeypatch.setitem(training.SIZES, "tiny", (SETTINGS, (20, 30, 30)))
    start = load_model(files / "start.safetensors")
    model = load_model(adaptation.adapt([files / "own.h5", files / "fluoride.h5"], tmp_path / "both.safetensors",
                                        files / "metrics", files / "start.safetensors", 1, "tiny", progress=False))
    assert model.settings.only_near == (8,) and "F" in model.card["training"]["elements_left_out"]
    assert model.card["training"]["molecules"] == len(OWN)
    fluoride = molecule_of(read_labels(files / "fluoride.h5", orbitals=False)[0]).mol("def2-svp")
    for first, second in zip(*(m.predict(Structure.from_mol(fluoride)).blocks for m in (start, model)), strict=True):
        assert all(np.array_equal(first[l], second[l]) for l in first.keys() | second.keys())


def test_what_is_learned_of_an_element_fades_with_the_distance_from_it(files):
    start, own = (load_model(files / f"{name}.safetensors") for name in ("start", "own"))

    def change(distance):
        """Of the prediction for the carbon atom of a CH fragment at a distance from water."""
        positions = np.array([[0, 0, 0], [1.8, 0, 0], [-0.5, 1.7, 0], [0, 0, distance], [0, 0, distance + 1.9]])
        structure = Structure(np.array([8, 1, 1, 1, 6]), positions, 0, np.arange(5))
        first, second = (model.predict(structure).blocks[4][0] for model in (start, own))
        return np.abs(second - first).max()

    cutoff = SETTINGS.cutoff - 1.9
    near, inside, barely, beyond = (change(cutoff + shift) for shift in (-5.0, -0.5, -0.05, 1e-6))
    assert near > inside > barely > 0 and beyond == 0
    assert barely < 0.01 * inside  # as the third power


def test_the_file_holds_the_start_and_the_geometries_of_both(files):
    own = load_model(files / "own.safetensors")
    assert own.start.card["name"] == "start" and len(own.responses) == len(own.start.responses) > 0
    structures = read_geometries(files / "own.safetensors", own.card["geometries_sha256"])
    counts = [len(read_labels(files / f"{name}.h5", orbitals=False)) for name in ("known", "own")]
    assert len(structures) == sum(counts) - 2  # the start keeps two geometries for validation
    assert trained_on(files / "own.safetensors") > trained_on(files / "start.safetensors")
    mf = dft.RKS(molecule_of(read_labels(files / "own.h5", orbitals=False)[0]).mol("def2-svp"), xc="pbe")
    plain = mf.run(verbose=0).e_tot
    mf.init_guess = f"ml:{files / 'own.safetensors'}"
    assert mf.run().e_tot == pytest.approx(plain, abs=1e-8)


def test_a_model_that_learned_can_be_the_start_of_another(files, tmp_path, monkeypatch):
    monkeypatch.setitem(training.SIZES, "tiny", (SETTINGS, (20, 30, 30)))
    path = adaptation.adapt([files / "own.h5"], tmp_path / "again.safetensors", files / "metrics",
                            files / "own.safetensors", 1, "tiny", molecules=5, progress=False)
    model = load_model(path)
    assert model.start.start.card["name"] == "start" and model.card["training"]["molecules"] == 5


def test_wrong_requests_are_told(files, tmp_path):
    output, cache = ("--output", tmp_path / "x.safetensors"), ("--cache", files / "metrics")
    for arguments, message in (
            ((files / "own.h5", "--start", "density-matrix-3"), "is of the family message-passing"),
            ((files / "own.h5", "--start", "nonsense"), "no model is called 'nonsense'"),
            ((files / "own.h5", "--start", "default", "--size", "huge"), "unknown size 'huge'"),
            ((files / "own.h5", "--start", "default", "--family", "pair-blocks"), "--start is for the family"),
            (("--start", "default"), "--start wants labels of your own"),
            ((files / "few.h5", "--start", files / "start.safetensors"), "of 2 molecules; at least 4 are needed")):
        result = mlguess("train", *arguments, *output, *cache)
        assert result.exit_code != 0 and message in " ".join(result.output.split()), result.output


def test_damaged_geometries_are_told(files, tmp_path):
    weights = tmp_path / "copy.safetensors"
    with pytest.raises(FileNotFoundError, match="no geometries at"):
        read_geometries(weights, "0" * 64)
    geometries_path(weights).write_bytes(geometries_path(files / "start.safetensors").read_bytes()[:-5])
    with pytest.raises(ModelError, match="the model's card says"):
        read_geometries(weights, load_model(files / "start.safetensors").card["geometries_sha256"])


def test_the_shipped_densities_tell_their_geometries():
    for name in available():
        model = load_model(name)
        if model.card["family"] == "linear-density":
            structures = read_geometries(checkpoint(name), model.card["geometries_sha256"])
            trained = 0
            while model is not None:
                trained, model = trained + model.card["training"]["geometries"], model.start
            assert len(structures) == trained


def test_molecules_without_a_smiles_are_told_by_their_formula(files):
    label = read_labels(files / "own.h5", orbitals=False)[0]
    assert identity(label) == label.smiles
    label.smiles = ""
    assert "O1" in identity(label) and identity(label).endswith(f"({label.charge:+d})")


def test_rehearsed_atoms_hold_the_weights_at_zero():
    """Where the features of both agree the weights stay small, where only the labels have some they do not."""
    features = np.repeat(np.eye(2), 50, axis=0).astype(np.float32)
    places = np.arange(100).reshape(100, 1, 1)
    design = Design({(1, 0): features}, {(1, 0): places}, np.arange(101))
    problem = Problem(design, np.ones(100, np.float32), [PackedMetric.of(np.eye(1, dtype=np.float32))] * 100)
    held = {(1, 0): np.diag([5e3, 0.0])}
    free_weights, found = (solve(problem, 1e-6, 50, False, rehearsed)[1, 0] for rehearsed in (None, held))
    assert free_weights == pytest.approx(np.ones((1, 2)), abs=1e-3)
    assert found == pytest.approx(np.array([[50 / 5050, 1.0]]), abs=1e-3)
