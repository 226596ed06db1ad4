"""Reads converged reference calculations from HDF5 files.

```
/<id>                     attrs: smiles, charge, spin
  atomic_numbers          (natm,) int
  positions_bohr          (natm, 3) float64
  <level>/                attrs: e_tot (Eh); level is "pbe", "hf", ...
    mo_coeff_occ          (nao, nocc) float32, PySCF's spherical AO order
    mo_energy             (nao,) float64, Eh
```
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS


@dataclass(frozen=True)
class ReferenceEntry:
    """One closed-shell molecule with its converged occupied orbitals per level of theory."""

    name: str
    smiles: str
    charge: int
    numbers: np.ndarray
    positions: np.ndarray
    orbitals: dict[str, np.ndarray]
    orbital_energies: dict[str, np.ndarray]

    def mol(self, basis: str) -> gto.Mole:
        """The molecule in the orbital basis that the reference was computed in."""
        atoms = [(ELEMENTS[z], r) for z, r in zip(self.numbers, self.positions)]
        return gto.M(atom=atoms, unit="Bohr", basis=basis, charge=self.charge, verbose=0)


def read_names(path: str | Path) -> list[tuple[str, str]]:
    """(id, SMILES) of every entry."""
    with h5py.File(path, "r") as file:
        return [(name, str(file[name].attrs["smiles"])) for name in file]


def read_entry(path: str | Path, name: str) -> ReferenceEntry:
    """One entry with all its levels of theory."""
    with h5py.File(path, "r") as file:
        group = file[name]
        levels = [key for key, item in group.items() if isinstance(item, h5py.Group)]
        return ReferenceEntry(
            name=name,
            smiles=str(group.attrs["smiles"]),
            charge=int(group.attrs["charge"]),
            numbers=group["atomic_numbers"][:].astype(int),
            positions=group["positions_bohr"][:],
            orbitals={level: group[level]["mo_coeff_occ"][:].astype(float) for level in levels},
            orbital_energies={level: group[level]["mo_energy"][:] for level in levels},
        )
