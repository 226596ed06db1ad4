"""A molecule with the densities and orbitals that were calculated for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from pyscf.data.elements import ELEMENTS
from pyscf.data.nist import BOHR

from pyscf_mlguess.molecules.molecule import Molecule


@dataclass(frozen=True)
class Level:
    """A functional (PySCF's name, or "hf") and an orbital basis, written "pbe/def2-svp"."""

    xc: str
    basis: str

    @classmethod
    def parse(cls, text: str) -> "Level":
        """From "functional/basis"; raises ValueError."""
        xc, slash, basis = text.strip().lower().partition("/")
        if not (xc and slash and basis):
            raise ValueError(f"level of theory {text!r} is not functional/basis, such as pbe/def2-svp")
        return cls(xc, basis)

    def __str__(self) -> str:
        return f"{self.xc}/{self.basis}"


@dataclass
class Label:
    """A molecule's geometry and what was calculated there.

    positions: (natm, 3) float32, bohr; the calculations were made at exactly these.
    coefficients: {level: (naux,) float32}, Coulomb-fitted, PySCF's auxiliary order.
    gradients: {level: norm of the orbital gradient, Eh}.
    orbitals: {level: (nao, nocc) float32}, occupied orbitals, PySCF's order of spherical functions.
    """

    name: str
    smiles: str
    charge: int
    numbers: np.ndarray
    positions: np.ndarray
    coefficients: dict[str, np.ndarray]
    gradients: dict[str, float] = field(default_factory=dict)
    orbitals: dict[str, np.ndarray] = field(default_factory=dict)


def molecule_of(label: Label) -> Molecule:
    """The geometry of a label; ValueError for an odd number of electrons."""
    symbols = tuple(ELEMENTS[number] for number in label.numbers)
    positions = np.asarray(label.positions, dtype=float) * BOHR
    return Molecule(label.name, symbols, tuple(map(tuple, positions.tolist())), label.charge, smiles=label.smiles)


def identity(label: Label) -> str:
    """What tells molecules apart: the SMILES, or the formula and the charge where there is none."""
    if label.smiles:
        return label.smiles
    numbers, counts = np.unique(label.numbers, return_counts=True)
    return "".join(f"{ELEMENTS[z]}{n}" for z, n in zip(numbers, counts)) + f"({label.charge:+d})"


def merge(*collections: Iterable[Label]) -> list[Label]:
    """One label per name with the levels of all; of the same level the last one counts, in all that it has.

    Raises ValueError where the geometries of one name differ.
    """
    merged: dict[str, Label] = {}
    for label in (label for labels in collections for label in labels):
        known = merged.get(label.name, label)
        if (known.charge != label.charge or not np.array_equal(known.numbers, label.numbers)
                or not np.array_equal(known.positions, label.positions)):
            raise ValueError(f"two geometries of the name {label.name!r}")
        earlier = known.coefficients.keys() - label.coefficients.keys()
        merged[label.name] = replace(
            label, coefficients=_of(known.coefficients, earlier) | label.coefficients,
            gradients=_of(known.gradients, earlier) | label.gradients,
            orbitals=_of(known.orbitals, earlier) | label.orbitals)
    return list(merged.values())


def _of(values, levels):
    return {level: value for level, value in values.items() if level in levels}
