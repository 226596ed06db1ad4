import numpy as np
import pytest
from pyscf import gto

from pyscf_mlguess.shells import LMAX, irrep_indices, real_spherical_harmonics


@pytest.mark.parametrize("l", range(LMAX + 1))
def test_components_are_those_of_pyscf_and_e3nn(l):
    torch = pytest.importorskip("torch")
    from e3nn import o3

    mol = gto.M(atom="He", basis={"He": [[l, [1.0, 1.0]]]}, verbose=0)
    points = np.random.default_rng(l).normal(size=(7, 3))
    unit = points / np.linalg.norm(points, axis=1)[:, None]
    values = mol.eval_gto("GTOval_sph", unit)[:, irrep_indices(mol)[0][l][0]]
    ours = real_spherical_harmonics(unit, l)
    ratio = np.linalg.norm(values, axis=1) / np.linalg.norm(ours, axis=1)
    assert values == pytest.approx(ours * ratio[:, None], abs=1e-12)
    e3nn_values = o3.spherical_harmonics(l, torch.tensor(unit[:, [1, 2, 0]]), True, "norm").numpy()
    assert ours == pytest.approx(e3nn_values, abs=1e-12)


def test_irrep_indices_cover_every_function_once_with_general_contractions():
    mol = gto.M(atom="C 0 0 0; Ghost-O 0 0 2; H 0 0 1", basis="ano", verbose=0, spin=None)
    found = np.concatenate([index.ravel() for atom in irrep_indices(mol) for index in atom.values()])
    assert sorted(found) == list(range(mol.nao))
    assert irrep_indices(mol)[0][1].shape[1] == 3
