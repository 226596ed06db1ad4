"""What models of matrices are trained on: the matrices of a label, their metric, and where they stand in one vector."""

import numpy as np
import pytest
import scipy.linalg
from oracles import overlap_root
from pyscf import dft, scf
from small_pair_blocks import SETTINGS, label_of

from pyscf_mlguess import routes
from pyscf_mlguess.block_irreps import BlockBasis
from pyscf_mlguess.blocks import Blocks
from pyscf_mlguess.density_fitting.auxiliary_basis import AUXBASIS, auxiliary_mole
from pyscf_mlguess.density_fitting.free_atoms import free_atom_coefficients
from pyscf_mlguess.functional import exchange_note
from pyscf_mlguess.models.pair_blocks.design import Layout, Sources
from pyscf_mlguess.molecules.label import molecule_of
from pyscf_mlguess.predictions import AuxiliaryDensity, DensityBlocks, FockBlocks
from pyscf_mlguess.routes import free_atoms
from pyscf_mlguess.routes.projection import electrons_by_orbital, reference_molecule
from pyscf_mlguess.structure import Structure
from pyscf_mlguess.training.matrices import (
    DENSITIES,
    HARDNESS,
    OMEGAS,
    OPERATORS,
    PLAIN_SHARE,
    BlockProblem,
    MatrixMetric,
    coulomb_of_charges,
    matrices_of,
    matrices_path,
    prepare_matrices,
    read_matrices,
)
from pyscf_mlguess.training.solver import Design, solve


def mol_of(label):
    return molecule_of(label).mol("def2-svp")


@pytest.fixture(scope="module")
def water():
    return label_of("O-0.06")


@pytest.fixture(scope="module")
def matrices(water):
    return {name: matrix.astype(float) for name, matrix in matrices_of(water).items()}


@pytest.fixture(scope="module")
def layout():
    """Of all small molecules, and these."""
    chosen = [label_of(name) for name in ("O-0.06", "CO-0.06", "C#N-0.0")]
    sources = Sources([Structure.from_mol(mol_of(label)) for label in chosen], SETTINGS)
    return Layout(BlockBasis.of([1, 6, 7, 8], "def2-svp"), sources.sites), [mol_of(label) for label in chosen]


def random_symmetric(n, seed=0):
    matrix = np.random.default_rng(seed).normal(size=(n, n))
    return matrix + matrix.T


def irreps_of(layout, mol, matrix, reach=np.inf):
    return layout.flatten(layout.basis.couple(Blocks.split((matrix + matrix.T) / 2, mol, reach)))


# -- layout --

def test_assembly_is_that_of_blocks(layout):
    layout, mols = layout
    assert len(layout.offsets) == 4 and layout.offsets[-1] == sum(layout.assembly(i, mol).shape[1]
                                                                  for i, mol in enumerate(mols))
    for index, mol in enumerate(mols):
        matrix = random_symmetric(mol.nao, index)
        vector = irreps_of(layout, mol, matrix)
        assert len(vector) == layout.offsets[index + 1] - layout.offsets[index]
        found = (layout.assembly(index, mol) @ vector).reshape(mol.nao, mol.nao)
        blocks = layout.basis.uncouple(layout.basis.couple(Blocks.split(matrix, mol, np.inf)))
        # The assembly is single precision.
        assert found == pytest.approx(blocks.assemble(mol), abs=1e-5) and blocks.assemble(mol) == pytest.approx(matrix)


def test_indices_say_where_irreps_stand(layout):
    layout, mols = layout
    coupled = [layout.basis.couple(Blocks.split(random_symmetric(mol.nao, i), mol, np.inf))
               for i, mol in enumerate(mols)]
    vector, seen = np.concatenate([layout.flatten(irreps) for irreps in coupled]), 0
    for elements in layout.items:
        parts = [irreps.onsite.get(elements[0]) if len(elements) == 1 else irreps.pairs.get(elements)
                 for irreps in coupled]
        for irrep, index in layout.indices(elements).items():
            expected = np.concatenate([part[irrep] for part in parts if part is not None])
            assert np.array_equal(vector[index], expected.transpose(0, 2, 1))
            seen += index.size
    assert seen == len(vector)


# -- metric --

def metric_of(layout, matrices, of_density):
    return MatrixMetric.of(layout[0].assembly(0, layout[1][0]), matrices["orbitals"], matrices["energies"], 5,
                           coulomb_of_charges(layout[1][0]) if of_density else None)


@pytest.mark.parametrize("of_density, power", [(False, -1), (True, 1)])
def test_the_metric_is_symmetric_positive_and_the_explicit_sum(of_density, power, layout, matrices):
    metric, (layout, mols) = metric_of(layout, matrices, of_density), layout
    energies, orbitals, size = matrices["energies"], matrices["orbitals"], layout.offsets[1]
    metric.plain = 0.3
    dense = np.stack([metric @ unit for unit in np.eye(size)])
    assert dense == pytest.approx(dense.T, abs=1e-5) and np.linalg.eigvalsh((dense + dense.T) / 2).min() > -1e-4
    error = random_symmetric(mols[0].nao)
    between = orbitals[:, :5].T @ error @ orbitals[:, 5:]
    gaps = energies[None, 5:] - energies[:5, None]
    expected = np.sum(between**2 * gaps**power) + 0.3 * np.sum(error**2)
    if of_density:
        potential = np.diag(coulomb_of_charges(mols[0]) @ error.diagonal())
        expected += 4 * np.sum((orbitals[:, :5].T @ potential @ orbitals[:, 5:]) ** 2 / gaps)
    vector = irreps_of(layout, mols[0], error)
    assert vector @ dense @ vector == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("of_density", [False, True])
def test_the_scale_is_the_loss_of_the_given_error(of_density, layout, matrices):
    metric = metric_of(layout, matrices, of_density)
    layout, mol = layout[0], layout[1][0]
    matrix = random_symmetric(mol.nao)
    vector = irreps_of(layout, mol, matrix)
    assert vector @ (metric.scaled(vector) @ vector) == pytest.approx(1, rel=1e-4)
    assert metric.plain * np.sum(matrix**2) == pytest.approx(PLAIN_SHARE, rel=1e-4)


def band_energy(fock, of):
    """The energy in ``fock`` of the five orbitals that are lowest in ``of``, and their density matrix."""
    orbitals = scipy.linalg.eigh(of)[1][:, :5]
    dm = 2 * orbitals @ orbitals.T
    return np.vdot(fock, dm), dm


@pytest.mark.parametrize("of_density, factor", [(False, 2.0), (True, 0.5)])
def test_the_metric_predicts_the_second_order_energy(of_density, factor, layout, matrices):
    """In a fixed Fock matrix, of the density matrix that a wrong Fock matrix gives, and of one that is wrong itself."""
    layout, mol = layout[0], layout[1][0]
    fock = (matrices["orbitals"] * matrices["energies"]) @ matrices["orbitals"].T
    exact, dm = band_energy(fock, fock)
    wrong = 1e-3 * random_symmetric(mol.nao)
    energy, wrong_dm = band_energy(fock, fock + wrong)
    nothing = np.zeros((mol.nao, mol.nao)) if of_density else None
    metric = MatrixMetric.of(layout.assembly(0, mol), matrices["orbitals"], matrices["energies"], 5, nothing)
    vector = irreps_of(layout, mol, wrong_dm - dm if of_density else wrong)
    assert energy > exact
    assert energy - exact == pytest.approx(factor * (vector @ (metric @ vector)), rel=0.02)


def test_charges_are_repelled_as_their_distance_says(layout):
    mol = layout[1][0]
    coulomb, (_, _, _, oxygen) = coulomb_of_charges(mol), mol.aoslice_by_atom()[0]
    assert coulomb == pytest.approx(coulomb.T) and np.linalg.eigvalsh(coulomb).min() > -1e-10
    assert coulomb[:oxygen, :oxygen] == pytest.approx(HARDNESS) and len(np.unique(coulomb.round(9))) > 2
    far = mol.set_geom_(mol.atom_coords() * [[1], [1000], [-1000]], unit="Bohr", inplace=False)
    assert coulomb_of_charges(far)[0, -1] == pytest.approx(1 / np.linalg.norm(far.atom_coords()[2]), rel=1e-4)


class Banded:
    """A metric whose neighbouring irreps are coupled by a quarter of what they have themselves."""

    def __init__(self, diagonal):
        self.root = np.sqrt(diagonal)

    def __matmul__(self, vector):
        scaled = self.root * vector
        return self.root * (scaled + 0.25 * (np.roll(scaled, 1) + np.roll(scaled, -1)))


@pytest.mark.parametrize("items, coupled", [(3000, True), (300, False)])
def test_mean_blocks_are_about_those_of_the_metric(items, coupled):
    diagonal = np.array([1.0, 4.0, 0.25])
    index = np.arange(3 * items).reshape(items, 1, 3)
    problem = BlockProblem(Design({}, {"only": index}, np.array([0, index.size])), np.ones(index.size, np.float32),
                           [Banded(np.tile(diagonal, items))])
    expected = np.diag(diagonal)
    if coupled:  # in few items, the estimate of what is off the diagonal would be noise
        expected[0, 1] = expected[1, 0] = 0.25 * 2.0
        expected[1, 2] = expected[2, 1] = 0.25 * 1.0
    found = problem.mean_blocks()["only"]
    assert found == pytest.approx(expected, abs=0.1) and np.linalg.eigvalsh(found).min() >= 0


def test_the_solver_finds_weights_through_the_metric(layout, matrices):
    """Irreps of one molecule that are linear in random features of its atoms are learned."""
    layout, mol = layout[0], layout[1][0]
    rng = np.random.default_rng(4)
    indices = {((8,), irrep): index[:1] for irrep, index in layout.indices((8,)).items()}
    features = {key: rng.normal(size=(index.shape[1], 2)).astype(np.float32) for key, index in indices.items()}
    design = Design(features, indices, layout.offsets[:2])
    true = {key: rng.normal(size=(index.shape[2], 2)) for key, index in indices.items()}
    metric = MatrixMetric.of(layout.assembly(0, mol), matrices["orbitals"], matrices["energies"], 5)
    target = design.predict(true)
    problem = BlockProblem(design, target, [metric.scaled(target)])
    assert problem.losses({}) == pytest.approx([1], rel=1e-3)
    assert problem.losses(solve(problem, 1e-8, 200, progress=False)) < 1e-3


# -- matrices --

def test_matrices_are_symmetric_and_density_matrices_idempotent(matrices):
    assert set(matrices) == {"density", "density_hf", "density_0", "fock", "fock_hf", "exchange", "exchange_hf",
                             "orbitals", "energies", *(f"long_range_{omega}" for omega in OMEGAS)}
    for name, matrix in matrices.items():
        if name not in ("orbitals", "energies"):
            assert matrix == pytest.approx(matrix.T, abs=1e-5 * np.abs(matrix).max())
    for name in ("density", "density_hf", "density_0"):
        assert np.trace(matrices[name]) == pytest.approx(10, abs=1e-4)
        assert matrices[name] @ matrices[name] == pytest.approx(2 * matrices[name], abs=1e-5)
    assert matrices["orbitals"].T @ matrices["orbitals"] == pytest.approx(np.eye(24), abs=1e-5)


def test_orbitals_are_those_of_the_density(matrices):
    """Of the same functional, they leave next to nothing of the density matrix between occupied and virtual ones."""
    occupied, virtual = np.split(matrices["orbitals"], [5], axis=1)
    assert np.abs(occupied.T @ matrices["density"] @ virtual).max() < 5e-3
    atoms = scf.hf.init_guess_by_minao(mol_of(label_of("O-0.06")))
    assert np.linalg.norm(atoms - matrices["density"]) > 0.1


@pytest.mark.parametrize("name", ["O-0.06", "[NH4+]-0.06"])
def test_the_density_route_starts_where_training_does(name):
    """Also where the reference molecule, which knows no charge, has another number of electrons."""
    label = label_of(name)
    mol, found = mol_of(label), matrices_of(label)
    start, reference = found["density_0"].astype(float), reference_molecule(mol, "def2-svp")
    assert free_atoms.density_matrix(reference, "pbe", electrons_by_orbital(mol)) == pytest.approx(start, abs=1e-5)
    difference = found["density"].astype(float) - start
    blocks = Blocks.split((difference + difference.T) / 2, mol, np.inf)
    prediction = DensityBlocks("def2-svp", blocks, np.zeros(mol.natm), "pbe")
    dm, report = routes.density_matrix(dft.RKS(mol, xc="pbe"), prediction)
    root = overlap_root(mol)
    assert root @ dm @ root == pytest.approx(found["density"], abs=1e-5)
    assert report.occupation_gap > 0.999 and np.max(report.electrons_moved) < 1e-3


def test_a_degenerate_frontier_is_filled_alike():
    energies = np.diag([-1.0, -0.5, -0.5 + 1e-6, 0.3])
    assert free_atoms.lowest_filled(energies, np.array([2.0, 2.0])) == pytest.approx(np.diag([2, 1, 1, 0]))
    assert free_atoms.lowest_filled(energies, np.array([2.0, 2.0, 1.0])) == pytest.approx(np.diag([2, 1.5, 1.5, 0]))


# Eh: the densities are fitted, and the grids are of other levels than the route's.
FITTED = 5e-5
# Functionals of which the matrices are those of the label's own levels.
EXACT = {"hf": (lambda mol: scf.RHF(mol), 1.0), "pbe": (lambda mol: dft.RKS(mol, xc="pbe"), 0.0)}


@pytest.mark.parametrize("name", ["O-0.06", "[NH4+]-0.06"])
@pytest.mark.parametrize("xc", EXACT)
def test_the_fock_route_gives_the_fock_matrix_s_orbitals_back(xc, name):
    label = label_of(name)
    found, mol = matrices_of(label), mol_of(label)
    mf = EXACT[xc][0](mol)
    matrix = found["fock_hf" if xc == "hf" else "fock"].astype(float)
    prediction = fock_blocks(mol, matrix, AuxiliaryDensity.free_atoms(mol.natm))
    assert 0 < above(mf, prediction) < FITTED


@pytest.mark.parametrize("name", ["O-0.06", "[NH4+]-0.06"])
def test_exchange_with_its_density_gives_hartree_fock_s_orbitals(name):
    label = label_of(name)
    mol = mol_of(label)
    prediction = fock_blocks(mol, matrices_of(label)["exchange_hf"].astype(float), fitted(label, "hf/def2-svp"))
    assert 0 < above(scf.RHF(mol), prediction) < FITTED


def test_exchange_of_pbe_orbitals_mixed_by_share_gives_a_hybrid_s_orbitals(water):
    found, mol = matrices_of(water), mol_of(water)
    exchange, difference = found["exchange"].astype(float), (found["exchange_hf"] - found["exchange"]).astype(float)
    pbe, hf = (water.coefficients[level].astype(float) for level in ("pbe/def2-svp", "hf/def2-svp"))
    share = 0.25
    density = fitted(water, "pbe/def2-svp", (1 - share) * pbe + share * hf)
    mf = dft.RKS(mol, xc="pbe0")
    alone = above(mf, density, [exchange_note(share)])
    assert 0 < above(mf, fock_blocks(mol, share * exchange + share**2 * difference, density)) < 0.1 * alone


def fitted(label, level, coefficients=None):
    """The label's density as a prediction."""
    auxmol = auxiliary_mole(mol_of(label))
    coefficients = label.coefficients[level].astype(float) if coefficients is None else coefficients
    return AuxiliaryDensity.split(AUXBASIS, coefficients - free_atom_coefficients(auxmol), auxmol)


def fock_blocks(mol, matrix, density):
    blocks = Blocks.split((matrix + matrix.T) / 2, mol, np.inf)
    return FockBlocks("def2-svp", blocks, np.zeros(mol.natm), density)


def above(mf, prediction, notes=()):
    """How far the energy of the route's guess lies above the converged one, Eh."""
    dm, report = routes.density_matrix(mf, prediction)
    assert report.objection() is None and report.notes == list(notes)
    return mf.energy_tot(dm) - mf.run(conv_tol=1e-10).e_tot


def test_long_range_exchange_is_that_of_pyscf(water, matrices):
    mol, orbitals = mol_of(water), water.orbitals["hf/def2-svp"].astype(float)
    inverse = np.linalg.inv(overlap_root(mol))
    for omega in OMEGAS:
        exact = -0.5 * scf.hf.get_jk(mol, 2 * orbitals @ orbitals.T, omega=omega)[1]
        assert matrices[f"long_range_{omega}"] == pytest.approx(inverse @ exact @ inverse, abs=2e-4)


# -- files --

def test_matrices_resume_and_leave_nothing_half_written(tmp_path):
    chosen = [label_of(name) for name in ("O-0.0", "O-0.06")]
    prepare_matrices(chosen, tmp_path, {"density", "energies"}, jobs=1, progress=False)
    kept, lost = (matrices_path(tmp_path, label, DENSITIES) for label in chosen)
    assert set(tmp_path.iterdir()) == {kept, lost}
    before = kept.stat().st_mtime_ns
    lost.unlink()
    # A kill in the middle of writing leaves a file of another name.
    lost.with_suffix(".4711").write_bytes(b"half")
    prepare_matrices(chosen, tmp_path, {"density", "energies"}, jobs=1, progress=False)
    assert kept.stat().st_mtime_ns == before
    found, expected = read_matrices(tmp_path, chosen[1], ("density", "energies")), matrices_of(chosen[1])
    assert set(found) == {"density", "energies"} and found["density"].dtype == np.float32
    assert found["density"] == pytest.approx(expected["density"], abs=1e-6)
    for content in (b"", lost.read_bytes()[:-400], b"half"):
        lost.write_bytes(content)
        with pytest.raises(ValueError, match=f"{lost.name}: damaged matrices .*; delete it"):
            read_matrices(tmp_path, chosen[1], ("density",))
    np.savez(lost, density=np.eye(2))
    with pytest.raises(ValueError, match="energies.*; delete it and start again"):
        read_matrices(tmp_path, chosen[1], ("density", "energies"))
    prepare_matrices(chosen, tmp_path, {"fock"}, jobs=1, progress=False)
    both = read_matrices(tmp_path, chosen[0], ("fock", "density"))
    assert both.keys() == {"fock", "density"} and set(tmp_path.iterdir()) == {
        lost.with_suffix(".4711"), *(matrices_path(tmp_path, label, part)
                                     for label in chosen for part in (DENSITIES, OPERATORS))}
