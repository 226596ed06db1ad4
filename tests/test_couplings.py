import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from conftest import irrep_rotation

from pyscf_mlguess.couplings import LMAX, clebsch_gordan, from_e3nn
from pyscf_mlguess.models.linear_density.compression import coupling_coefficients

EVERY = [(l1, l2, l) for l1, l2 in product(range(LMAX + 1), repeat=2) for l in range(abs(l1 - l2), l1 + l2 + 1)]


def test_stored_tensors_are_those_of_e3nn():
    pytest.importorskip("e3nn")
    tensors = from_e3nn()
    assert set(tensors) == {"/".join(map(str, key)) for key in EVERY}
    for key in EVERY:
        found, expected = clebsch_gordan(*key), tensors["/".join(map(str, key))]
        assert found.dtype == np.float64 and found.shape == tuple(2 * l + 1 for l in key)
        assert found == pytest.approx(expected, abs=1e-14)


def test_tensors_couple_the_irreps_of_the_package(rotation):
    wigner = [irrep_rotation(l, rotation) for l in range(2 * LMAX + 1)]
    for l1, l2, l in EVERY:
        tensor = clebsch_gordan(l1, l2, l)
        rotated = np.einsum("ac,bd,abm->cdm", wigner[l1], wigner[l2], tensor)
        assert rotated == pytest.approx(np.einsum("cdn,mn->cdm", tensor, wigner[l]), abs=1e-12)


def test_all_couplings_of_two_irreps_are_an_orthogonal_matrix():
    for l1, l2 in product(range(LMAX + 1), repeat=2):
        size = (2 * l1 + 1) * (2 * l2 + 1)
        matrix = np.concatenate([clebsch_gordan(l1, l2, l).reshape(size, -1)
                                 for l in range(abs(l1 - l2), l1 + l2 + 1)], axis=1)
        assert matrix.T @ matrix == pytest.approx(np.eye(size), abs=1e-13)


def test_exchange_of_the_factors_gives_a_sign():
    for l1, l2, l in EVERY:
        swapped = clebsch_gordan(l2, l1, l).transpose(1, 0, 2)
        assert swapped == pytest.approx((-1) ** (l1 + l2 + l) * clebsch_gordan(l1, l2, l), abs=1e-14)


def test_tensors_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        clebsch_gordan(1, 1, 2)[0, 0, 0] = 1.0


@pytest.mark.parametrize("key, message", [((1, 1, 3), "l1 = 1 and l2 = 1 do not couple to l = 3"),
                                          ((2, 0, 1), "do not couple to l = 1"), ((-1, 1, 0), "do not couple"),
                                          ((5, 1, 4), "l1 = 5, l2 = 1: they end at l = 4")])
def test_what_is_not_stored_is_a_clear_error(key, message):
    with pytest.raises(ValueError, match=message):
        clebsch_gordan(*key)


def test_coefficients_of_the_features_need_no_torch():
    keys = list(coupling_coefficients(3))
    assert keys == [key for key in EVERY if key[0] <= key[1] and max(key) <= 3 and sum(key) % 2 == 0]
    script = ("import sys; from pyscf_mlguess.models.linear_density.compression import coupling_coefficients as c; "
              "c(4); sys.exit('torch' in sys.modules or 'e3nn' in sys.modules)")
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_e3nn_writing_the_file_names_the_extra():
    script = ("import runpy, sys; sys.modules['e3nn'] = None; "
              "runpy.run_module('pyscf_mlguess.couplings', run_name='__main__')")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].endswith("pip install '.[network]' in a clone of the repository")
    assert "Traceback" not in run.stderr
