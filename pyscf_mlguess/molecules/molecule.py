"""One geometry of a molecule: what labels, training and benchmark share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pyscf import gto
from pyscf.data.elements import charge

_LAST_ALL_ELECTRON_DEF2 = 36


@dataclass(frozen=True)
class Molecule:
    """One geometry.

    positions: natm triples in angstrom.
    multiplicity: 2S + 1. Raises ValueError where the electrons cannot have it.
    inchikey: without stereochemistry (``molecules.smiles.molecule_key``), or empty.
    path: frames of one geometry path share this name and are in order; empty for a single geometry.
    """

    name: str
    symbols: tuple[str, ...]
    positions: tuple[tuple[float, float, float], ...]
    charge: int = 0
    multiplicity: int = 1
    smiles: str = ""
    inchikey: str = ""
    path: str = ""

    def __post_init__(self):
        nelec, unpaired = sum(map(charge, self.symbols)) - self.charge, self.multiplicity - 1
        if not 0 <= unpaired <= nelec or (nelec - unpaired) % 2:
            raise ValueError(f"{nelec} electrons cannot have multiplicity {self.multiplicity}")

    def mol(self, basis: str) -> gto.Mole:
        """The PySCF molecule, with the core potentials that belong to a def2 basis."""
        ecp = {symbol: basis for symbol in set(self.symbols) if has_core_potential(symbol, basis)}
        return gto.M(atom=list(zip(self.symbols, self.positions)), unit="Angstrom", charge=self.charge,
                     spin=self.multiplicity - 1, basis=basis, ecp=ecp, verbose=0)

    @property
    def fingerprint(self) -> str:
        """Tells geometries of the same name apart: a hash of atoms, positions, charge and multiplicity."""
        state = (self.symbols, self.positions, self.charge, self.multiplicity)
        return hashlib.sha256(repr(state).encode()).hexdigest()[:12]


def has_core_potential(symbol: str, basis: str) -> bool:
    """Whether ``Molecule.mol`` replaces the core of this element by the potential that belongs to the basis."""
    return basis.lower().startswith("def2") and charge(symbol) > _LAST_ALL_ELECTRON_DEF2
