"""Labels in one compact HDF5 file: flat arrays over all molecules, sorted by id.

```
/                      attrs: format = 2, auxbasis
  molecules/           id, smiles (fixed-length UTF-8), charge int8, natm int16, each (nmol,)
  atoms/               atomic_numbers uint8 (sum of natm,), positions_bohr float32 (sum of natm, 3)
  levels/<functional>/<basis>/
    has                bool (nmol,): which molecules have a label of this level
    gradient           float32 (number of True,), Eh, norm of the orbital gradient; NaN for given orbitals
    coefficients       float32 (sum of their naux,), PySCF's auxiliary order
    has_orbitals       bool (nmol,), this and the next two only where a molecule has orbitals
    nocc               int16 (number of True,), occupied orbitals
    orbitals           float32 (sum of their nao x nocc,), row by row, PySCF's order of spherical functions
  failures/            id, smiles, levels (separated by spaces), reason, each (number of failures,)
```

How many coefficients belong to an atom follows from its element, the auxiliary basis and the core that the orbital
basis leaves to an effective core potential (ECP), nao from elements, orbital basis and ECP, so no offsets are stored.
The same labels give the same bytes.  Format 1 had no orbitals, and is read as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS

from pyscf_mlguess.density_fitting.auxiliary_basis import AUXBASIS, shells
from pyscf_mlguess.molecules.hdf5 import open_hdf5
from pyscf_mlguess.molecules.label import Label, Level
from pyscf_mlguess.molecules.molecule import Molecule, has_core_potential

_FORMAT = 2
_READABLE = (1, 2)
_CHUNK = 2**18


@dataclass(frozen=True)
class Failure:
    """A molecule, or a line of a file, that could not be labelled at ``levels`` ("pbe/def2-svp hf/def2-svp")."""

    name: str
    smiles: str
    reason: str
    levels: str = ""


def write_labels(path: str | Path, labels: Iterable[Label], failures: Iterable[Failure] = ()) -> None:
    """Write the file anew; it appears under its name complete or not at all.

    Raises ValueError for two labels of one name, and for coefficients or orbitals that do not fit their molecule.
    """
    labels = sorted(labels, key=lambda label: label.name)
    failures = sorted(failures, key=lambda failure: failure.name)
    for first, second in zip(labels, labels[1:]):
        if first.name == second.name:
            raise ValueError(f"two labels of the name {first.name!r}; merge them first")
    unfinished = Path(path).with_name(f"{Path(path).name}.{os.getpid()}")
    try:
        with h5py.File(unfinished, "w", libver="latest") as file:
            file.attrs.update(format=_FORMAT, auxbasis=AUXBASIS)
            _write_molecules(file, labels)
            for level in sorted({level for label in labels for level in label.coefficients}):
                _write_level(file.create_group(f"levels/{level}"), level, labels)
            for key, values in (("id", [f.name for f in failures]), ("smiles", [f.smiles for f in failures]),
                                ("levels", [f.levels for f in failures]), ("reason", [f.reason for f in failures])):
                _write(file, f"failures/{key}", _encoded(values))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_labels(path: str | Path, orbitals: bool = True) -> list[Label]:
    """All labels, sorted by name; their arrays are views into common ones.

    orbitals: whether to read these, too, by far the largest part of a file that has them.
    Raises FileNotFoundError for a file that is not there, ValueError for one that is damaged or of another layout.
    """
    with _opened(path) as file:
        names, smiles = _decoded(file["molecules/id"]), _decoded(file["molecules/smiles"])
        charges, natm = file["molecules/charge"][:].tolist(), file["molecules/natm"][:]
        numbers = _split(path, "atoms", file["atoms/atomic_numbers"][:].astype(int), natm)
        positions = _split(path, "positions", file["atoms/positions_bohr"][:], natm)
        labels = [Label(*fields, {}) for fields in zip(names, smiles, charges, numbers, positions)]
        for level, group in _levels(file):
            _read_level(path, group, level, labels)
            if orbitals and "orbitals" in group:
                _read_orbitals(path, group, level, labels)
    return labels


def read_failures(path: str | Path) -> list[Failure]:
    """The failures of a file, sorted by name; errors as ``read_labels``."""
    with _opened(path) as file:
        return [Failure(*row) for row in zip(*(_decoded(file[f"failures/{key}"])
                                               for key in ("id", "smiles", "reason", "levels")))]


def read_summary(path: str | Path) -> list[tuple[str, str]]:
    """(id, SMILES) of every molecule; errors as ``read_labels``."""
    with _opened(path) as file:
        return list(zip(_decoded(file["molecules/id"]), _decoded(file["molecules/smiles"])))


def read_levels(path: str | Path, orbitals: bool = False) -> dict[str, set[str]]:
    """The levels that every molecule has (with ``orbitals``: has orbitals of), by id; errors as ``read_labels``."""
    with _opened(path) as file:
        names = _decoded(file["molecules/id"])
        found = {name: set() for name in names}
        which = "has_orbitals" if orbitals else "has"
        for level, group in _levels(file):
            for index in np.flatnonzero(group[which][:]) if which in group else ():
                found[names[index]].add(level)
    return found


def is_label_file(path: str | Path) -> bool:
    """Whether an HDF5 file claims this layout; errors as ``open_hdf5``."""
    with open_hdf5(path) as file:
        return "format" in file.attrs


def _write_molecules(file, labels):
    _write(file, "molecules/id", _encoded([label.name for label in labels]))
    _write(file, "molecules/smiles", _encoded([label.smiles for label in labels]))
    _write(file, "molecules/charge", np.array([label.charge for label in labels], np.int8))
    _write(file, "molecules/natm", np.array([len(label.numbers) for label in labels], np.int16))
    _write(file, "atoms/atomic_numbers", _joined([label.numbers for label in labels], np.uint8))
    _write(file, "atoms/positions_bohr", _joined([label.positions for label in labels], np.float32, (0, 3)))


def _write_level(group, level, labels):
    own = [label for label in labels if level in label.coefficients]
    for label in own:
        naux = _total(_naux, level, label)
        if label.coefficients[level].shape != (naux,):
            raise ValueError(f"{label.name}: coefficients of shape {label.coefficients[level].shape} for {level}; "
                             f"its atoms have {naux} auxiliary functions")
    _write(group, "has", np.array([level in label.coefficients for label in labels]))
    _write(group, "gradient", np.array([label.gradients.get(level, np.nan) for label in own], np.float32))
    _write(group, "coefficients", _joined([label.coefficients[level] for label in own], np.float32))
    _write_orbitals(group, level, labels)


def _write_orbitals(group, level, labels):
    own = [label for label in labels if level in label.orbitals]
    if not own:
        return
    for label in own:
        shape, nao = label.orbitals[level].shape, _total(_nao, level, label)
        if len(shape) != 2 or shape[0] != nao or level not in label.coefficients:
            raise ValueError(f"{label.name}: orbitals of shape {shape} for {level}; its basis has {nao} functions, and "
                             "there must be coefficients of the same level")
    _write(group, "has_orbitals", np.array([level in label.orbitals for label in labels]))
    _write(group, "nocc", np.array([label.orbitals[level].shape[1] for label in own], np.int16))
    _write(group, "orbitals", _joined([label.orbitals[level].ravel() for label in own], np.float32))


def _read_level(path, group, level, labels):
    own = [labels[index] for index in np.flatnonzero(group["has"][:])]
    naux = np.array([_total(_naux, level, label) for label in own])
    parts = _split(path, f"coefficients of {level}", group["coefficients"][:], naux)
    for label, part, gradient in zip(own, parts, group["gradient"][:].tolist(), strict=True):
        label.coefficients[level] = part
        if not np.isnan(gradient):
            label.gradients[level] = gradient


def _read_orbitals(path, group, level, labels):
    own = [labels[index] for index in np.flatnonzero(group["has_orbitals"][:])]
    nao, nocc = np.array([_total(_nao, level, label) for label in own]), group["nocc"][:].astype(int)
    parts = _split(path, f"orbital coefficients of {level}", group["orbitals"][:], nao * nocc)
    for label, part, shape in zip(own, parts, zip(nao, nocc)):
        label.orbitals[level] = part.reshape(shape)


def _write(group, name, values):
    # HDF5 compresses no empty array.
    packing = {"chunks": (min(len(values), _CHUNK), *values.shape[1:]), "compression": "gzip", "compression_opts": 9,
               "shuffle": True} if len(values) else {}
    group.create_dataset(name, data=values, track_times=False, **packing)


def _joined(arrays, dtype, empty=(0,)):
    return np.concatenate(arrays).astype(dtype) if arrays else np.zeros(empty, dtype)


def _encoded(texts):
    encoded = [text.encode() for text in texts]
    return np.array(encoded, h5py.string_dtype("utf-8", max(map(len, encoded), default=0) or 1))


def _decoded(dataset):
    return [text.decode() for text in dataset[:].tolist()]


@contextmanager
def _opened(path):
    with open_hdf5(path) as file:
        version, auxbasis = file.attrs.get("format"), file.attrs.get("auxbasis")
        if version not in _READABLE or auxbasis != AUXBASIS:
            raise ValueError(f"{path}: labels of format {version} in {auxbasis}, not of format "
                             f"{' or '.join(map(str, _READABLE))} in {AUXBASIS}")
        yield file


def _levels(file):
    """(level, its group), in alphabetical order."""
    for xc, bases in file.get("levels", {}).items():
        for basis, group in bases.items():
            yield f"{xc}/{basis}", group


def _split(path, what, array, counts):
    """The parts of these lengths."""
    if counts.sum() != len(array):
        raise ValueError(f"{path}: {len(array)} {what}, {counts.sum()} expected; the file is damaged, write it anew")
    ends = np.cumsum(counts)
    return [array[start:end] for start, end in zip((ends - counts).tolist(), ends.tolist())]


def _total(count, level, label):
    """Functions of all atoms of a label."""
    basis = Level.parse(level).basis
    return sum(count(number, basis) for number in label.numbers.tolist())


@lru_cache(maxsize=None)
def _naux(number, basis):
    """Auxiliary functions of one atom in a label of a level with this orbital basis."""
    core = gto.basis.load_ecp(basis, ELEMENTS[number])[0] if has_core_potential(ELEMENTS[number], basis) else 0
    return sum((2 * l + 1) * (len(first) - 1) for l, first, *_ in shells(number, core))


@lru_cache(maxsize=None)
def _nao(number, basis):
    """Functions of one atom in an orbital basis."""
    return Molecule("", (ELEMENTS[number],), ((0.0, 0.0, 0.0),), 0, 1 + number % 2).mol(basis).nao
