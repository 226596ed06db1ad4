"""Tells whether a molecule is in the lists that models are trained on."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from pyscf_mlguess.molecules.label_files import is_label_file, read_summary
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.orbital_files import read_names
from pyscf_mlguess.molecules.smiles import molecule_key, parse_smiles


class TrainingMolecules:
    """The molecules of training lists: SMILES files, xyz files and reference calculations.

    InChIKeys are compared within the same sum formula, which spares most of them. Frames whose name is not a SMILES
    are compared by sum formula and multiplicity alone, so that some molecules are turned down that were not trained on.

    folder: searched to any depth for .smi (SMILES in the first column), .xyz and .xyz.gz.
    references: HDF5 files of labels or of reference calculations.
    """

    def __init__(self, folder: str | Path, references: list[Path]):
        self._smiles = {}
        self._states = set()
        found = {line.split()[0] for path in Path(folder).rglob("*.smi")
                 for line in path.read_text(encoding="utf-8").splitlines() if line.split()}
        found |= {smiles for path in references
                  for _, smiles in (read_summary if is_label_file(path) else read_names)(path)}
        for path in [*Path(folder).rglob("*.xyz"), *Path(folder).rglob("*.xyz.gz")]:
            for name, formula, multiplicity in _frames(path):
                # Conformers are numbered: SMILES/number.
                if not self._add(name.rpartition("/")[0]):
                    self._states.add((formula, multiplicity))
        for smiles in found:
            self._add(smiles)

    def __contains__(self, molecule: Molecule) -> bool:
        formula = sum_formula(molecule.symbols, molecule.charge)
        if (formula, molecule.multiplicity) in self._states:
            return True
        return any(molecule_key(smiles) == molecule.inchikey for smiles in self._smiles.get(formula, ()))

    def _add(self, smiles):
        try:
            formula = CalcMolFormula(parse_smiles(smiles))
        except ValueError:
            return False
        self._smiles.setdefault(formula, set()).add(smiles)
        return True


def sum_formula(symbols: tuple[str, ...], charge: int = 0) -> str:
    """The sum formula as RDKit writes it: C, H, the others by the alphabet, charge at the end (C2H3O2-, H18CoN6+3)."""
    counts = Counter(symbols)
    order = [s for s in ("C", "H") if s in counts] + sorted(set(counts) - {"C", "H"})
    formula = "".join(f"{s}{counts[s] if counts[s] > 1 else ''}" for s in order)
    sign = "+" if charge > 0 else "-"
    return formula + (sign if charge else "") + (str(abs(charge)) if abs(charge) > 1 else "")


def _frames(path):
    """Name, sum formula and multiplicity of each frame of an xyz file with these in its comment lines."""
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else open(path, encoding="utf-8")
    with opened as file:
        for count in file:
            comment = dict(item.partition("=")[::2] for item in file.readline().split())
            symbols = tuple(file.readline().split()[0] for _ in range(int(count)))
            formula = sum_formula(symbols, int(comment["charge"]))
            yield comment["name"].strip('"'), formula, int(comment["multiplicity"])
