"""The values of ``mf.init_guess`` that are ours, and slips of the pen, which must not end in a silent minao."""

import numpy as np
import pytest
from conftest import WATER
from pyscf import gto, scf

import pyscf_mlguess
from pyscf_mlguess import hook, two_level
from pyscf_mlguess.keys import GuessKey

OURS = {
    "ml": GuessKey("default"),
    "ML": GuessKey("default"),
    "ml:linear-ace-3": GuessKey("linear-ace-3"),
    "Ml:/Some/Path.safetensors": GuessKey("/Some/Path.safetensors"),
    "ml:C:/a+refine": GuessKey("C:/a+refine"),
    "ml+refine": GuessKey("default"),
    "ML+Refine:x": GuessKey("x"),
    "ml+refine:/a:b+refine": GuessKey("/a:b+refine"),
    "minao+refine": GuessKey(plain="minao"),
    "SAP+Refine": GuessKey(plain="SAP"),
    "chk+refine": GuessKey(plain="chk"),
}
SLIPS = ["ml+refined", "ml+", "ml:", "ml+refine:", "mlx", "ml_refine", "ml refine", "ml+refine+refine", "mlx+refine",
         "minao+refined", "minao+ref", "mianao+refine", "+refine", "nonsense+refine"]
THEIRS = ["minao", "MINAO", "atom", "huckel", "mod_huckel", "1e", "hcore", "sap"]


@pytest.fixture
def water():
    return gto.M(atom=WATER, basis="sto-3g", verbose=0)


@pytest.mark.parametrize("key", OURS)
def test_a_key_is_taken_apart(key):
    assert GuessKey.parse(key) == OURS[key]
    assert GuessKey.parse(key).is_learned == (OURS[key].model is not None)


@pytest.mark.parametrize("key", [*OURS, *THEIRS, "chkfile", "vsap"])
def test_known_keys_are_ours_and_pyscf_s(key):
    assert GuessKey.known(key) == OURS.get(key)


@pytest.mark.parametrize("key", ["minoa", "nonsense", "mlx"])
def test_what_pyscf_would_take_for_minao_is_not_known(key):
    with pytest.raises(ValueError, match=f"init_guess = {key!r}.*'ml'"):
        GuessKey.known(key)


@pytest.mark.parametrize("key", [*THEIRS, "chkfile", "vsap", "nonsense", None, np.eye(2)], ids=str)
def test_what_is_pyscf_s_is_left_to_it(key):
    assert GuessKey.parse(key) is None


@pytest.mark.parametrize("key", SLIPS)
def test_a_slip_of_the_pen_is_an_error_that_lists_the_keys(key, water):
    with pytest.raises(ValueError) as caught:
        GuessKey.parse(key)
    for expected in (f"init_guess = {key!r}", "'ml'", "'ml:<model name or path>'", "'minao+refine'",
                     "minao, atom, huckel"):
        assert expected in str(caught.value)
    for mf in (scf.RHF(water), two_level(scf.RHF(water))):
        mf.init_guess = key
        with pytest.raises(ValueError, match="is no key of pyscf_mlguess"):
            mf.kernel()


@pytest.mark.parametrize("key", THEIRS)
def test_pyscf_s_keys_give_pyscf_s_matrices(key, water):
    mf = scf.RHF(water)
    dm = mf.get_init_guess(water, key)
    hook.unregister()
    try:
        np.testing.assert_allclose(dm, mf.get_init_guess(water, key), rtol=0, atol=1e-12)
    finally:
        hook.register()


@pytest.mark.parametrize("key", ["minao", "minao+refine", "1e", "mlx", "ml:", None])
def test_the_function_takes_learned_keys_alone(key, water):
    with pytest.raises(ValueError, match="ml"):
        pyscf_mlguess.guess(scf.RHF(water), key)
