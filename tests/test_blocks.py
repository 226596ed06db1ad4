"""Splitting, coupling and their inverses; overlap and kinetic energy as equivariant ground truth."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import irrep_rotation
from hypothesis import given, settings
from hypothesis import strategies as st
from pyscf import gto, scf
from scipy.spatial.transform import Rotation

from pyscf_mlguess.block_irreps import BlockBasis, BlockIrreps, Irrep
from pyscf_mlguess.blocks import Blocks, Sites
from pyscf_mlguess.predictions import AuxiliaryDensity, DensityBlocks, FockBlocks
from pyscf_mlguess.structure import Structure

BASIS = "def2-svp"
ELEMENTS = [1, 6, 7, 8, 16, 26, 53]
# Main groups, a core potential and f functions; two atoms of some elements, in no order.
ZOO = """C 0.1 0.2 -0.3; Fe 1.6 -0.4 1.3; H -0.7 0.9 -1.0; S -1.3 -1.2 0.6; O 0.9 1.4 0.7; C 2.1 1.9 -0.4;
         I -2.8 0.9 1.9; S 0.6 -1.9 -1.1; H 2.9 1.3 -1.0; Fe -0.4 0.8 2.9"""


@pytest.fixture(scope="module")
def zoo():
    return gto.M(atom=ZOO, basis=BASIS, ecp={"I": BASIS}, spin=None, verbose=0)


@pytest.fixture(scope="module")
def basis():
    return BlockBasis.of(ELEMENTS, BASIS)


def random_matrix(mol, seed=0):
    matrix = np.random.default_rng(seed).normal(size=(mol.nao, mol.nao))
    return matrix + matrix.T


def moved(mol, positions):
    new = mol.copy()
    new.set_geom_(positions, unit="Bohr")
    return new


def coupled(basis, mol, matrix, cutoff=np.inf):
    return basis.couple(Blocks.split(matrix, mol, cutoff))


def parts(irreps: BlockIrreps):
    """Every irrep of every element and species: (atomic numbers, irrep, values)."""
    for place, found in (*irreps.onsite.items(), *irreps.pairs.items()):
        for irrep, values in found.items():
            yield place, irrep, values


def overlap_root(mol):
    values, vectors = np.linalg.eigh(mol.intor_symmetric("int1e_ovlp"))
    return vectors * np.sqrt(values) @ vectors.T


def is_pseudotensor(irrep):
    return irrep.parity != (-1) ** irrep.l


def test_split_and_assemble_are_inverse(zoo):
    matrix = random_matrix(zoo)
    assert np.array_equal(Blocks.split(matrix, zoo, np.inf).assemble(zoo), matrix)


def test_one_atom_has_no_pairs(basis):
    iron = gto.M(atom="Fe", basis=BASIS, spin=None, verbose=0)
    matrix = random_matrix(iron)
    irreps = coupled(basis, iron, matrix)
    assert irreps.pairs == {}
    assert basis.uncouple(irreps).assemble(iron) == pytest.approx(matrix, abs=1e-12)


def test_blocks_are_those_of_the_pairs_within_the_cutoff(zoo):
    matrix, cutoff = random_matrix(zoo), 5.0
    found = Blocks.split(matrix, zoo, cutoff).assemble(zoo)
    distances = np.linalg.norm(zoo.atom_coords()[:, None] - zoo.atom_coords(), axis=2)
    assert (distances > cutoff).any()
    for i, (_, _, start, stop) in enumerate(zoo.aoslice_by_atom()):
        for j, (_, _, first, last) in enumerate(zoo.aoslice_by_atom()):
            expected = matrix[start:stop, first:last] * (distances[i, j] <= cutoff)
            assert np.array_equal(found[start:stop, first:last], expected)


def test_sites_hold_every_pair_once_with_the_lighter_atom_first(zoo):
    structure = Structure.from_mol(zoo)
    sites = Sites.of(structure, np.inf)
    found = [(i, j) for which in sites.species_pairs.values()
             for i, j in zip(sites.pairs.first[which], sites.pairs.second[which])]
    assert len(found) == 45 and len({frozenset(pair) for pair in found}) == 45
    assert all((structure.numbers[i], i) < (structure.numbers[j], j) for i, j in found)
    assert {element: list(atoms) for element, atoms in sites.atoms.items()} == {
        1: [2, 8], 6: [0, 5], 8: [4], 16: [3, 7], 26: [1, 9], 53: [6]}


def test_shells_are_those_of_the_molecule(basis):
    assert basis.shells[1] == {0: 2, 1: 1} and basis.shells[26] == {0: 5, 1: 3, 2: 2, 3: 1}
    for element in ELEMENTS:
        atom = gto.M(atom=[(element, (0, 0, 0))], basis=BASIS, ecp=BASIS, spin=None, verbose=0)
        assert basis.nao(element) == atom.nao


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(["def2-svp", "cc-pvdz", "ano", "sto-3g"]))
def test_couple_and_uncouple_are_inverse(seed, name):
    rng = np.random.default_rng(seed)
    numbers = rng.choice([1, 6, 8, 16], int(rng.integers(1, 5)))
    mol = gto.M(atom=[(int(z), r) for z, r in zip(numbers, rng.normal(scale=3.0, size=(len(numbers), 3)))], basis=name,
                spin=None, verbose=0)
    basis = BlockBasis.of(numbers, name)
    matrix = random_matrix(mol, seed)
    irreps = coupled(basis, mol, matrix)
    assert basis.uncouple(irreps).assemble(mol) == pytest.approx(matrix, abs=1e-12)
    # Nor is there more in the irreps than in a matrix.
    noise = {kind: {place: {irrep: rng.normal(size=v.shape) for irrep, v in found.items()}
                    for place, found in getattr(irreps, kind).items()} for kind in ("onsite", "pairs")}
    back = coupled(basis, mol, basis.uncouple(BlockIrreps(irreps.sites, **noise)).assemble(mol))
    for place, irrep, values in parts(back):
        given = noise["pairs" if isinstance(place, tuple) else "onsite"][place][irrep]
        assert values == pytest.approx(given, abs=1e-12)


def test_the_norm_of_blocks_is_that_of_their_irreps(zoo, basis):
    blocks = Blocks.split(random_matrix(zoo), zoo, np.inf)
    irreps = basis.couple(blocks)
    for kind in ("onsite", "pairs"):
        for place, block in getattr(blocks, kind).items():
            squares = sum((values**2).sum(axis=(1, 2)) for values in getattr(irreps, kind)[place].values())
            assert squares == pytest.approx((block**2).sum(axis=(1, 2)), rel=1e-12)


def test_hermiticity_removes_half_on_atoms_and_nothing_between_them(basis):
    size = {True: 0, False: 0}
    for first in ELEMENTS:
        onsite = basis.channels(first)
        assert sum(len(table) * (2 * irrep.l + 1) for irrep, table in onsite.items()) == (
            basis.nao(first) * (basis.nao(first) + 1) // 2)
        assert {irrep.exchange for irrep in onsite} == {1}
        for irrep, table in onsite.items():
            same = (table[:, :2] == table[:, 2:]).all(axis=1)
            assert irrep.l % 2 == 0 or not same.any()
            size[is_pseudotensor(irrep)] += len(table)
        for second in ELEMENTS[ELEMENTS.index(first):]:
            table = basis.channels(first, second)
            assert sum(len(rows) * (2 * irrep.l + 1) for irrep, rows in table.items()) == (
                basis.nao(first) * basis.nao(second))
            assert {irrep.exchange for irrep in table} == ({1, -1} if first == second else {0})
    assert size[True] > 0


def test_channels_say_which_shells_they_couple(zoo, basis):
    blocks = Blocks.split(np.zeros((zoo.nao, zoo.nao)), zoo, np.inf)
    # Carbon 3s 2p 1d, oxygen likewise: the second s function with the second p shell, and the first p with the d shell.
    blocks.pairs[6, 8][:, 1, 6:9] = 1.0
    blocks.pairs[6, 8][:, 3:6, 9:14] = np.random.default_rng(0).normal(size=(3, 5))
    found = basis.couple(blocks).pairs[6, 8]
    table = basis.channels(6, 8)
    for irrep, values in found.items():
        expected = {(0, 1, 1, 1), (1, 0, 2, 0)}
        nonzero = np.abs(values).max(axis=(0, 2)) > 1e-12
        assert [tuple(row) in expected for row in table[irrep].tolist()] == nonzero.tolist()


@pytest.mark.parametrize("operator", ["int1e_ovlp", "int1e_kin"])
@pytest.mark.parametrize("proper, inverted", [(True, False), (False, True), (True, True)])
def test_irreps_rotate_and_invert(zoo, basis, rotation, operator, proper, inverted):
    matrix = rotation if proper else np.eye(3)
    other = moved(zoo, zoo.atom_coords() @ matrix.T * (-1 if inverted else 1))
    before, after = (coupled(basis, mol, mol.intor_symmetric(operator)) for mol in (zoo, other))
    for (_, irrep, first), (_, _, second) in zip(parts(before), parts(after), strict=True):
        expected = first @ irrep_rotation(irrep.l, matrix).T * (irrep.parity if inverted else 1)
        assert second == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("operator", ["int1e_ovlp", "int1e_kin"])
def test_irreps_follow_a_permutation_and_exchange_gives_the_sign(zoo, basis, operator):
    order = [9, 5, 6, 3, 8, 0, 2, 7, 4, 1]
    shuffled = gto.M(atom=[zoo._atom[i] for i in order], unit="Bohr", basis=BASIS, ecp={"I": BASIS}, spin=None,
                     verbose=0)
    before, after = (coupled(basis, mol, mol.intor_symmetric(operator)) for mol in (zoo, shuffled))
    exchanged = 0
    for element, found in after.onsite.items():
        rows = [list(before.sites.atoms[element]).index(order[atom]) for atom in after.sites.atoms[element]]
        for irrep, values in found.items():
            assert values == pytest.approx(before.onsite[element][irrep][rows], abs=1e-12)
    for species, found in after.pairs.items():
        old, new = ([(sites.pairs.first[k], sites.pairs.second[k]) for k in sites.species_pairs[species]]
                    for sites in (before.sites, after.sites))
        for row, (i, j) in enumerate(new):
            pair = order[i], order[j]
            turned = pair not in old
            exchanged += turned
            for irrep, values in found.items():
                expected = before.pairs[species][irrep][old.index(pair[::-1] if turned else pair)]
                assert values[row] == pytest.approx(expected * (irrep.exchange if turned else 1), abs=1e-12)
    assert exchanged == 3  # hydrogen, carbon and iron, not sulfur


@pytest.mark.parametrize("first, second", [("H", "C"), ("C", "O"), ("S", "I"), ("C", "C"), ("Fe", "Fe"), ("Fe", "I")])
@pytest.mark.parametrize("operator", ["int1e_ovlp", "int1e_kin"])
def test_an_isolated_pair_has_only_tensors_along_the_bond(basis, first, second, operator):
    mol = gto.M(atom=[(first, (0.3, -0.2, 0.1)), (second, (1.1, 0.9, -0.7))], basis=BASIS, spin=None, verbose=0)
    irreps = coupled(basis, mol, mol.intor_symmetric(operator))
    bond = mol.atom_coords()[1] - mol.atom_coords()[0]
    onto_z = Rotation.align_vectors([[0.0, 0.0, 1.0]], bond[None] / np.linalg.norm(bond))[0].as_matrix()
    (found,) = irreps.pairs.values()
    for irrep, values in found.items():
        turned = values @ irrep_rotation(irrep.l, onto_z).T
        # Two atoms of one element have a centre of inversion: what exchange does, inversion does.
        if is_pseudotensor(irrep) or irrep.exchange * irrep.parity == -1:
            assert np.abs(turned).max() < 1e-12
        else:
            along = np.arange(2 * irrep.l + 1) == irrep.l
            assert np.abs(turned[:, :, ~along]).max(initial=0.0) < 1e-12 * max(1.0, np.abs(turned).max())
            assert np.abs(turned[:, :, along]).max() > 1e-4
    for element in irreps.onsite.values():
        assert all(np.abs(values).max() < 1e-12 for irrep, values in element.items() if irrep.l > 0)


def test_a_density_matrix_has_pseudotensors(formamide, basis):
    root = overlap_root(formamide)
    dm = root @ scf.RHF(formamide).get_init_guess(key="1e") @ root
    irreps = coupled(basis, formamide, dm)
    for found in (irreps.onsite[6], irreps.pairs[6, 8], irreps.pairs[1, 1]):
        largest = {irrep: np.abs(values).max() for irrep, values in found.items() if is_pseudotensor(irrep)}
        assert largest and min(largest.values()) > 1e-4
    overlap = coupled(basis, formamide, formamide.intor_symmetric("int1e_ovlp"))
    assert all(np.abs(values).max() < 1e-12 for _, irrep, values in parts(overlap) if is_pseudotensor(irrep))


@pytest.mark.parametrize("kind", [DensityBlocks, FockBlocks])
def test_predictions_assemble_the_matrix(kind, formamide, basis):
    matrix = scf.hf.get_hcore(formamide)
    blocks = basis.uncouple(coupled(basis, formamide, matrix))
    density = (AuxiliaryDensity.free_atoms(6),) if kind is FockBlocks else ()
    prediction = kind(BASIS, blocks, np.zeros(6), *density)
    assert prediction.assemble(formamide) == pytest.approx(matrix, abs=1e-11)
    # What the model does not know is zero.
    onsite = {element: block for element, block in blocks.onsite.items() if element != 8}
    between = {species: block for species, block in blocks.pairs.items() if 8 not in species}
    known = np.ones(formamide.nao, bool)
    known[slice(*formamide.aoslice_by_atom()[1, 2:])] = False
    found = kind(BASIS, Blocks(blocks.sites, onsite, between), np.zeros(6), *density).assemble(formamide)
    assert found == pytest.approx(matrix * np.outer(known, known), abs=1e-11)
    with pytest.raises(ValueError, match="of H have shape .* the molecule needs"):
        prediction.assemble(gto.M(atom=formamide._atom, unit="Bohr", basis="sto-3g", verbose=0))


def test_other_molecules_are_clear_errors(water):
    matrix = random_matrix(water)
    blocks = Blocks.split(matrix, water, np.inf)
    with pytest.raises(ValueError, match=r"atoms \[8, 1, 1\] .* molecule of \[1, 8, 1\]"):
        blocks.assemble(gto.M(atom=[water._atom[i] for i in (1, 0, 2)], unit="Bohr", basis=BASIS, verbose=0))
    ghost = gto.M(atom="O 0 0 0; H 0 0 1; H 0 1 0; Ghost-O 0 0 3", basis=BASIS, verbose=0)
    with pytest.raises(ValueError, match=r"\[8, 1, 1, 0\].*without ghosts"):
        Blocks.split(random_matrix(ghost), ghost, np.inf)
    cartesian = gto.M(atom=water._atom, unit="Bohr", basis=BASIS, cart=True, verbose=0)
    with pytest.raises(ValueError, match="Cartesian"):
        Blocks.split(random_matrix(cartesian), cartesian, np.inf)
    mixed = gto.M(atom="O 0 0 0; H1 0 0 1; H2 0 1 0", basis={"O": BASIS, "H1": BASIS, "H2": "sto-3g"}, verbose=0)
    with pytest.raises(ValueError, match="H have different basis sets"):
        Blocks.split(random_matrix(mixed), mixed, np.inf)


def test_other_matrices_are_clear_errors(water):
    matrix = random_matrix(water)
    for wrong, message in [(matrix[:-1, :-1], "shape"), (matrix * 1j, "complex128"), (np.triu(matrix), "transpose"),
                           (np.full_like(matrix, np.nan), "transpose by up to nan"),
                           (np.stack([matrix, matrix]), "shape")]:
        with pytest.raises(ValueError, match=message):
            Blocks.split(wrong, water, np.inf)


def test_other_bases_are_clear_errors(water):
    blocks = Blocks.split(random_matrix(water), water, np.inf)
    with pytest.raises(ValueError, match=r"element 8 is none of those of this basis, \[1, 6\] in def2-svp"):
        BlockBasis.of([1, 6], BASIS).couple(blocks)
    with pytest.raises(ValueError, match=r"blocks of shape .* sto-3g has .* split the matrix in this basis"):
        BlockBasis.of([1, 8], "sto-3g").couple(blocks)
    basis = BlockBasis.of([1, 8], BASIS)
    irreps = basis.couple(blocks)
    irreps.onsite[8][Irrep(0, 1, 1)] = irreps.onsite[8][Irrep(0, 1, 1)][:, 1:]
    with pytest.raises(ValueError, match=r"elements \(8,\), Irrep\(l=0, parity=1, exchange=1\): .* is \(9, 1\)"):
        basis.uncouple(irreps)


def test_predicting_blocks_needs_no_torch():
    script = ("import sys; from pyscf_mlguess.block_irreps import BlockBasis; from pyscf_mlguess import predictions; "
              "BlockBasis.of([1, 8], 'def2-svp').channels(1, 8); sys.exit('torch' in sys.modules)")
    subprocess.run([sys.executable, "-c", script], check=True)
