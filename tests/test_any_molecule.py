"""Whatever molecule, basis, charge and spin: a guess is whole, or refused for a reason that a user can read.

Of such molecules the learned guess refuses nearly all, and refinement has minao's.
"""

import warnings

import numpy as np
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from pyscf import dft, gto, scf
from pyscf.data.elements import charge
from pyscf.lib.exceptions import BasisNotFoundError
from scipy.spatial.distance import pdist

from pyscf_mlguess import GuessFailed, GuessRefused

KEYS = ("ml", "minao+refine")
ELEMENTS = ("H", "He", "Li", "B", "C", "N", "O", "F", "Na", "Si", "S", "Cl", "Zn", "Br", "ghost-O")
BASES = ("sto-3g", "6-31g", "def2-svp", "cc-pvdz", "6-31+g*", "def2-tzvp")
CLASSES = (scf.RHF, scf.UHF, scf.ROHF, dft.RKS, dft.UKS, dft.ROKS)
FUNCTIONALS = ("lda,vwn", "pbe", "b3lyp", "r2scan", "camb3lyp", "m06")
COORDINATES = st.floats(-2.0, 2.0).map(lambda x: round(x, 3))
# The same examples every time: what others find is for a bug report, not for an unrelated change.
COMMON = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@st.composite
def molecules(draw):
    """One to four atoms anywhere, no two nearer than 0.6 angstrom, with as many unpaired electrons as may be."""
    symbols = draw(st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=4))
    positions = np.array(draw(st.lists(st.tuples(*[COORDINATES] * 3), min_size=len(symbols), max_size=len(symbols))))
    assume(len(symbols) == 1 or pdist(positions).min() > 0.6)
    total = draw(st.integers(-2, 2))
    electrons = sum(charge(s) for s in symbols if not s.startswith("ghost")) - total
    assume(electrons > 0)
    spin = electrons % 2 + 2 * draw(st.integers(0, 1))
    assume(spin <= electrons)
    basis = draw(st.sampled_from(BASES))
    atoms = list(zip(symbols, positions.tolist()))
    try:
        mol = gto.M(atom=atoms, basis=basis, charge=total, spin=draw(st.sampled_from((spin, -spin))), verbose=0,
                    cart=draw(st.booleans()))
    except BasisNotFoundError:
        reject()
    assume(mol.nao >= max(mol.nelec))
    return mol


@st.composite
def mean_fields(draw):
    mol, cls = draw(molecules()), draw(st.sampled_from(CLASSES))
    assume(mol.spin == 0 or cls not in (scf.RHF, dft.RKS))
    mf = cls(mol) if cls.__module__.startswith("pyscf.scf") else cls(mol, xc=draw(st.sampled_from(FUNCTIONALS)))
    if hasattr(mf, "grids"):
        mf.grids.level = 0
    return mf.density_fit() if draw(st.booleans()) else mf


def guess(mf, key):
    """The guess, and what it was refused for."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dm = np.asarray(mf.get_init_guess(key=key))
    assert not [str(w.message) for w in caught if issubclass(w.category, GuessFailed)]
    reasons = [str(w.message) for w in caught if issubclass(w.category, GuessRefused)]
    assert len(reasons) <= 1
    return dm, reasons


def check_electrons(mf, dm):
    counts = np.einsum("...ij,ji->...", dm, mf.get_ovlp())
    assert np.allclose(counts, mf.mol.nelectron if dm.ndim == 2 else mf.mol.nelec, atol=1e-6)


@settings(COMMON, max_examples=25)
@given(mean_fields(), st.sampled_from(KEYS))
def test_a_guess_is_whole_or_refused(mf, key):
    before = vars(mf).keys()
    dm, refused = guess(mf, key)
    assert vars(mf).keys() == before
    assert dm.shape == np.asarray(mf.get_init_guess(key="minao")).shape and np.isfinite(dm).all()
    if not refused:
        check_electrons(mf, dm)


def test_pyscf_mlguess_is_registered():
    """Or the keys above would be PySCF's minao."""
    assert hasattr(scf.hf.SCF.get_init_guess, "__wrapped__")
