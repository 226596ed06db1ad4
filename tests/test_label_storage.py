"""Labels come back from their file as they were, and what is wrong with a file is said."""

import hashlib
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
from pyscf.data.elements import charge

from pyscf_mlguess.density_fitting.auxiliary_basis import auxiliary_mole
from pyscf_mlguess.molecules.label import Label, merge
from pyscf_mlguess.molecules.label_files import (
    Failure,
    is_label_file,
    read_failures,
    read_labels,
    read_levels,
    read_summary,
    write_labels,
)
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.orbital_files import read_entry, read_names

ATOMS = {"water": "OHH", "ammonia": "NHHH", "argon": ["Ar"]}


READERS = (read_labels, read_failures, read_summary, read_levels)


def label(name, *levels, symbols=None, smiles="O", total=0, orbitals=()):
    """A label of random numbers, the same for the same arguments; ``orbitals`` are levels that have some."""
    rng = np.random.default_rng(len(name))
    symbols = tuple(symbols or ATOMS[name])
    positions = rng.normal(size=(len(symbols), 3)).astype(np.float32)
    molecule = Molecule(name, symbols, tuple(map(tuple, positions.tolist())), total)
    coefficients = {level: rng.normal(size=auxiliary_mole(molecule.mol(level.split("/")[1])).nao).astype(np.float32)
                    for level in levels}
    occupied = {level: rng.normal(size=(molecule.mol(level.split("/")[1]).nao, 5)).astype(np.float32)
                for level in orbitals}
    return Label(name, smiles, total, np.array([charge(s) for s in symbols]), positions, coefficients,
                 {level: float(np.float32(rng.random())) for level in levels}, occupied)


def assert_same(first, second):
    assert (first.name, first.smiles, first.charge) == (second.name, second.smiles, second.charge)
    assert np.array_equal(first.numbers, second.numbers) and np.array_equal(first.positions, second.positions)
    assert first.gradients == second.gradients
    for kind in ("coefficients", "orbitals"):
        assert getattr(first, kind).keys() == getattr(second, kind).keys()
        for level, values in getattr(first, kind).items():
            assert values.dtype == np.float32 and np.array_equal(values, getattr(second, kind)[level])


def test_round_trip_sorted_by_id(tmp_path):
    labels = [label("water", "pbe/def2-svp", "hf/def2-svp"), label("argon", "hf/6-31+g*", smiles="[Ar]"),
              label("ammonia", "pbe/def2-svp", smiles="N")]
    failures = [Failure("ü", "C", "no convergence", "pbe/def2-svp"), Failure("a", "", "no-smiles")]
    write_labels(tmp_path / "labels.h5", labels, failures)
    for read, written in zip(read_labels(tmp_path / "labels.h5"), (labels[2], labels[1], labels[0]), strict=True):
        assert_same(read, written)
    assert read_failures(tmp_path / "labels.h5") == failures[::-1]
    assert read_summary(tmp_path / "labels.h5") == [("ammonia", "N"), ("argon", "[Ar]"), ("water", "O")]
    assert read_levels(tmp_path / "labels.h5") == {
        "ammonia": {"pbe/def2-svp"}, "argon": {"hf/6-31+g*"}, "water": {"pbe/def2-svp", "hf/def2-svp"}}
    assert is_label_file(tmp_path / "labels.h5") and [p.name for p in tmp_path.iterdir()] == ["labels.h5"]


def test_some_molecules_have_orbitals_at_some_levels(tmp_path):
    path, pbe, hf = tmp_path / "labels.h5", "pbe/def2-svp", "hf/sto-3g"
    labels = [label("ammonia", pbe, orbitals=(pbe,)), label("argon", pbe), label("water", pbe, hf, orbitals=(pbe, hf))]
    write_labels(path, labels)
    for read, written in zip(read_labels(path), labels, strict=True):
        assert_same(read, written)
    for read, written in zip(read_labels(path, orbitals=False), labels, strict=True):
        assert_same(read, replace(written, orbitals={}))
    assert read_levels(path, orbitals=True) == {"ammonia": {pbe}, "argon": set(), "water": {pbe, hf}}
    assert read_levels(path)["argon"] == {pbe}
    for wrong in (labels[0].orbitals[pbe][1:], labels[0].orbitals[pbe].ravel()):
        with pytest.raises(ValueError, match="ammonia: orbitals of shape .* for pbe/def2-svp; its basis has 29"):
            write_labels(path, [replace(labels[0], orbitals={pbe: wrong})])


def test_format_1_which_had_no_orbitals_is_read(tmp_path):
    written = label("water", "pbe/def2-svp")
    write_labels(tmp_path / "labels.h5", [written])
    with h5py.File(tmp_path / "labels.h5", "a") as file:
        assert file.attrs["format"] == 2
        file.attrs["format"] = 1
    assert_same(*read_labels(tmp_path / "labels.h5"), written)
    assert read_levels(tmp_path / "labels.h5", orbitals=True) == {"water": set()}


@pytest.mark.parametrize("symbols, total", [(("I", "H"), 0), (("Au",), 1), (("Cs",), 1), (("Rb", "F"), 0)])
def test_core_of_heavy_elements_follows_the_orbital_basis(tmp_path, symbols, total):
    levels = ["pbe/def2-svp", "pbe/sto-3g"] if symbols[0] in ("I", "Rb") else ["pbe/def2-svp"]
    written = label("heavy", *levels, symbols=symbols, total=total, orbitals=levels)
    write_labels(tmp_path / "labels.h5", [written])
    assert_same(*read_labels(tmp_path / "labels.h5"), written)


def test_a_file_without_molecules(tmp_path):
    write_labels(tmp_path / "labels.h5", [])
    assert read_labels(tmp_path / "labels.h5") == read_failures(tmp_path / "labels.h5") == []
    assert read_levels(tmp_path / "labels.h5") == {}


def test_the_same_labels_give_the_same_bytes(tmp_path):
    digests = set()
    water = label("water", "pbe/def2-svp", orbitals=("pbe/def2-svp",))
    for labels in ([water, label("argon")], [label("argon"), water]):
        write_labels(tmp_path / "labels.h5", labels)
        digests.add(hashlib.sha256((tmp_path / "labels.h5").read_bytes()).digest())
        time.sleep(1.1)  # HDF5's own times are in seconds
    assert len(digests) == 1


def test_thousands_are_read_in_a_moment_and_stored_without_overhead(tmp_path):
    water = label("water", "pbe/def2-svp", "hf/def2-svp")
    many = [replace(water, name=f"water{i:05d}") for i in range(5000)]
    for i, each in enumerate(many):
        each.coefficients = {level: np.roll(values, i) for level, values in water.coefficients.items()}
    write_labels(tmp_path / "labels.h5", many)
    begun = time.process_time()
    assert len(read_labels(tmp_path / "labels.h5")) == 5000
    assert time.process_time() - begun < 1
    numbers = sum(values.nbytes for each in many for values in each.coefficients.values())
    assert (tmp_path / "labels.h5").stat().st_size < numbers


def test_a_failed_write_leaves_the_file_before(tmp_path):
    write_labels(tmp_path / "labels.h5", [label("water", "pbe/def2-svp")])
    before = (tmp_path / "labels.h5").read_bytes()
    broken = label("ammonia", "pbe/def2-svp")
    broken.coefficients["pbe/def2-svp"] = broken.coefficients["pbe/def2-svp"][1:]
    with pytest.raises(ValueError, match="ammonia: coefficients of shape .* for pbe/def2-svp"):
        write_labels(tmp_path / "labels.h5", [broken])
    with pytest.raises(ValueError, match="two labels of the name 'argon'"):
        write_labels(tmp_path / "labels.h5", [label("argon"), label("argon")])
    assert (tmp_path / "labels.h5").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("attribute, value", [("format", 3), ("auxbasis", "def2-universal-jfit")])
def test_files_of_another_layout_are_named(tmp_path, attribute, value):
    path = tmp_path / "labels.h5"
    write_labels(path, [label("water", "pbe/def2-svp")])
    with h5py.File(path, "a") as file:
        file.attrs[attribute] = value
    for read in READERS:
        with pytest.raises(ValueError, match=f"labels.h5: .*{value}"):
            read(path)
    h5py.File(path, "w").close()
    assert not is_label_file(path)
    with pytest.raises(ValueError, match="labels.h5"):
        read_labels(path)
    path.write_text("text")
    with pytest.raises(ValueError, match="labels.h5: not an HDF5 file"):
        read_labels(path)
    with pytest.raises(FileNotFoundError):
        read_labels(tmp_path / "none.h5")


def test_coefficients_that_are_missing_are_noticed(tmp_path):
    path = tmp_path / "labels.h5"
    write_labels(path, [label("water", "pbe/def2-svp")])
    with h5py.File(path, "a") as file:
        values = file["levels/pbe/def2-svp/coefficients"][:-1]
        del file["levels/pbe/def2-svp/coefficients"]
        file["levels/pbe/def2-svp/coefficients"] = values
    with pytest.raises(ValueError, match="labels.h5: .* coefficients of pbe/def2-svp"):
        read_labels(path)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "labels.h5"
    write_labels(path, [label("water", "pbe/def2-svp", orbitals=("pbe/def2-svp",))], [Failure("a", "b", "c", "d")])
    whole = path.read_bytes()
    with h5py.File(path, "r") as file:
        chunk = file["molecules/id"].id.get_chunk_info(0).byte_offset
    for content in (whole[: len(whole) // 2], whole[:9], whole[:chunk] + b"\xff" * 8 + whole[chunk + 8 :]):
        path.write_bytes(content)
        for read in (read_labels, read_summary, read_levels):
            with pytest.raises(ValueError, match="labels.h5: "):
                read(path)
    path.write_bytes(whole[:-1])
    for read in (*READERS, is_label_file, read_names, lambda path: read_entry(path, "id", "def2-svp")):
        with pytest.raises(ValueError, match="labels.h5: .*truncated"):
            read(path)


def test_a_group_that_is_missing_is_named(tmp_path):
    path = tmp_path / "labels.h5"
    write_labels(path, [label("water", "pbe/def2-svp")])
    with h5py.File(path, "a") as file:
        del file["molecules/charge"]
    with pytest.raises(ValueError, match="labels.h5: .*charge"):
        read_labels(path)


def test_levels_of_one_molecule_merge():
    both = label("water", "pbe/def2-svp", "hf/def2-svp")
    one, other = ({level: both.coefficients[level]} for level in ("pbe/def2-svp", "hf/def2-svp"))
    old = Label("water", "O", 0, both.numbers, both.positions, one, {"pbe/def2-svp": 1.0})
    new = Label("water", "O", 0, both.numbers, both.positions, other, {"hf/def2-svp": 2.0})
    merged, argon = merge([old, label("argon")], [new])
    assert merged.coefficients == one | other and argon.name == "argon"
    assert merged.gradients == {"pbe/def2-svp": 1.0, "hf/def2-svp": 2.0}
    assert old.coefficients == one
    fitted = label("water", "pbe/def2-svp", orbitals=("pbe/def2-svp",))
    again = replace(fitted, orbitals={}, gradients={})
    assert merge([old], [fitted])[0].orbitals == fitted.orbitals
    # Orbitals and gradient of a calculation do not stay behind beside the density of another one.
    assert merge([fitted], [again])[0].orbitals == merge([fitted], [again])[0].gradients == {}
    moved = Label("water", "O", 0, both.numbers, both.positions + np.float32(0.1), other)
    with pytest.raises(ValueError, match="two geometries of the name 'water'"):
        merge([old], [moved])
