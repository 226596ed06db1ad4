"""The molecule sets of the benchmark: .smi lists of candidates, and the geometries made from them (``make``).

One more, ``TRUST``, is made from the others when it is asked for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pyscf_mlguess.molecules.files import read_molecules
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.xyz import MoleculeFileError

TRUST = "trust"
_SETS = Path(__file__).parent


def shipped_sets() -> dict[str, Path]:
    """Name and file of each benchmark set of the package."""
    return {path.stem: path for path in sorted(_SETS.glob("*.xyz"))}


def set_name(name_or_path: str | Path) -> str:
    """What a results file calls a set: a shipped one by its name, a file by its stem and a digest of where it lies.

    Not of its contents: molecules added to a file later are the only ones to be run.
    """
    if str(name_or_path) in (TRUST, *shipped_sets()):
        return str(name_or_path)
    path = Path(name_or_path).resolve()
    return f"{path.stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"


def load_set(name_or_path: str | Path) -> tuple[list[Molecule], list[MoleculeFileError]]:
    """The molecules of a shipped set (``qm9_size``) or of a file, and the errors of those that cannot be read.

    Raises FileNotFoundError, and MoleculeFileError as ``read_molecules``.
    """
    if str(name_or_path) == TRUST:
        from pyscf_mlguess.benchmark.sets.trust import structures

        return list(structures()), []
    shipped = shipped_sets()
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        raise FileNotFoundError(f"no molecule file {str(path)!r}; the shipped sets are {', '.join((*shipped, TRUST))}")
    return read_molecules(path)
