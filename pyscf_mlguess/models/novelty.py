"""How far an atom's surroundings lie outside of what a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The edge is what one training atom in so many exceeds.
_BEYOND_EDGE = 1e-3
_SMALLEST_SCALE = 1e-6


@dataclass
class Range:
    """Where an element's invariant features lay in training.

    scale: (n,) standard deviations of the leading invariants, whose means are zero; edge: the distance from the mean,
    in units of these, that one atom in a thousand exceeds.
    """

    scale: np.ndarray
    edge: float

    @classmethod
    def of(cls, invariants: np.ndarray) -> "Range":
        """That of the training atoms' invariants, (natm, n)."""
        unscaled = cls(np.sqrt((invariants**2).mean(axis=0)), 1.0)
        return cls(unscaled.scale, float(np.quantile(unscaled.novelty(invariants), 1 - _BEYOND_EDGE)))

    def novelty(self, invariants: np.ndarray) -> np.ndarray:
        """Distances of atoms from the mean, 1 at the edge, (natm,) of invariants (natm, n)."""
        scaled = invariants / np.maximum(self.scale, _SMALLEST_SCALE)
        return np.sqrt(np.mean(scaled**2, axis=1)) / self.edge
