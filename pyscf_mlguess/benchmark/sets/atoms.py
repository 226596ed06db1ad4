"""The atoms H to Kr in their ground states: the set ``atoms``."""

from __future__ import annotations

from pyscf.data.elements import CONFIGURATION, ELEMENTS

from pyscf_mlguess.molecules.molecule import Molecule

_KRYPTON = 36


def atoms() -> list[Molecule]:
    """The atoms by nuclear charge, with the multiplicity that Hund's first rule gives their configuration."""
    return [Molecule(ELEMENTS[z], (ELEMENTS[z],), ((0.0, 0.0, 0.0),), multiplicity=1 + _unpaired(CONFIGURATION[z]))
            for z in range(1, _KRYPTON + 1)]


def _unpaired(electrons):
    """Of one open shell for each angular momentum."""
    full = [2 * (2 * l + 1) for l in range(len(electrons))]
    return sum(min(n % shell, shell - n % shell) for n, shell in zip(electrons, full))
