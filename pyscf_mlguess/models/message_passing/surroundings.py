"""What tells how novel an atom's surroundings are to a network: leading components of its neighbours' density."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyscf_mlguess.models.linear_density.features import AceSettings, Contraction, neighbour_density
from pyscf_mlguess.models.novelty import Range
from pyscf_mlguess.structure import Structure

# Radial functions and elements of neighbours, angular momentum zero: distances, not angles.
SETTINGS = AceSettings(radial=6, lmax=0)


@dataclass
class Surroundings:
    """Of the atoms of one element: leading components of the neighbours' densities, and where these lay in training."""

    contraction: Contraction
    range: Range
    NAMES = ("matrix", "mean", "scale", "edge")

    @classmethod
    def of(cls, densities: np.ndarray, contraction: Contraction) -> "Surroundings":
        """Those of the training atoms, (natm, n, 1) from ``densities_of``, and their leading components."""
        return cls(contraction, Range.of(contraction(densities)[:, :, 0]))

    def novelty(self, structure: Structure, atoms: np.ndarray) -> np.ndarray:
        """Of these atoms, 1 at the edge of what was trained on."""
        return self.range.novelty(self.contraction(densities_of(structure)[atoms])[:, :, 0])

    def tensors(self) -> dict[str, np.ndarray]:
        """As named arrays."""
        return {"matrix": self.contraction.matrix, "mean": self.contraction.mean, "scale": self.range.scale,
                "edge": np.array([self.range.edge])}

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> "Surroundings":
        """The inverse of ``tensors``."""
        matrix, mean, scale, edge = (tensors[name].astype(float) for name in cls.NAMES)
        return cls(Contraction(matrix, mean), Range(scale, float(edge[0])))


def densities_of(structure: Structure) -> np.ndarray:
    """Of all atoms of a molecule, (natm, n, 1)."""
    return neighbour_density(structure, SETTINGS)[0]
