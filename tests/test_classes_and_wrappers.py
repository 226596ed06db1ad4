"""PySCF's SCF classes and what users wrap them in, with 'ml' as the default and with every SCF two-level.

Each is served, or plain PySCF with one line in its log; the energy is the same, and nobody gets a warning.
"""

import io
import multiprocessing
import pickle
import warnings

import numpy as np
import pytest
from conftest import WATER
from pyscf import dft, gto, lib, mcscf, qmmm, scf, sgx
from pyscf.scf import addons, hf

from pyscf_mlguess import GuessRefused, accelerated
from pyscf_mlguess.stages import listening

OXYGEN = {"atom": "O 0 0 0; O 0 0 1.21", "spin": 2}
# The learned guess alone is refused for them: their density is unlike the predicted one.
CATION = {"charge": 1, "spin": 1}


def molecule(atom=WATER, basis="6-31g", **kwargs):
    return gto.M(atom=atom, basis=basis, verbose=0, **kwargs)


def kohn_sham(xc="pbe", cls=dft.KS, **kwargs):
    mf = cls(molecule(**kwargs), xc=xc)
    mf.grids.level = mf.nlcgrids.level = 0
    return mf


def moved(mol):
    return mol.set_geom_(1.02 * mol.atom_coords(), unit="Bohr", inplace=False)


def solvent(kind, **settings):
    mf = getattr(kohn_sham(), kind)()
    for name, value in settings.items():
        setattr(mf.with_solvent, name, value)
    return mf


def dispersion(name):
    pytest.importorskip("pyscf.dispersion", reason="pyscf-dispersion is not installed")
    return kohn_sham().set(disp=name)


def from_chkfile():
    done = kohn_sham().run()
    mf = kohn_sham().set(chkfile=done.chkfile, init_guess="chkfile")
    mf._file = done._chkfile  # removed with its owner otherwise
    return mf


SERVED = {
    "RHF": lambda: scf.RHF(molecule()),
    "UHF": lambda: scf.UHF(molecule(**CATION)),
    "ROHF": lambda: scf.ROHF(molecule(**CATION)),
    "RKS": kohn_sham,
    "UKS": lambda: kohn_sham(cls=dft.UKS, **CATION),
    "ROKS": lambda: kohn_sham(cls=dft.ROKS, **CATION),
    "RKS spin-free X2C": lambda: kohn_sham().x2c(),
    "UHF spin-free X2C": lambda: scf.UHF(molecule(**CATION)).sfx2c1e(),
    "one electron UKS": lambda: kohn_sham(cls=dft.UKS, atom="H 0 0 0", spin=1),
    "helium": lambda: kohn_sham(atom="He 0 0 0"),
    "hydrogen": lambda: kohn_sham(atom="H 0 0 0; H 0 0 0.74"),
    "density fitting": lambda: kohn_sham("b3lyp").density_fit(),
    "density fitting of J alone": lambda: kohn_sham("b3lyp").density_fit(only_dfj=True),
    "SGX": lambda: sgx.sgx_fit(scf.RHF(molecule())),
    "symmetry": lambda: kohn_sham(symmetry=True),
    "symmetry UKS": lambda: kohn_sham(cls=dft.UKS, symmetry=True, **OXYGEN),
    "irrep_nelec": lambda: kohn_sham(symmetry=True).set(irrep_nelec={"A1": 6, "B1": 2, "B2": 2}),
    "smearing": lambda: kohn_sham().smearing(sigma=0.01),
    "smearing UKS": lambda: kohn_sham(cls=dft.UKS, **OXYGEN).smearing(sigma=0.01, method="gaussian"),
    "level shift": lambda: kohn_sham().set(level_shift=0.3),
    "level shift UKS": lambda: kohn_sham(cls=dft.UKS, **CATION).set(level_shift=(0.3, 0.2)),
    "dynamic level shift": lambda: addons.dynamic_level_shift(kohn_sham()),
    "damping": lambda: kohn_sham().set(damp=0.4),
    "short DIIS": lambda: kohn_sham().set(diis_space=3, diis_start_cycle=3),
    "no check at the end": lambda: kohn_sham().set(conv_check=False),
    "no chkfile": lambda: kohn_sham().set(chkfile=None),
    "QM/MM": lambda: qmmm.mm_charge(kohn_sham(), [[0.0, 0.0, 4.0]], [0.5], radii=[1.0]),
    "C-PCM": lambda: solvent("PCM"),
    "IEF-PCM": lambda: solvent("PCM", method="IEF-PCM"),
    "SMD": lambda: solvent("SMD", solvent="water"),
    "ddCOSMO": lambda: solvent("ddCOSMO"),
    "D3": lambda: dispersion("d3bj"),
    "D4": lambda: dispersion("d4"),
    "wB97M-V": lambda: kohn_sham("wb97m-v"),
    "B97M-V": lambda: kohn_sham("b97m-v"),
    "own functional": lambda: kohn_sham().define_xc_("0.8*PBE, PBE", "GGA", hyb=0.2),
    "own omega": lambda: kohn_sham("camb3lyp").set(omega=0.2),
    "ghost atom": lambda: kohn_sham(atom=WATER + "; ghost-O 0 0 3"),
    "core potential": lambda: kohn_sham(atom="I 0 0 0; I 0 0 2.67", basis="def2-svp", ecp="def2-svp"),
    "cartesian": lambda: kohn_sham(cart=True, basis="def2-svp"),
    "direct": lambda: kohn_sham("b3lyp").set(direct_scf=False),
    "density matrix as guess": lambda: (lambda mf: mf.set(init_guess=hf.init_guess_by_minao(mf.mol)))(kohn_sham()),
    "guess of the user": lambda: kohn_sham().set(init_guess="huckel"),
    "chkfile": from_chkfile,
    "reset": lambda: (lambda mf: mf.reset(moved(mf.mol)))(kohn_sham().run()),
    "pickle": lambda: pickle.loads(pickle.dumps(kohn_sham())),
    "run again": lambda: kohn_sham().run(max_cycle=2).set(max_cycle=50),
    "to UKS": lambda: kohn_sham().run().to_uks(),
    "to HF": lambda: kohn_sham().run().to_hf(),
}
LEFT_ALONE = {
    "GHF": lambda: scf.GHF(molecule()),
    "GHF symmetry": lambda: scf.GHF(molecule(symmetry=True)),
    "GHF X2C": lambda: scf.GHF(molecule()).x2c(),
    "GKS": lambda: kohn_sham("lda", dft.GKS),
    "DHF": lambda: scf.DHF(molecule("He 0 0 0")),
    "DKS": lambda: dft.DKS(molecule("He 0 0 0"), xc="lda"),
    "spinor X2C": lambda: scf.X2C(molecule()),
    "newton": lambda: kohn_sham().newton(),
    "newton of density fitting": lambda: kohn_sham().density_fit().newton(),
    "density fitting of newton": lambda: kohn_sham().newton().density_fit(),
    "newton UKS": lambda: kohn_sham(cls=dft.UKS, **CATION).newton(),
    "fractional occupation": lambda: addons.frac_occ(kohn_sham()),
    "dynamic occupation": lambda: addons.dynamic_occ(kohn_sham()),
    "ADIIS": lambda: kohn_sham().set(DIIS=scf.ADIIS),
    "no DIIS": lambda: kohn_sham("hf").set(diis=None),
    "no memory": lambda: scf.RHF(molecule()).set(max_memory=1),
}
# Not an SCF of PySCF's usual drivers.
NO_DRIVER = {"one electron": lambda: scf.RHF(molecule("H 0 0 0", spin=1))}


def logged(mf):
    """``mf`` after a run, and what its log says of this package; a warning of a refusal is an error."""
    log = mf.stdout = io.StringIO()
    mf.verbose = 3
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuessRefused)
        mf.kernel()
    return mf, [line for line in log.getvalue().splitlines() if "two-level" in line or "falling back" in line]


def same(mf, plain):
    return mf.converged and plain.converged and mf.e_tot == pytest.approx(plain.e_tot, abs=1e-8)


@pytest.mark.parametrize("name", SERVED)
def test_served_by_the_two_level_scf(name, taking_part):
    plain = SERVED[name]().run()
    mf = SERVED[name]()
    cls, names = type(mf), vars(plain).keys()
    with accelerated(), listening() as times:
        mf, lines = logged(mf)
    assert same(mf, plain) and lines == [] and times.counts["cheap_iterations"]
    assert type(mf) is cls and vars(mf).keys() == names and mf.cycles <= max(4, plain.cycles // 2)


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_left_to_plain_pyscf_with_one_line(name, taking_part):
    plain, mf = LEFT_ALONE[name]().run(), LEFT_ALONE[name]()
    with accelerated(), listening() as times:
        mf, lines = logged(mf)
    assert same(mf, plain) and len(lines) == 1 and not times.counts["cheap_iterations"] and mf.cycles == plain.cycles


@pytest.mark.parametrize("name", SERVED | LEFT_ALONE | NO_DRIVER)
def test_the_learned_guess_as_default(name, monkeypatch):
    make = (SERVED | LEFT_ALONE | NO_DRIVER)[name]
    plain = make().run()
    monkeypatch.setattr(hf.SCF, "init_guess", "ml")
    mf, lines = logged(make())
    assert same(mf, plain) and len(lines) <= 1 and all("refused, falling back to " in line for line in lines)


def second_step(mf):
    scanner = mf.as_scanner()
    scanner(mf.mol)
    return scanner(moved(mf.mol))


def optimised(solver):
    pytest.importorskip({"geometric": "geometric", "berny": "berny"}[solver])
    optimizer = kohn_sham().nuc_grad_method().optimizer(solver=solver)
    optimizer.max_cycle = 10
    return kohn_sham().reset(optimizer.kernel()).run().e_tot


def follow_up():
    """The singlet of stretched H2, down from its restricted solution."""
    mf = kohn_sham(cls=dft.UKS, atom="H 0 0 0; H 0 0 2.5").set(init_guess_breaksym=0).run()
    return mf.kernel(mf.make_rdm1(mf.stability()[0], mf.mo_occ))


def in_another_process():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply_async(_energy).get(timeout=300)


def _energy():
    """Of one thread: those of GNU's OpenMP do not survive a fork, and a parallel region would wait for them."""
    with lib.with_omp_threads(1):
        return kohn_sham().run().e_tot


def tight(mf):
    return mf.set(conv_tol=1e-11).run()


ON_TOP = {
    "scanner": lambda: second_step(kohn_sham()),
    "scanner of solvent": lambda: second_step(solvent("PCM")),
    "scanner of UHF": lambda: second_step(scf.UHF(molecule(**CATION))),
    "scanner of CCSD": lambda: second_step(tight(scf.RHF(molecule())).CCSD()),
    "scanner of CASSCF": lambda: second_step(mcscf.CASSCF(tight(scf.RHF(molecule())), 4, 4)),
    "gradients": lambda: np.linalg.norm(tight(kohn_sham()).nuc_grad_method().kernel()),
    "Hessian": lambda: np.linalg.norm(tight(kohn_sham()).Hessian().kernel()),
    "geomeTRIC": lambda: optimised("geometric"),
    "PyBerny": lambda: optimised("berny"),
    "TDDFT": lambda: tight(kohn_sham()).TDDFT().run(nstates=3).e[2],
    "TDA of UKS": lambda: tight(kohn_sham(cls=dft.UKS, **CATION)).TDA().run(nstates=2).e[1],
    "MP2": lambda: tight(scf.RHF(molecule()).density_fit()).MP2().run().e_tot,
    "UCCSD": lambda: tight(scf.UHF(molecule(**CATION))).CCSD().run().e_tot,
    "CASSCF": lambda: mcscf.CASSCF(tight(scf.RHF(molecule())), 4, 4).run().e_tot,
    "stability and follow-up": follow_up,
    "another process": in_another_process,
}


@pytest.mark.parametrize("way", ["ml is the default", "two-level"])
@pytest.mark.parametrize("name", ON_TOP)
def test_what_is_built_on_it(name, way, taking_part, monkeypatch):
    expected = ON_TOP[name]()
    if way == "two-level":
        with accelerated():
            found = ON_TOP[name]()
    else:
        monkeypatch.setattr(hf.SCF, "init_guess", "ml")
        found = ON_TOP[name]()
    # Excitation energies, gradients and curvatures are as right as the SCF's own threshold makes them.
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.filterwarnings("error::pyscf_mlguess.refusal.GuessRefused")
def test_rohf_with_more_beta_electrons(taking_part):
    """PySCF never finds it converged: its gradient is that of more alpha electrons."""
    energies = [scf.ROHF(molecule(spin=2)).run().e_tot]
    with accelerated():
        energies.append(scf.ROHF(molecule(spin=-2)).run().e_tot)
    assert energies[1] == pytest.approx(energies[0], abs=1e-7)
