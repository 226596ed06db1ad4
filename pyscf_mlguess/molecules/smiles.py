"""SMILES: canonical forms and keys of molecules, one RDKit conformer each, and .smi files of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom
from rdkit.Chem import rdForceFieldHelpers as force_fields
from rdkit.Geometry import Point3D

from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.molecules.xyz import MoleculeFileError, line_error, text_lines

_SEED = 7
_MAX_STEPS = 5000
_APART = 2.5  # angstrom
_DECIMALS = 6  # what write_xyz keeps


def parse_smiles(smiles: str) -> Chem.Mol:
    """The RDKit molecule of a SMILES, hydrogens implicit.

    Raises ValueError where RDKit cannot read the SMILES.
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    if mol is None or mol.GetNumAtoms() == 0:
        raise ValueError(f"RDKit cannot read the SMILES {smiles!r}")
    return mol


def canonical_smiles(smiles: str) -> str:
    """RDKit's canonical SMILES without stereochemistry: conformers and stereoisomers count as one molecule.

    Raises ValueError as ``parse_smiles``.
    """
    mol = parse_smiles(smiles)
    return Chem.MolToSmiles(mol, isomericSmiles=False)


def molecule_key(smiles: str) -> str:
    """The InChIKey without stereochemistry, which tells whether a model was trained on a molecule.

    Conformers, stereoisomers and most tautomers share it; charge states that differ by protons differ in the last
    letter. Empty where InChI cannot represent the molecule. Raises ValueError as ``parse_smiles``.
    """
    mol = parse_smiles(smiles)
    Chem.RemoveStereochemistry(mol)
    with rdBase.BlockLogs():
        return Chem.MolToInchiKey(mol)


def conformer(smiles: str, seed: int = _SEED) -> Chem.Mol:
    """The RDKit molecule with hydrogens and one conformer by ETKDGv3, relaxed with MMFF94 (UFF where it cannot).

    Several molecules (a dot in the SMILES) are relaxed together, from side by side. Always the same conformer with
    the same RDKit and seed. Raises ValueError where RDKit cannot read the SMILES or finds no conformer or no force
    field.
    """
    mol = parse_smiles(smiles)
    with rdBase.BlockLogs():
        parts = [embedded(part, smiles, seed) for part in Chem.GetMolFrags(Chem.AddHs(mol), asMols=True)]
        mol = _side_by_side(parts)
        if force_fields.MMFFHasAllMoleculeParams(mol):
            force_fields.MMFFOptimizeMolecule(mol, maxIters=_MAX_STEPS, ignoreInterfragInteractions=False)
        elif force_fields.UFFHasAllMoleculeParams(mol):
            force_fields.UFFOptimizeMolecule(mol, maxIters=_MAX_STEPS, ignoreInterfragInteractions=False)
        else:
            raise ValueError(f"neither MMFF94 nor UFF has parameters for {smiles!r}")
    return mol


def embedded(mol: Chem.Mol, smiles: str, seed: int) -> Chem.Mol:
    """``mol``, a part of ``smiles`` with its hydrogens, with one ETKDGv3 conformer; ValueError where there is none."""
    parameters = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    if rdDistGeom.EmbedMolecule(mol, parameters) < 0:
        parameters.useRandomCoords = True
        if rdDistGeom.EmbedMolecule(mol, parameters) < 0:
            raise ValueError(f"RDKit finds no conformer of {smiles!r}")
    return mol


def _side_by_side(parts):
    """The molecules of a complex in a row, their surfaces ``_APART`` from each other, for the force field to join."""
    complex_, end = None, 0.0
    for part in parts:
        positions = part.GetConformer().GetPositions()
        shift = end - positions[:, 0].min()
        end += np.ptp(positions[:, 0]) + _APART
        middle = positions.mean(axis=0)
        offset = Point3D(float(shift), *(-middle[1:]).tolist())
        if complex_ is not None:
            complex_ = Chem.CombineMols(complex_, part, offset)
        elif len(parts) == 1:
            complex_ = part
        else:
            part.GetConformer().SetPositions(positions + [offset.x, offset.y, offset.z])
            complex_ = part
    Chem.SanitizeMol(complex_)
    return complex_


def molecule_from_conformer(mol: Chem.Mol, name: str, smiles: str, path: str = "") -> Molecule:
    """The geometry of an RDKit molecule with hydrogens and a conformer.

    Charge from the formal charges, multiplicity from the unpaired electrons that the SMILES writes, all parallel.
    Raises ValueError for an odd number of electrons without an unpaired one, and the reverse.
    """
    return Molecule(
        name=name,
        symbols=tuple(atom.GetSymbol() for atom in mol.GetAtoms()),
        positions=tuple(map(tuple, mol.GetConformer().GetPositions().round(_DECIMALS).tolist())),
        charge=sum(atom.GetFormalCharge() for atom in mol.GetAtoms()),
        multiplicity=sum(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()) + 1,
        smiles=smiles,
        inchikey=molecule_key(smiles),
        path=path,
    )


def read_smi(path: str | Path) -> Iterator[tuple[int, Molecule | MoleculeFileError]]:
    """Line index and molecule, or its error, of each line ``SMILES [name]`` of a file.

    Further columns, blank lines and lines that start with # are skipped; without a name the molecule is called
    <file>_<line number>. Raises MoleculeFileError for a file that is not text.
    """
    for index, fields in smi_lines(path):
        name = fields[1] if len(fields) > 1 else f"{Path(path).stem}_{index + 1}"
        try:
            yield index, molecule_from_conformer(conformer(fields[0]), name, fields[0])
        except ValueError as error:
            yield index, line_error(path, index, str(error))


def read_smiles(path: str | Path) -> tuple[list[str], list[MoleculeFileError]]:
    """The SMILES of a .smi file without conformers, and the errors of those that RDKit cannot read.

    Raises MoleculeFileError where none can be read and for a file that is not text.
    """
    found, errors = [], []
    for index, fields in smi_lines(path):
        try:
            parse_smiles(fields[0])
            found.append(fields[0])
        except ValueError as error:
            errors.append(line_error(path, index, str(error)))
    if not found:
        raise errors[0] if errors else MoleculeFileError(f"{path}: no SMILES in the file")
    return found, errors


def smi_lines(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Index and columns of each line that names a molecule; MoleculeFileError for a file that is not text."""
    for index, line in enumerate(text_lines(path)):
        fields = line.split()
        if fields and not fields[0].startswith("#"):
            yield index, fields
