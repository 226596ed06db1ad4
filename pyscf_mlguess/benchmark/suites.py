"""What `mlguess bench --suite` runs.

quick, standard (the tables of RESULTS.md), times, full; builds (what the two-level SCF is to reach), builds-large
(the same where users wait longest), convergence (whether its stopping rule is right), one-build, energies (those of
guesses, without an SCF), families (all models beside each other), spinors (GHF and GKS, also with spin-orbit
coupling), states (whether it ends in the right state), difficult (whether it converges where DIIS does not), trust
(whether two thousand structures end no worse than minao).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pyscf.data.elements import charge

from pyscf_mlguess.benchmark.guesses import CLASSICAL, model_of, source_of
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.runner import Batch
from pyscf_mlguess.benchmark.sets import TRUST, load_set
from pyscf_mlguess.benchmark.solvers import SOLVERS
from pyscf_mlguess.gate import NOT_AS_FREE_ATOMS

LEARNED = "ml"
# What learning brings to the two-level SCF shows beside what it does from minao.
_BOTH = ("two-level:minao", "two-level:ml")
_MAIN = ("minao", "pre-scf", "minao+refine", LEARNED, *_BOTH, "exact-fit")
_SHORT = ("minao", "minao+refine", LEARNED, *_BOTH, "exact-fit")
_ALL = (*CLASSICAL, "projected:sto-3g", "pre-scf", "pre-scf:1", LEARNED, "exact-fit", "converged")
_ON_PATH = ("minao", "previous", "pre-scf", LEARNED)
_UP = ("minao", "projected:def2-svp", "pre-scf", LEARNED, "exact-fit")
_NO_ORACLE = ("minao", "pre-scf", LEARNED)
# What each part brings: the model's density, its correction, refinement of both starts, the two-level SCF.
_STEPS = ("minao", "minao+refine", LEARNED, *_BOTH)
_EACH_STEP = ("minao", "pre-scf", "minao+refine", "ml-density", "ml-unrefined", LEARNED, *_BOTH, "exact-fit")
_TWO_LEVEL = ("minao", LEARNED, *_BOTH)
_ALONE = ("minao", "minao+refine", LEARNED)
_DENSITY = ("minao", "minao+refine", "ml-density", LEARNED)
_REACH = ("minao", *_BOTH)
_STATES = ("minao", "minao+refine", *_BOTH)
# Every model that ships, as it predicts, beside what physics brings, which leaves little of their differences; exchange
# is nothing to a functional that has none exact, and the default, exchange-1, its density alone.
_SEMILOCAL = ("minao", "minao+refine", LEARNED, "ml-unrefined", "ml-unrefined:density-matrix-3",
              "ml-unrefined:fock-matrix-2")
_FAMILIES = (*_SEMILOCAL, "ml-unrefined:linear-ace-3", "ml-unrefined:exchange-2")
# The learned guess refuses nearly all of these molecules.
_SOLVERS = ("minao", *SOLVERS, "two-level:minao")
_SPINORS = ("minao", "minao+refine", LEARNED)
_TRUSTED = ("minao", LEARNED, "two-level:minao")

# Refined guesses come from the grid levels 0 to 2: where they are compared, the SCF's own grid is another one (but for
# meta-GGAs, whose finest is level 3, as it is for users of PySCF's default).
_PBE = Protocol(xc="pbe", grid_level=3)
# For a quick look; a refined guess, the learned one too, comes from this grid, so that the table flatters it.
_COARSE_PBE, _COARSE_B3LYP = (Protocol(xc=xc, grid_level=1) for xc in ("pbe", "b3lyp"))
# For times: what users run, exact integrals on PySCF's default grid.
_TIMED = Protocol(xc="b3lyp", density_fit=False, grid_level=3, threads=2)
_TIMED_PBE = replace(_TIMED, xc="pbe")
# Two threads, everything included.
_TO_REACH = replace(_PBE, threads=2)
# PySCF's own names of wB97X-D want a dispersion package; this is the functional without the dispersion, which is no
# part of the Fock matrix.
_WB97XD = "HYB_GGA_XC_WB97X_D"
_STOP = replace(_PBE, converge_on=True)
_STATE = replace(_PBE, stability=True)
_WITHOUT_SCF = replace(_PBE, without_scf=True)
# Dealt out over the structures of the suite trust, so many at a time.
_TRUST_LEVELS = (
    _PBE,
    *(replace(_PBE, xc=xc) for xc in ("b3lyp", "hf", "r2scan", _WB97XD)),
    # Users' default, and diffuse functions; spins of closed shells that may part.
    replace(_PBE, xc="b3lyp", density_fit=False),
    replace(_PBE, basis="def2-svpd"),
    replace(_PBE, unrestricted=True),
)
_TRUST_NUMBER, _DEALT = 2080, 10


@dataclass(frozen=True)
class Part:
    """The first ``limit`` molecules of a shipped set (all if None), at most ``atoms`` large, at one level.

    metals: those with a transition metal only, reported as the set "transition_metals", or (False) those without.
    singlets: those without unpaired electrons only.
    skip: molecules to leave out before the first.
    """

    set: str
    protocol: Protocol
    guesses: tuple[str, ...]
    limit: int | None = None
    atoms: int | None = None
    metals: bool | None = None
    singlets: bool = False
    skip: int = 0


_OTHER_LEVELS = (
    (replace(_PBE, xc="hf"), _MAIN),
    (replace(_PBE, xc="r2scan"), _SHORT),
    (replace(_PBE, xc="camb3lyp"), _SHORT),
    (replace(_PBE, basis="def2-tzvp"), _UP),
    (replace(_PBE, xc="b3lyp", basis="6-31g*"), _SHORT),
    (replace(_PBE, basis="cc-pvtz"), _SHORT),
    (replace(_PBE, xc="b3lyp", basis="6-31+g*"), _SHORT),
)

SUITES: dict[str, tuple[Part, ...]] = {
    # 12 CPU minutes. Grid level 1 throughout, which flatters refined guesses.
    "quick": (
        Part("qm9_size", _COARSE_PBE, _MAIN, limit=6),
        Part("qm9_size", _COARSE_B3LYP, _SHORT, limit=4),
        Part("ions", _COARSE_PBE, _SHORT, limit=3),
        Part("radicals", _COARSE_PBE, _SHORT, limit=3),
        Part("paracetamol", replace(_TIMED, grid_level=1), ("minao", LEARNED)),
    ),
    # The tables of RESULTS.md.
    "standard": (
        *(Part(name, _PBE, _STEPS, limit=20) for name in ("ions", "radicals", "distorted")),
        Part("qm9_size", _PBE, _EACH_STEP, limit=20, atoms=14),
        Part("drug_like", _PBE, _ALONE, limit=10, atoms=36),
        Part("tmqmg", _PBE, _DENSITY),
        *(Part("qm9_size", protocol, _ALONE, limit=20, atoms=14) for protocol in (
            *(replace(_PBE, xc=xc) for xc in ("b3lyp", "hf", "r2scan", "camb3lyp", _WB97XD)),
            *(replace(_PBE, xc="b3lyp", basis=basis) for basis in ("6-31g*", "6-31+g*")),
            *(replace(_PBE, basis=basis) for basis in ("def2-tzvp", "cc-pvtz")))),
        Part("small_drugs", replace(_PBE, basis="def2-tzvp"), _ALONE, limit=10, atoms=20),
        Part("elements", _PBE, _TWO_LEVEL, metals=False),
        Part("elements", _PBE, (*_DENSITY, *_BOTH), metals=True),
        Part("main_group", _PBE, _TWO_LEVEL),
        Part("multiply_charged", _PBE, (*_DENSITY, *_BOTH)),
    ),
    # For a machine that does nothing else.
    "times": (
        *(Part("paracetamol", replace(_TIMED, xc=xc, basis="def2-tzvp", density_fit=fit), _STEPS)
          for xc, fit in (("pbe", True), ("b3lyp", True), ("b3lyp", False))),
        Part("drug_like", _TIMED, _STEPS, limit=2, atoms=30),
        *(Part("drug_like", replace(_TIMED, xc=xc, basis="def2-tzvp", density_fit=True), _TWO_LEVEL, limit=1, atoms=30)
          for xc in ("pbe", "b3lyp")),
        *(Part("large", replace(_TIMED, xc=xc, density_fit=fit), _TWO_LEVEL, limit=1)
          for xc, fit in (("pbe", True), ("b3lyp", False))),
    ),
    # Four hours of two cores, estimated from CPU times of single Fock builds; more than a quarter of it the last line.
    "builds": (
        Part("qm9_size", _TO_REACH, _REACH, limit=10),
        Part("elements", _TO_REACH, _REACH, metals=True),
        Part("steps", replace(_TO_REACH, scanner=True), _REACH),
        *(Part("small_drugs", replace(_TO_REACH, xc=xc, basis="def2-tzvp"), _REACH, limit=10)
          for xc in ("pbe", "b3lyp", "hf", "r2scan")),
        Part("small_drugs", replace(_TIMED, xc="b3lyp"), _REACH, limit=10),
        Part("small_drugs", replace(_TIMED, xc=_WB97XD), _REACH, limit=10),
        Part("small_drugs", replace(_TIMED, xc="b3lyp", basis="def2-tzvp"), _REACH, limit=10, atoms=20),
    ),
    # Two hours and a half of one core.
    "families": (
        Part("qm9_size", _PBE, _SEMILOCAL, limit=10, atoms=14),
        *(Part("qm9_size", replace(_PBE, xc=xc), _FAMILIES, limit=10, atoms=14) for xc in ("b3lyp", "hf", _WB97XD)),
        Part("small_drugs", replace(_PBE, xc="b3lyp"), _FAMILIES, limit=10, atoms=21),
        # Larger than all that pair blocks and networks have seen, but for a handful.
        Part("drug_like", replace(_PBE, xc="hf"), _FAMILIES, limit=10, atoms=36),
    ),
    # 113 and 168 atoms: hours a run.
    "builds-large": tuple(Part("natural_products", replace(_TO_REACH, xc=xc, max_memory=memory), _REACH)
                          for xc in ("pbe", "b3lyp") for memory in (4000, 16000)),
    "convergence": (
        # At 1e-9 most energies are right to rounding; a loose threshold shows whether the estimate is.
        *(Part("hard", replace(_STOP, conv_tol=tolerance), _REACH) for tolerance in (1e-9, 1e-6)),
        Part("radicals", _STOP, _REACH),
        Part("radicals", replace(_STOP, restricted_open=True), _REACH, limit=10),
        Part("ions", _STOP, _REACH, limit=10),
        Part("hard", replace(_STOP, smearing=0.01), _REACH, atoms=12),
        Part("hard", replace(_STOP, symmetry=True), _REACH, atoms=12),
        *(Part("qm9_size", replace(_STOP, xc=xc), _REACH, limit=10, atoms=14) for xc in ("pbe", "b3lyp", "r2scan")),
        Part("elements", _STOP, _REACH, metals=True),
    ),
    # Energies from a single Fock build, against plain PySCF taken to the end.
    "one-build": (
        *(Part(name, replace(_STOP, xc=xc), ("minao", "one-build:minao", "one-build:ml"), atoms=14)
          for xc in ("pbe", "b3lyp") for name in ("hard", "qm9_size", "ions", "radicals", "distorted")),
        # Distorted, ionised, of the wrong spin: whether the estimate holds where nothing else does.
        Part(TRUST, _STOP, ("minao", "one-build:minao"), limit=400, atoms=8, metals=False),
    ),
    # At least a hundred molecules that the learned guess serves.
    "energies": (
        Part("qm9_size", _WITHOUT_SCF, _DENSITY, atoms=15),
        Part("elements", _WITHOUT_SCF, _DENSITY, metals=False),
        *(Part(name, _WITHOUT_SCF, _DENSITY) for name in ("ions", "distorted")),
        Part("small_drugs", _WITHOUT_SCF, _DENSITY, atoms=16),
        Part("radicals", _WITHOUT_SCF, _DENSITY, limit=15),
        Part("hard", _WITHOUT_SCF, _DENSITY, atoms=10),
    ),
    "states": (
        *(Part("broken_symmetry", replace(_PBE, xc=xc, unrestricted=True), _STATES) for xc in ("pbe", "b3lyp", "hf")),
        # Open shells would be unrestricted here, too.
        Part("broken_symmetry", _PBE, _STATES, singlets=True),
        # PySCF's analysis of larger ones takes longer than all SCFs together.
        Part("broken_symmetry", replace(_STATE, unrestricted=True), _STATES, atoms=6),
    ),
    # Four times the work of real orbitals.
    "spinors": tuple(Part(name, replace(_PBE, xc=xc, generalised=True, x2c=x2c), _SPINORS, atoms=atoms)
                     for name, atoms in (("hard", 7), ("radicals", 9), ("qm9_size", 10))
                     for xc, x2c in (("hf", False), ("pbe", False), ("hf", True))),
    "difficult": (
        *(Part(name, _STATE, _SOLVERS) for name in ("difficult", "atoms")),
        # PySCF's issues 1352 and 2553.
        *(Part("nitric_oxide", replace(_STATE, xc="lda,vwn", basis="6-31g", density_fit=False, symmetry=symmetry),
               _SOLVERS) for symmetry in (True, False)),
        Part("trimethyltin", replace(_PBE, xc="b3lyp", basis="def2-tzvpd"), _SOLVERS),
    ),
    # A night of two cores (--jobs 2): 9 hours from CPU seconds of the three runs of a structure, measured on 361 small
    # ones and few larger: up to six atoms 4, with a transition metal 21 (973 structures); larger 40 and 190 (1,107).
    # Any leading part is a fair sample of structures and levels.
    "trust": tuple(
        Part(TRUST, _TRUST_LEVELS[hand % len(_TRUST_LEVELS)], _TRUSTED, limit=_DEALT, skip=hand * _DEALT)
        for hand in range(_TRUST_NUMBER // _DEALT)),
    "full": (
        *(Part("qm9_size", replace(_PBE, xc=xc), _ALL) for xc in ("pbe", "b3lyp")),
        *(Part(name, replace(_PBE, xc=xc), _MAIN) for name in (
            "qm9_size", "drug_like", "ions", "radicals", "elements", "distorted") for xc in ("pbe", "b3lyp")),
        *(Part("path", replace(_PBE, xc=xc), _ON_PATH) for xc in ("pbe", "b3lyp")),
        *(Part(name, protocol, guesses) for name in ("qm9_size", "drug_like") for protocol, guesses in _OTHER_LEVELS),
        Part("large", _PBE, _MAIN),
        Part("large", replace(_PBE, xc="b3lyp"), _SHORT),
        Part("qm9_size", _TIMED, _NO_ORACLE),
        Part("drug_like", _TIMED, _NO_ORACLE),
        Part("drug_like", _TIMED_PBE, _NO_ORACLE),
        Part("drug_like", replace(_TIMED, basis="def2-tzvp"), _NO_ORACLE, atoms=40),
    ),
}


def batches(name: str, learned: tuple[str, ...] = (LEARNED,)) -> Iterator[Batch]:
    """The batches of a suite, with ``learned`` in the place of the default model.

    Raises ValueError for an unknown suite.
    """
    if name not in SUITES:
        raise ValueError(f"unknown suite {name!r}; known are {', '.join(SUITES)}")
    for part in SUITES[name]:
        molecules, _ = load_set(part.set)
        chosen = [molecule for molecule in molecules if len(molecule.symbols) <= (part.atoms or float("inf"))]
        if part.metals is not None:
            chosen = [molecule for molecule in chosen
                      if part.metals == bool(NOT_AS_FREE_ATOMS & set(map(charge, molecule.symbols)))]
        if part.singlets:
            chosen = [molecule for molecule in chosen if molecule.multiplicity == 1]
        label = "transition_metals" if part.metals else part.set
        yield Batch(label, tuple(chosen[part.skip:][:part.limit]), part.protocol, with_models(part.guesses, learned))


def with_models(guesses: Iterable[str], learned: tuple[str, ...]) -> tuple[str, ...]:
    """``guesses`` with ``learned`` in the place of the default model, all that start from it included."""
    names = []
    for guess in guesses:
        if model_of(guess) and ":" not in source_of(guess):
            # ml-density, ml+refine and two-level:ml of ml:<model> are ml-density:<model> and so on.
            names += [guess + name.removeprefix(LEARNED) for name in learned]
        else:
            names.append(guess)
    return tuple(names)
