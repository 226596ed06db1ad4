"""A small model of pair blocks, from the labels of a few small molecules with orbitals."""

from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import FORMAMIDE
from pyscf import gto
from pyscf.data.nist import BOHR

from pyscf_mlguess.labels.calculation import calculate, displaced
from pyscf_mlguess.models.pair_blocks import design, training
from pyscf_mlguess.models.pair_blocks.features import PairSettings
from pyscf_mlguess.molecules.label import Level
from pyscf_mlguess.molecules.label_files import write_labels
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.smiles import conformer, molecule_from_conformer
from pyscf_mlguess.training import matrix_labels
from pyscf_mlguess.training.matrices import HARTREE_FOCK, prepare_matrices
from pyscf_mlguess.training.targets import BASE

SETTINGS = PairSettings(elements=(1, 6, 7, 8), radial=4, bond_radial=3, products=(4, 3, 3, 2, 2),
                        singles=(3, 2, 2, 1, 1), doubles=(2, 2, 1, 1, 1), bonds=(4, 3, 3, 2, 2),
                        others=(3, 2, 2, 1, 1), invariants=3)
KEPT = (20, 30, 20), (20, 30)
VALIDATION = "C=O"


@lru_cache(maxsize=None)
def labels():
    """Labels with orbitals of both levels of molecules of H, C, N and O, one of them charged."""
    formamide = gto.M(atom=FORMAMIDE, verbose=0)
    symbols = tuple(formamide.atom_pure_symbol(i) for i in range(formamide.natm))
    molecules = [molecule_from_conformer(conformer(smiles), smiles, smiles)
                 for smiles in ("O", "C", "N", "C=O", "C#N", "CO", "[NH4+]")]
    molecules += [Molecule("NC=O", symbols, tuple(map(tuple, (formamide.atom_coords() * BOHR).tolist())), 0,
                           smiles="NC=O")]
    found = []
    for molecule in molecules:
        for sigma in (0.0, 0.06, 0.12) if molecule.name == "NC=O" else (0.0, 0.06):
            label = calculate(displaced(molecule, sigma), [BASE, Level.parse(HARTREE_FOCK)], orbitals=True)
            label.name = f"{molecule.name}-{sigma}"
            found.append(label)
    return tuple(found)


def label_of(name):
    """That of a molecule and displacement, "NC=O-0.06"."""
    return next(label for label in labels() if label.name == name)


@lru_cache(maxsize=None)
def _folder():
    return TemporaryDirectory()


@lru_cache(maxsize=None)
def label_file():
    """A file of all labels."""
    path = Path(_folder().name) / "labels.h5"
    write_labels(path, list(labels()))
    return path


@lru_cache(maxsize=None)
def matrices():
    """A folder with the matrices of all labels."""
    path = Path(_folder().name) / "matrices"
    prepare_matrices(list(labels()), path, jobs=1, progress=False)
    return path


@lru_cache(maxsize=None)
def trained(target):
    """The path of a model of this target."""
    with few_are_enough():
        return training.train([label_file()], Path(_folder().name) / f"{target.replace(' ', '-')}.safetensors",
                              matrices(), target, jobs=1, size="tiny", progress=False)


@contextmanager
def few_are_enough():
    """A size "tiny"; elements and pairs of few atoms are learned, and ``VALIDATION`` is held out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.SIZES, "tiny", (SETTINGS, *KEPT))
        patch.setattr(training, "ITERATIONS", 40)
        for module in (design, matrix_labels):
            patch.setattr(module, "FEWEST", 3)
        patch.setattr(matrix_labels, "split_of", lambda smiles: "validation" if smiles == VALIDATION else "train")
        yield
