import pytest
from pyscf import gto

from pyscf_mlguess.level import basis_size, triple_zeta_share

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
