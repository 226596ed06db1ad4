import pytest
from pyscf import dft, gto, scf

from pyscf_mlguess.level import LevelOfTheory, basis_size, triple_zeta_share

MOLECULE = "O 0 0 0; H 0 0 1; H 0 1 0; C 0 0 -1.2"


@pytest.mark.parametrize("basis, share", [("sto-3g", 0), ("6-31g*", 0), ("def2-svp", 0), ("def2-tzvp", 1),
                                          ("cc-pvtz", 1), ("def2-qzvp", 1)])
def test_common_bases(basis, share):
    assert triple_zeta_share(gto.M(atom=MOLECULE, basis=basis)) == share


def test_between_the_families_the_share_grows_with_the_basis():
    shares = [triple_zeta_share(gto.M(atom=MOLECULE, basis=basis)) for basis in ("6-31+g*", "6-311g**", "aug-cc-pvdz")]
    assert 0 < shares[0] < shares[1] < shares[2] < 1


def test_cartesian_functions_and_ghost_atoms_do_not_count():
    plain = triple_zeta_share(gto.M(atom=MOLECULE, basis="6-311g**"))
    assert triple_zeta_share(gto.M(atom=MOLECULE, basis="6-311g**", cart=True)) == plain
    assert triple_zeta_share(gto.M(atom=MOLECULE + "; ghost-O 3 3 3", basis="6-311g**")) == plain


@pytest.mark.parametrize("symbol", ["H", "S", "I"])
def test_sizes_are_those_of_pyscf(symbol):
    for basis in ("def2-svp", "def2-tzvp"):
        ecp = {"I": basis} if symbol == "I" else {}
        mol = gto.M(atom=f"{symbol} 0 0 0", basis=basis, ecp=ecp, spin=0 if symbol == "S" else 1)
        assert basis_size(gto.charge(symbol), basis) == mol.nao


@pytest.mark.parametrize("xc, short, long, omega", [
    ("pbe", 0, 0, 0), ("b3lyp", 0.2, 0.2, 0), ("m062x", 0.54, 0.54, 0), ("camb3lyp", 0.19, 0.65, 0.33),
    ("hse06", 0.25, 0, 0.11), ("lrc-wpbe", 0, 1, 0.3), ("hf", 1, 1, 0)])
def test_shares_of_exact_exchange(xc, short, long, omega):
    level = LevelOfTheory.of(dft.RKS(gto.M(atom=MOLECULE, basis="def2-svp"), xc=xc))
    assert (level.short_range_exchange, level.long_range_exchange, level.omega) == (short, long, omega)
    assert level.exact_exchange == max(short, long) and level.is_semilocal == (xc == "pbe")
    assert level.triple_zeta == 0


def test_hartree_fock_has_all_of_it():
    assert LevelOfTheory.of(scf.RHF(gto.M(atom=MOLECULE, basis="def2-tzvp"))) == LevelOfTheory(1.0, 1.0, 0.0, 1.0)
