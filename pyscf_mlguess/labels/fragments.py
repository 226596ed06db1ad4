"""Small molecules that look like the inside of large ones: connected pieces, capped with hydrogen.

A molecule falls into rigid pieces where acyclic single bonds between heavy atoms are cut: ring systems, multiple
bonds with what conjugation leaves no choice about, single atoms.  A fragment is a connected set of pieces, so that
no ring, no multiple bond and no charged group is ever cut.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator

from rdkit import Chem

from pyscf_mlguess.molecules.smiles import molecule_key, parse_smiles
from pyscf_mlguess.molecules.split import split_of

# Draws for every fragment that is wanted, before no more are expected.
_DRAWS = 50


def random_fragments(smiles: list[str], heavy_atoms: tuple[int, int], count: int, excluded: Collection[str] = (),
                     seed: int = 0) -> Iterator[str]:
    """At most ``count`` distinct molecules to train on: closed shells of charge -1 to 1, of the training split.

    excluded: InChIKeys (``molecule_key``) of molecules that are not wanted.  Raises ValueError for a SMILES that
    cannot be read.
    """
    rng = random.Random(seed)
    seen, found = set(excluded), 0
    for _ in range(_DRAWS * count):
        if found == count:
            return
        fragment = random_fragment(rng.choice(smiles), heavy_atoms, rng)
        if fragment is None:
            continue
        mol, key = parse_smiles(fragment), molecule_key(fragment)
        open_shell = any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
        if key in seen or open_shell or abs(Chem.GetFormalCharge(mol)) > 1 or split_of(fragment) != "train":
            continue
        seen.add(key)
        found += 1
        yield fragment


def random_fragment(smiles: str, heavy_atoms: tuple[int, int], rng: random.Random) -> str | None:
    """SMILES (without stereochemistry) of a connected fragment of ``heavy_atoms`` (fewest, most), or None.

    Grown from a random piece by random neighbouring pieces until the next one would not fit.
    """
    mol = parse_smiles(smiles)
    Chem.RemoveStereochemistry(mol)
    pieces, neighbours = _pieces(mol)
    chosen = {rng.randrange(len(pieces))}
    size = len(pieces[next(iter(chosen))])
    goal = rng.randint(*heavy_atoms)
    while size < goal:
        around = sorted({n for piece in chosen for n in neighbours[piece]} - chosen)
        fitting = [n for n in around if size + len(pieces[n]) <= heavy_atoms[1]]
        if not fitting:
            break
        added = rng.choice(fitting)
        chosen.add(added)
        size += len(pieces[added])
    if not heavy_atoms[0] <= size <= heavy_atoms[1]:
        return None
    return _capped(mol, {atom for piece in chosen for atom in pieces[piece]})


def _pieces(mol):
    """Atom indices of each rigid piece, and the pieces bonded to each."""
    cut = [bond for bond in mol.GetBonds() if bond.GetBondType() == Chem.BondType.SINGLE and not bond.IsInRing()
           and not _same_group(bond.GetBeginAtom(), bond.GetEndAtom())]
    if cut:
        broken = Chem.FragmentOnBonds(mol, [bond.GetIdx() for bond in cut], addDummies=False)
        pieces = [set(atoms) for atoms in Chem.GetMolFrags(broken)]
    else:
        pieces = [set(range(mol.GetNumAtoms()))]
    owner = {atom: index for index, piece in enumerate(pieces) for atom in piece}
    neighbours = [set() for _ in pieces]
    for bond in cut:
        first, second = owner[bond.GetBeginAtomIdx()], owner[bond.GetEndAtomIdx()]
        neighbours[first].add(second)
        neighbours[second].add(first)
    return pieces, neighbours


def _same_group(first, second):
    """Opposite charges side by side (nitro, N-oxide, ylides), and a charge at an end (carboxylate, ammonium)."""
    at_end = any(atom.GetFormalCharge() and atom.GetDegree() == 1 for atom in (first, second))
    return at_end or first.GetFormalCharge() * second.GetFormalCharge() < 0


def _capped(mol, atoms):
    """The fragment's SMILES, hydrogens in the place of the bonds that are gone."""
    fragment = Chem.RWMol(mol)
    for atom in fragment.GetAtoms():
        lost = sum(n.GetIdx() not in atoms for n in atom.GetNeighbors())
        if atom.GetIdx() in atoms and lost and (atom.GetNoImplicit() or atom.GetIsAromatic()):
            atom.SetNumExplicitHs(atom.GetNumExplicitHs() + lost)
    for index in sorted(set(range(mol.GetNumAtoms())) - atoms, reverse=True):
        fragment.RemoveAtom(index)
    smiles = Chem.MolToSmiles(fragment)
    return smiles if Chem.MolFromSmiles(smiles) is not None else None
