"""mlguess label: does what is missing, records what fails and says what is wrong with its input."""

from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import WATER, assert_clear_error, mlguess
from label_runs import hydrogen
from pyscf import dft, gto, scf

from pyscf_mlguess.cli.label import _failure_lines
from pyscf_mlguess.labels.calculation import calculate
from pyscf_mlguess.molecules.label import Level, molecule_of
from pyscf_mlguess.molecules.label_files import Failure, read_failures, read_labels, read_levels, write_labels

pytest.importorskip("distributed")
production = pytest.importorskip("pyscf_mlguess.labels.production")
workers = pytest.importorskip("pyscf_mlguess.labels.workers")


@pytest.fixture
def label(cluster, tmp_path):
    """Runs the command on the cluster; labels go to labels.h5."""
    def run(*arguments, level="hf/sto-3g"):
        return mlguess("label", *arguments, "--output", tmp_path / "labels.h5", "--scheduler",
                       cluster.scheduler_address, *(("--level", level) if level else ()))
    return run


@pytest.fixture
def inputs(tmp_path):
    """A good and a bad line of SMILES, a radical, and frames of which one has an atom on top of another."""
    (tmp_path / "mixed.smi").write_text("# a comment\nO water\nno-smiles\n[CH3] methyl\n")
    (tmp_path / "frames.xyz").write_text(WATER + "2\nname=top\nH 0 0 0\nH 0 0 0.01\n" + "2\nname=flat\nH 0 0\nH 0 1\n")
    return tmp_path / "mixed.smi", tmp_path / "frames.xyz"


def test_failures_are_recorded_and_the_rest_is_labelled(label, inputs, tmp_path):
    result = label(*inputs, level=None)
    assert result.exit_code == 1, result.output
    assert f"{tmp_path / 'labels.h5'} holds 2 labelled molecules and 4 failures" in result.output
    labels, failures = read_labels(tmp_path / "labels.h5"), read_failures(tmp_path / "labels.h5")
    assert [each.name.rpartition("-")[0] for each in labels] == ["frames_1", "water"]
    for each in labels:
        again = calculate(molecule_of(each), [Level("pbe", "def2-svp")])
        assert each.coefficients["pbe/def2-svp"] == pytest.approx(again.coefficients["pbe/def2-svp"], abs=1e-5)
    reasons = {failure.name: failure.reason for failure in failures}
    assert "'no-smiles'" in reasons["mixed.smi, line 3"] and "three coordinates" in reasons["frames.xyz, line 11"]
    named = {name.rpartition("-")[0]: reason for name, reason in reasons.items() if "line" not in name}
    assert named["methyl"] == "multiplicity 2: only closed shells are labelled"
    assert "on top of each other" in named["top"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames.xyz", "labels.h5", "mixed.smi"]
    assert "4 of 6 molecules could not be labelled:" in result.output
    for name, reason in reasons.items():
        assert f"  1 x {reason} ({name})" in result.output
    assert f"h5dump -g failures {tmp_path / 'labels.h5'}" in result.output and "--retry-failed" in result.output
    # What failed before and is left alone is told again: the inputs still have molecules without a label.
    again = label(*inputs, level=None)
    assert again.exit_code == 1 and "4 of 6 molecules could not be labelled:" in again.output
    # Failures of other inputs that the output holds are not this run's.
    good = tmp_path / "good.xyz"
    good.write_text(WATER.replace("charge=0", "name=frames_1"))
    assert label(good, level=None).exit_code == 0


def test_many_failures_are_told_in_ten_lines():
    reasons = [f"kind {'abcdefghij'[i % 10] * 3} of molecule {i}" for i in range(25)] + ["kind aaa of\n molecule 99"]
    outcome = production.Outcome(30, [Failure(f"m{i}", "", reason) for i, reason in enumerate(reasons)])
    lines = list(_failure_lines(outcome, "labels.h5"))
    assert len(lines) == 10 and lines[0] == "26 of 30 molecules could not be labelled:"
    assert lines[1] == "  4 x kind aaa of molecule 0 (m0)"
    assert lines[-2] == "  6 x for 3 other reasons"
    (only,) = list(_failure_lines(production.Outcome(1, [Failure("m", "", "x" * 999)]), "labels.h5"))[1:-1]
    assert len(only) < 220


def test_started_again_it_does_what_is_missing_only(label, inputs, tmp_path, monkeypatch):
    submitted = []
    original = workers._submit
    monkeypatch.setattr(workers, "_submit", lambda client, task: submitted.append(task) or original(client, task))

    def run(*arguments, **options):
        submitted.clear()
        label(*inputs, *arguments, **options)
        return sorted((each.molecule.name.rpartition("-")[0], *map(str, each.levels)) for each in submitted)

    assert [name for name, _ in run()] == ["frames_1", "methyl", "top", "water"]
    before = (tmp_path / "labels.h5").read_bytes()
    assert run() == []
    assert (tmp_path / "labels.h5").read_bytes() == before
    assert [name for name, _ in run("--retry-failed")] == ["methyl", "top"]
    assert run("--level", "hf/6-31g") == [
        ("frames_1", "hf/6-31g"), ("methyl", "hf/6-31g", "hf/sto-3g"), ("top", "hf/6-31g", "hf/sto-3g"),
        ("water", "hf/6-31g")]
    assert set(map(frozenset, read_levels(tmp_path / "labels.h5").values())) == {frozenset(("hf/sto-3g", "hf/6-31g"))}


def test_bonds_are_stretched(label, tmp_path):
    (tmp_path / "some.xyz").write_text(WATER)
    assert label(tmp_path / "some.xyz", "--stretch", "0.25").exit_code == 0
    (found,) = read_labels(tmp_path / "labels.h5")
    lengths = np.linalg.norm(found.positions[1:] - found.positions[0], axis=1)
    assert max(lengths) == pytest.approx(1.25 * min(lengths), rel=1e-5)


def test_molecules_of_labels_get_further_levels(label, tmp_path):
    (tmp_path / "some.xyz").write_text(WATER + WATER.replace("charge=0", "name=other"))
    assert label(tmp_path / "some.xyz", "--displace", "0.03,0.08").exit_code == 0
    (first, second) = read_labels(tmp_path / "labels.h5")
    distances = np.linalg.norm(first.positions[1] - first.positions[0]), 1.8088
    assert abs(distances[0] - distances[1]) > 1e-3 and first.name != second.name
    result = label(tmp_path / "labels.h5", level="pbe/sto-3g")
    assert result.exit_code == 0, result.output
    for before, after in zip((first, second), read_labels(tmp_path / "labels.h5"), strict=True):
        assert before.name == after.name and np.array_equal(before.positions, after.positions)
        assert set(after.coefficients) == {"hf/sto-3g", "pbe/sto-3g"}
        assert np.array_equal(before.coefficients["hf/sto-3g"], after.coefficients["hf/sto-3g"])


def write_orbitals(path, name, distance):
    """Add converged orbitals of water, in the layout of molecules.orbital_files."""
    mol = gto.M(atom=f"O 0 0 0; H 0 0 {distance}; H 0 0.93 -0.24", basis="def2-svp", verbose=0)
    with h5py.File(path, "a") as file:
        group = file.create_group(name)
        group.attrs.update(smiles="O", charge=0, spin=0)
        group["atomic_numbers"], group["positions_bohr"] = mol.atom_charges(), mol.atom_coords()
        for level, mf in (("pbe", dft.RKS(mol, xc="pbe")), ("hf", scf.RHF(mol))):
            mf = mf.density_fit().run(conv_tol=1e-10)
            group.create_group(level)["mo_coeff_occ"] = mf.mo_coeff[:, mf.mo_occ > 0]


def test_converged_orbitals_are_fitted(label, tmp_path, monkeypatch):
    write_orbitals(tmp_path / "orbitals.h5", "small0000", 0.96)
    write_orbitals(tmp_path / "orbitals.h5", "small0001", 1.0)
    with h5py.File(tmp_path / "orbitals.h5", "a") as file:
        file.copy("small0000", "without")
        del file["without/positions_bohr"]
        file.copy("small0000", "other")
        file["other"].move("hf", "hf_sto-3g")
    assert label(tmp_path / "orbitals.h5", "--orbitals").exit_code == 1
    labels, failures = read_labels(tmp_path / "labels.h5"), read_failures(tmp_path / "labels.h5")
    assert failures[0].name == "orbitals.h5, without" and "'positions_bohr'" in failures[0].reason
    assert failures[1].name.startswith("other-")
    assert "orbitals of 24 basis functions" in failures[1].reason
    assert [each.name.rpartition("-")[0] for each in labels] == ["small0000", "small0001"]
    expected = calculate(molecule_of(labels[0]), [Level("pbe", "def2-svp")], "scf")
    assert labels[0].coefficients["pbe/def2-svp"] == pytest.approx(expected.coefficients["pbe/def2-svp"], abs=1e-3)
    for each in labels:
        assert set(each.coefficients) == set(each.orbitals) == {"pbe/def2-svp", "hf/def2-svp"} and not each.gradients


def test_orbitals_are_kept_on_request_and_calculated_for_labels_without_them(label, tmp_path):
    (tmp_path / "water.xyz").write_text(WATER)
    output = tmp_path / "labels.h5"
    assert label(tmp_path / "water.xyz").exit_code == 0
    assert read_levels(output, orbitals=True).popitem()[1] == set()
    assert label(tmp_path / "water.xyz", "--orbitals").exit_code == 0
    (found,) = read_labels(output)
    assert found.orbitals["hf/sto-3g"].shape == (7, 5)
    before = output.read_bytes()
    for arguments in ((), ("--orbitals",)):
        assert label(tmp_path / "water.xyz", *arguments).exit_code == 0
        assert output.read_bytes() == before
    # A further level, without orbitals, leaves those of the first alone.
    assert label(output, level="hf/6-31g").exit_code == 0
    (found,) = read_labels(output)
    assert set(found.coefficients) == {"hf/sto-3g", "hf/6-31g"} and set(found.orbitals) == {"hf/sto-3g"}


def test_ctrl_c_gathers_and_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(client, tasks):
        done = next(tasks)
        next(tasks)
        yield done.label()
        raise KeyboardInterrupt

    monkeypatch.setattr(production, "label_tasks", interrupted)
    monkeypatch.setattr(workers, "connected", lambda *_: nullcontext())
    (tmp_path / "many.xyz").write_text(hydrogen(30))
    arguments = ("label", tmp_path / "many.xyz", "--level", "hf/sto-3g", "--output", tmp_path / "labels.h5")
    result = mlguess(*arguments)
    assert result.exit_code == 130 and "the same command goes on" in result.output
    assert len(read_labels(tmp_path / "labels.h5")) == 1


def test_wrong_input_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "LocalCluster", lambda **_: pytest.fail("started workers"))
    water, output = tmp_path / "water.xyz", tmp_path / "labels.h5"
    water.write_text(WATER)
    h5py.File(tmp_path / "other.h5", "w").close()
    (tmp_path / "empty.xyz").write_text("\n")
    (tmp_path / "binary.smi").write_bytes(b"\0\1")

    def error(*parts, inputs=(water,), output=output, options=()):
        assert_clear_error(mlguess("label", *inputs, "--output", output, *options), *parts)

    write_labels(tmp_path / "cut.h5", [])
    (tmp_path / "cut.h5").write_bytes((tmp_path / "cut.h5").read_bytes()[:-9])
    error("cut.h5: ", inputs=(water, tmp_path / "cut.h5"))
    error("cut.h5: ", output=tmp_path / "cut.h5")
    error("none.smi", inputs=(water, tmp_path / "none.smi"))
    error("other.h5", "neither labels nor converged orbitals", inputs=(tmp_path / "other.h5",))
    error("no molecule", inputs=(tmp_path / "empty.xyz",))
    error("not a text file", inputs=(tmp_path / "binary.smi",))
    error("nowhere", output=tmp_path / "nowhere" / "labels.h5")
    error("water.xyz: not an HDF5 file", output=water)
    error("other.h5", output=tmp_path / "other.h5")
    error("'pbe' is not functional/basis", options=("--level", "pbe"))
    error("NONSENSE", options=("--level", "nonsense/def2-svp"))
    error("nonsense", options=("--level", "pbe/nonsense"))
    error("nonsense", options=("--orbital-basis", "nonsense"))
    error("unknown method 'full'", options=("--method", "full"))
    error("--displace '0;0.1'", options=("--displace", "0;0.1"))
    error("--displace '-1'", options=("--displace", "-1"))
    error("--stretch '2'", options=("--stretch", "2"))
    error("--jobs and --slurm exclude each other", options=("--jobs", 2, "--slurm", 2))
    assert not output.exists() and not Path(f"{output}.parts").exists()


def test_the_same_molecule_in_two_files_is_one_and_the_same_name_is_no_clash(label, tmp_path):
    for name, text in (("a", WATER), ("b", WATER), ("c", WATER.replace("0.757", "0.760"))):
        (tmp_path / f"{name}.xyz").write_text(text.replace("charge=0", "name=water"))
    assert label(*(tmp_path / f"{name}.xyz" for name in "abc")).exit_code == 0
    labels = read_labels(tmp_path / "labels.h5")
    assert len(labels) == 2 and all(each.name.startswith("water-") for each in labels)


def test_a_failure_is_forgotten_when_a_label_is_there(label, tmp_path):
    (tmp_path / "water.xyz").write_text(WATER)
    assert label(tmp_path / "water.xyz").exit_code == 0
    (found,) = read_labels(tmp_path / "labels.h5")
    write_labels(tmp_path / "labels.h5", [], [Failure(found.name, "O", "bad luck", "hf/sto-3g hf/6-31g")])
    assert label(tmp_path / "water.xyz").exit_code == 1
    assert read_labels(tmp_path / "labels.h5") == []
    assert label(tmp_path / "water.xyz", "--retry-failed").exit_code == 0
    assert len(read_labels(tmp_path / "labels.h5")) == 1
    assert read_failures(tmp_path / "labels.h5") == [Failure(found.name, "O", "bad luck", "hf/6-31g")]
