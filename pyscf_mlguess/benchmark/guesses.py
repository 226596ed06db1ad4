"""The guesses that a benchmark compares: PySCF's own, its classical rivals, learned ones and oracles."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from pyscf import gto, scf
from pyscf.lib.exceptions import BasisNotFoundError

from pyscf_mlguess import load_model, pipeline, refine
from pyscf_mlguess.benchmark.code_digest import digest_of_code
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.solvers import SOLVERS
from pyscf_mlguess.hook import checked_guess
from pyscf_mlguess.molecules.molecule import Molecule
from pyscf_mlguess.refusal import GuessRefused, Refusal
from pyscf_mlguess.stages import count, stage

# PySCF's own; vsap needs a functional.
CLASSICAL = ("minao", "atom", "huckel", "mod_huckel", "sap", "vsap")
BASELINE = "minao"
# The SCF of the same molecule with density fitting on a coarse grid (its level may follow a colon), converged loosely.
PRE_SCF = "pre-scf"
# projected:<basis>, the orbitals of an SCF in a smaller basis.
PROJECTED = "projected"
# The converged density matrix of the frame before, along a path.
PREVIOUS = "previous"
# Oracles: the converged density matrix itself, and what a perfect prediction of the auxiliary density would give.
CONVERGED, EXACT_FIT = "converged", "exact-fit"
# The learned guess where the gate would refuse it, too: shows whether the gate is right.
UNCHECKED = "ml-unchecked"
# The learned density as it is, not corrected by what its own Fock matrix gives back.
DENSITY_ALONE = "ml-density"
# The learned guess without refinement: its density corrected, twice, by what the model has learned of such corrections.
UNREFINED = "ml-unrefined"
# What no key of PySCF's get_init_guess names: arguments of the pipeline.
_VARIANTS = {UNCHECKED: {"checked": False}, DENSITY_ALONE: {"corrected": False}, UNREFINED: {}}
# <guess>+refine converges the cheap problem first; two-level:<guess> refines and then runs the two-level SCF.
REFINED, TWO_LEVEL = "+refine", "two-level:"
# one-build:<guess> is the two-level SCF that does not verify: a single Fock build and the energy that it predicts.
ONE_BUILD = "one-build:"
_ORACLES = (CONVERGED, EXACT_FIT)
_PRE_SCF_TOLERANCE, _PRE_SCF_GRADIENT = 1e-5, 1e-3
_SMALL_BASIS_TOLERANCE = 1e-6


@dataclass
class Start:
    """What a guess may start from besides the SCF object.

    converged: converged density matrix at this geometry; previous: that of the frame before on a path.
    scanners: those that have come along the path to this geometry, by guess.
    """

    molecule: Molecule
    protocol: Protocol
    converged: np.ndarray | None = None
    previous: np.ndarray | None = None
    scanners: dict[str, scf.hf.SCF] = field(default_factory=dict)


def is_two_level(guess: str) -> bool:
    """True where the two-level SCF goes on from the guess."""
    return guess.startswith((TWO_LEVEL, ONE_BUILD))


def is_verified(guess: str) -> bool:
    """False where the two-level SCF stops after a single Fock build."""
    return not guess.startswith(ONE_BUILD)


def source_of(guess: str) -> str:
    """The guess before it is refined or handed to the two-level SCF: "ml" of "two-level:ml" and "ml+refine"."""
    return guess.removeprefix(TWO_LEVEL).removeprefix(ONE_BUILD).replace(REFINED, "", 1)


def needs_converged(guess: str) -> bool:
    """True for the oracles."""
    return source_of(guess) in _ORACLES


def weights_of(guess: str) -> str:
    """First digits of the SHA-256 of a learned guess's weights, and of those that it takes the density from; "" for all
    others."""
    if not (name := model_of(guess)):
        return ""
    model = load_model(name)
    return "+".join(each.card["sha256"][:8] for each in (model, model.density) if each is not None)


def code_of(guess: str) -> str:
    """First digits of the SHA-256 of the code behind a guess of this package; "" for all others.

    A change of the code is another guess, whose runs must not be mixed with those that a results file holds.
    """
    ours = model_of(guess) or source_of(guess) == EXACT_FIT or source_of(guess) != guess
    return digest_of_code() if ours else ""


def model_of(guess: str) -> str | None:
    """Name or path of the model behind a learned guess; None for all others."""
    family, _, model = source_of(guess).partition(":")
    return model or "default" if family == "ml" or family in _VARIANTS else None


def check_guess(guess: str, protocol: Protocol) -> None:
    """Load the model of a learned guess; raise ValueError for an unknown name, which PySCF would take for minao."""
    if is_two_level(guess) and REFINED in guess:
        raise ValueError(f"{guess!r}: the two-level SCF refines its guess itself; leave out {REFINED}")
    whole, guess = guess, source_of(guess)
    if guess in SOLVERS and whole != guess:
        raise ValueError(f"{whole!r}: a solver of PySCF starts from {BASELINE}; name {guess!r} alone")
    family, _, argument = guess.partition(":")
    if model_of(guess):
        weights_of(guess)
    elif family == PROJECTED and argument:
        try:
            gto.M(atom="H", spin=1, basis=argument, verbose=0)
        except BasisNotFoundError:
            raise ValueError(f"{guess!r}: PySCF does not know the basis {argument!r}") from None
    elif family == PRE_SCF and argument:
        if not (argument.isdigit() and len(argument) == 1):
            raise ValueError(f"{guess!r}: expected a grid level from 0 to 9, found {argument!r}")
    elif guess not in (*CLASSICAL, PRE_SCF, PREVIOUS, *SOLVERS, *_ORACLES):
        raise ValueError(f"unknown guess {whole!r}; known are {', '.join(CLASSICAL)}, "
                         f"{PRE_SCF}[:grid level], {PROJECTED}:<basis>, {PREVIOUS}, "
                         f"{', '.join((*SOLVERS, *_ORACLES))}, ml, ml:<model>, {DENSITY_ALONE}[:<model>], "
                         f"{UNREFINED}[:<model>], {UNCHECKED}[:<model>], "
                         f"each but the solvers also as <guess>{REFINED}, {TWO_LEVEL}<guess> "
                         f"and {ONE_BUILD}<guess>")
    if protocol.scanner and not _is_key(guess):
        raise ValueError(f"{whole!r}: a scanner starts from {', '.join(CLASSICAL)}, ml or ml:<model>")
    if guess == "vsap" and protocol.xc.lower() == "hf":
        raise ValueError("vsap exists for density functionals only, not for hf; leave one of them out")


def prepare(mf: scf.hf.SCF, guess: str, start: Start) -> None:
    """Set ``mf.init_guess`` of a two-level SCF object, whose kernel begins by refining it."""
    source = source_of(guess)
    mf.init_guess = source if _is_key(source) else initial_density(mf, source, start)


def _is_key(source):
    """Whether PySCF's ``init_guess`` takes it."""
    return source in CLASSICAL or source.partition(":")[0] == "ml"


def initial_density(mf: scf.hf.SCF, guess: str, start: Start) -> np.ndarray:
    """The density matrix that ``guess`` hands to ``mf``; RuntimeError if what it starts from is missing."""
    source = source_of(guess)
    if start.protocol.without_scf and _is_key(source):
        # As ``energy`` has it.
        return _or_baseline(mf, guess, lambda: checked_guess(mf, guess))
    if source != guess and not _is_key(source):
        return refine(mf, initial_density(mf, source, start))
    family, _, argument = guess.partition(":")
    if family in _VARIANTS:
        model, options = model_of(guess), _VARIANTS[family]
        return _or_baseline(mf, guess, lambda: pipeline.initial_density_matrix(mf, model, **options))
    if family == PRE_SCF:
        return pre_scf(mf, start.protocol, int(argument or 0))
    if family == PROJECTED:
        return projected(mf, start.molecule, start.protocol, argument)
    if guess in SOLVERS:
        return mf.get_init_guess(key=BASELINE)
    if guess == PREVIOUS:
        return _existing(start.previous, "the frame before")
    if guess == CONVERGED:
        return _existing(start.converged, "this molecule")
    if guess == EXACT_FIT:
        from pyscf_mlguess.routes.auxiliary_density import exact_fit_guess

        return exact_fit_guess(mf, _existing(start.converged, "this molecule"))
    return mf.get_init_guess(key=guess)


def _or_baseline(mf, guess, make):
    """What ``make`` makes; refused, it is minao and a warning."""
    try:
        return make()
    except Refusal as refusal:
        message = f"initial guess {guess!r} refused, falling back to {BASELINE}: {refusal}"
    # Outside of the handler, whose traceback would keep the arrays of the refused guess alive.
    warnings.warn(message, GuessRefused, stacklevel=2)
    return mf.get_init_guess(key=BASELINE)


def _existing(dm, whose):
    if dm is None:
        raise RuntimeError(f"the SCF of {whose} from minao did not converge")
    return dm


def pre_scf(mf: scf.hf.SCF, protocol: Protocol, grid_level: int) -> np.ndarray:
    """Density matrix of a plain PySCF run with density fitting and a coarse grid, to a gradient of 1e-3 Eh.

    A density-fitted SCF shares its tensor, through which its exchange matrices count as Fock builds of the guess.
    """
    cheap = protocol.coarse(mf.mol, grid_level)
    if protocol.density_fit:
        cheap.with_df = mf.with_df
    cheap.conv_tol, cheap.conv_tol_grad = _PRE_SCF_TOLERANCE, _PRE_SCF_GRADIENT
    with stage("cheap"):
        cheap.kernel()
    count("cheap_iterations", cheap.cycles)
    return np.asarray(cheap.make_rdm1())


def projected(mf: scf.hf.SCF, molecule: Molecule, protocol: Protocol, basis: str) -> np.ndarray:
    """Density matrix of the occupied orbitals of an SCF in ``basis``, projected and Loewdin-orthonormalised."""
    small = protocol.mean_field(molecule.mol(basis))
    if small.mol.nelectron != mf.mol.nelectron:
        raise RuntimeError(f"{basis} and {protocol.basis} have different core potentials for this molecule")
    small.conv_tol = _SMALL_BASIS_TOLERANCE
    with stage("cheap"):
        small.kernel()
        cross = gto.intor_cross("int1e_ovlp", mf.mol, small.mol)
        dm = _purified_projection(np.asarray(small.mo_coeff), np.asarray(small.mo_occ), mf.get_ovlp(), cross)
    count("cheap_iterations", small.cycles)
    return dm


def _purified_projection(mo_coeff, mo_occ, ovlp, cross):
    if mo_occ.ndim == 2:
        return np.array([_purified_projection(c, occ, ovlp, cross) for c, occ in zip(mo_coeff, mo_occ)])
    if not mo_occ.any():
        return np.zeros_like(ovlp)
    orbitals = scipy.linalg.solve(ovlp, cross @ mo_coeff[:, mo_occ > 0], assume_a="pos")
    values, vectors = np.linalg.eigh(orbitals.T @ ovlp @ orbitals)
    orbitals = orbitals @ (vectors / np.sqrt(values)) @ vectors.T
    return (orbitals * mo_occ[mo_occ > 0]) @ orbitals.T
