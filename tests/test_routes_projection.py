import numpy as np
import pytest
from conftest import FORMAMIDE, WATER
from oracles import blocks_of
from pyscf import gto, scf

from pyscf_mlguess.predictions import DensityBlocks
from pyscf_mlguess.refusal import Refusal
from pyscf_mlguess.routes.projection import Reference, electrons_by_orbital, occupy_space, reference_molecule
from pyscf_mlguess.scf_copy import ScfCopy

IODINE = "I 0 0 0; Cl 0 0 2.3"


def reference(mol, basis="def2-svp"):
    """The reference of a prediction for ``mol``, whatever it says."""
    known = reference_molecule(mol, basis)
    return Reference(ScfCopy(scf.RHF(mol)), blocks_of(DensityBlocks, known, np.eye(known.nao), basis))


def random_orbitals(ovlp, count):
    """Orthonormal orbitals, (nao, count)."""
    values, vectors = np.linalg.eigh(ovlp)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=ovlp.shape))[0][:, :count]
    return vectors @ (turned / np.sqrt(values)[:, None])


def test_the_reference_has_the_real_atoms_and_the_potentials_of_its_basis():
    mol = gto.M(atom="I1 0 0 0; Ghost-H 0 0 1; Br2 0 0 2.5; H@3 1 0 4", basis="def2-tzvp", ecp={"I1": "def2-tzvp"},
                charge=2, spin=1, cart=True, unit="Bohr", verbose=0)
    found = reference_molecule(mol, "def2-svp")
    assert found.elements == ["I", "Br", "H"] and not found.cart
    assert found.atom_coords() == pytest.approx(mol.atom_coords()[[0, 2, 3]], abs=1e-12)
    assert [found.atom_nelec_core(i) for i in range(3)] == [28, 0, 0]
    assert found.nao == sum(gto.M(atom=symbol, basis="def2-svp", spin=None, verbose=0).nao for symbol in found.elements)


def test_other_cores_are_refused():
    all_electron = gto.M(atom=IODINE, basis="sto-3g", verbose=0)
    with pytest.raises(Refusal, match=r"replaces 0 electrons of atom 0 \(I\), in the model's basis def2-svp 28"):
        reference_molecule(all_electron, "def2-svp")
    replaced = gto.M(atom=IODINE, basis="def2-svp", ecp={"I": "def2-svp"}, verbose=0)
    with pytest.raises(Refusal, match=r"replaces 28 electrons of atom 0 \(I\), in the model's basis sto-3g 0"):
        reference_molecule(replaced, "sto-3g")
    assert reference_molecule(all_electron, "sto-3g").nao == all_electron.nao


def test_a_reference_with_fewer_functions_than_orbitals_is_refused():
    anion = gto.M(atom="H 0 0 0", basis="def2-svp", charge=-1, spin=2, verbose=0)
    with pytest.raises(Refusal, match="2 occupied orbitals in a model's basis, sto-3g, of 1 functions"):
        reference_molecule(anion, "sto-3g")


@pytest.mark.parametrize("atom, basis, options, same", [
    (WATER, "def2-svp", {}, True), (WATER, "def2svp", {"symmetry": True}, True),
    (WATER, {"O": gto.load("def2-svp", "O"), "H": gto.load("def2-svp", "H")}, {}, True),
    (WATER, "def2-svp", {"cart": True}, False), (WATER, "6-31g*", {}, False), (WATER, "def2-tzvp", {}, False),
    (WATER + "; Ghost-H 0 0 2", "def2-svp", {}, False),
    (WATER, {"O": gto.load("def2-svp", "O")[:-1] + [[2, [1.2000001, 1.0]]], "H": "def2-svp"}, {}, True),
    (WATER, {"O": gto.load("def2-svp", "O")[:-1] + [[2, [1.21, 1.0]]], "H": "def2-svp"}, {}, False),
])
def test_the_same_functions_are_known_whatever_their_name(atom, basis, options, same):
    assert reference(gto.M(atom=atom, basis=basis, verbose=0, **options)).same == same


@pytest.mark.parametrize("basis, cart", [("6-31g*", True), ("sto-3g", False), ("cc-pvtz", False), ("def2-svp", True)])
def test_projected_orbitals_are_orthonormal_and_the_nearest(basis, cart):
    mol = gto.M(atom=FORMAMIDE, basis=basis, cart=cart, verbose=0)
    found = reference(mol)
    occupied = scf.RHF(found.mol).run().mo_coeff[:, :12]
    ovlp, projected = mol.intor("int1e_ovlp"), found.project(occupied)
    assert projected.T @ ovlp @ projected == pytest.approx(np.eye(12), abs=1e-12)
    # Symmetric and positive: no rotation of the projected orbitals is nearer to the orbitals themselves.
    inner = projected.T @ found.cross @ occupied
    assert inner == pytest.approx(inner.T, abs=1e-10) and np.linalg.eigvalsh(inner).min() > 0.9
    # Any rotation of the orbitals gives the same space.
    turned = found.project(occupied @ np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0])
    assert turned @ turned.T == pytest.approx(projected @ projected.T, abs=1e-10)


def test_linear_dependence_is_left_out():
    mol = gto.M(atom="He 0 0 0; Ghost-He 0 0 1e-7", basis="def2-svp", verbose=0)
    found = reference(mol)
    occupied = scf.RHF(found.mol).run().mo_coeff[:, :1]
    projected = found.project(occupied)
    assert projected.T @ mol.intor("int1e_ovlp") @ projected == pytest.approx(np.eye(1), abs=1e-8)
    assert np.abs(projected).max() < 2


def test_an_orbital_that_the_basis_cannot_hold_is_refused():
    found = reference(gto.M(atom=WATER, basis="sto-3g", verbose=0))
    steep = scf.RHF(found.mol).run().mo_coeff[:, -5:]
    with pytest.raises(Refusal, match=r"holds 0\.\d\d of an occupied orbital .* in def2-svp \(limit 0.5\)"):
        found.project(steep)


@pytest.mark.parametrize("kind, charge, spin", [(scf.RHF, 0, 0), (scf.UHF, 1, 1), (scf.ROHF, 1, 1), (scf.ROHF, 0, -2)])
def test_given_orbitals_are_filled_whatever_orders_them(kind, charge, spin):
    mol = gto.M(atom=WATER, basis="def2-svp", charge=charge, spin=spin, verbose=0)
    copy, electrons = ScfCopy(kind(mol)), electrons_by_orbital(mol)
    orbitals = random_orbitals(copy.ovlp, len(electrons))
    dm = occupy_space(copy, orbitals, electrons, copy.hcore).dm
    total = np.asarray(dm) if np.ndim(dm) == 2 else np.sum(dm, axis=0)
    assert total == pytest.approx((orbitals * electrons) @ orbitals.T, abs=1e-9)
    # Within the filled and within the empty space, the orbitals are those of the core Hamiltonian.
    coefficients = dm.mo_coeff[0] if np.ndim(dm.mo_coeff) == 3 else dm.mo_coeff
    inner = coefficients.T @ copy.hcore @ coefficients
    few = min(mol.nelec)
    for block in (inner[:few, :few], inner[len(electrons):, len(electrons):]):
        assert block - np.diag(np.diag(block)) == pytest.approx(np.zeros_like(block), abs=1e-7)
        assert (np.diff(np.diag(block)) > -1e-7).all()
