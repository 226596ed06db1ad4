"""Reads the converged orbitals of other programs' or one's own calculations from HDF5 files.

```
/<id>                     attrs: smiles, charge, spin
  atomic_numbers          (natm,) int
  positions_bohr          (natm, 3) float64
  <level>/                "pbe", "hf", ...; "pbe_def2-tzvp" with a basis of its own
    mo_coeff_occ          (nao, nocc) float32, occupied orbitals, PySCF's order of spherical functions
```

What else stands in a file (energies, say) is not read.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from pyscf_mlguess.molecules.hdf5 import open_hdf5
from pyscf_mlguess.molecules.label import Label, Level


def read_names(path: str | Path) -> list[tuple[str, str]]:
    """(id, SMILES) of every entry; errors as ``open_hdf5``."""
    with open_hdf5(path) as file:
        return [(name, str(file[name].attrs["smiles"])) for name in file]


def read_entry(path: str | Path, name: str, basis: str) -> Label:
    """One entry as a label with the orbitals of all its levels, whose densities are not fitted yet.

    basis: of the levels whose names hold none.  Errors as ``open_hdf5``, also for an entry that lacks something.
    """
    with open_hdf5(path) as file:
        group = file[name]
        levels = [key for key, item in group.items() if isinstance(item, h5py.Group)]
        return Label(name, str(group.attrs["smiles"]), int(group.attrs["charge"]),
                     group["atomic_numbers"][:].astype(int), group["positions_bohr"][:].astype(np.float32), {},
                     orbitals={str(level_of_orbitals(level, basis)): group[level]["mo_coeff_occ"][:]
                               for level in levels})


def level_of_orbitals(name: str, basis: str) -> Level:
    """The level that a group of orbitals is called after: "pbe", in ``basis``, or "pbe_def2-tzvp"."""
    xc, _, own = name.lower().partition("_")
    return Level(xc, own or basis.lower())
