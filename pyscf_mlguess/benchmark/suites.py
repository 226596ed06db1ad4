"""What `mlguess bench --suite` runs: quick, standard, learned, two-level, times and full."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pyscf.data.elements import charge

from pyscf_mlguess.benchmark.guesses import CLASSICAL, source_of
from pyscf_mlguess.benchmark.protocol import Protocol
from pyscf_mlguess.benchmark.runner import Batch
from pyscf_mlguess.benchmark.sets import load_set
from pyscf_mlguess.gate import NOT_AS_FREE_ATOMS

LEARNED = "ml"
_REFINED = ("ml+refine", "two-level:ml")
_MAIN = ("minao", "pre-scf", "minao+refine", LEARNED, *_REFINED, "exact-fit")
_SHORT = ("minao", LEARNED, *_REFINED, "exact-fit")
_ALL = (*CLASSICAL, "projected:sto-3g", "pre-scf", "pre-scf:1", LEARNED, "exact-fit", "converged")
_ON_PATH = ("minao", "previous", "pre-scf", LEARNED)
_UP = ("minao", "projected:def2-svp", "pre-scf", LEARNED, "exact-fit")
_NO_ORACLE = ("minao", "pre-scf", LEARNED)
# What the model brings alone: its density, and that corrected by what its Fock matrix gives back.
_ALONE = ("minao", "ml-density", LEARNED, "exact-fit")
# What each part brings: learning, refinement, the two-level SCF.
_STEPS = ("minao", "minao+refine", LEARNED, "ml+refine", "two-level:minao", "two-level:ml")
_ENDS = ("minao", "ml+refine", "two-level:minao", "two-level:ml")

# Grid level 1 for counting cycles: they hardly change with the grid, and finer grids cost several times as much.
_PBE = Protocol(xc="pbe", grid_level=1)
_B3LYP = Protocol(xc="b3lyp", grid_level=1)
# For times: what users run, exact integrals on PySCF's default grid.
_TIMED = Protocol(xc="b3lyp", density_fit=False, grid_level=3, threads=2)
_TIMED_PBE = replace(_TIMED, xc="pbe")
# Refined guesses come from coarse grids: the SCF's own grid must not be one of them.
_FINE_PBE = replace(_PBE, grid_level=3)


@dataclass(frozen=True)
class Part:
    """The first ``limit`` molecules of a shipped set (all if None), at most ``atoms`` large, at one level.

    metals: those with a transition metal only, reported as the set "transition_metals".
    """

    set: str
    protocol: Protocol
    guesses: tuple[str, ...]
    limit: int | None = None
    atoms: int | None = None
    metals: bool = False


_OTHER_LEVELS = (
    (replace(_PBE, xc="hf"), _MAIN),
    (replace(_PBE, xc="r2scan"), _SHORT),
    (replace(_PBE, xc="camb3lyp"), _SHORT),
    (replace(_PBE, basis="def2-tzvp"), _UP),
    (replace(_B3LYP, basis="6-31g*"), _SHORT),
    (replace(_PBE, basis="cc-pvtz"), _SHORT),
    (replace(_B3LYP, basis="6-31+g*"), _SHORT),
)

SUITES: dict[str, tuple[Part, ...]] = {
    "quick": (
        Part("qm9_size", _PBE, _MAIN, limit=6),
        Part("qm9_size", _B3LYP, _SHORT, limit=4),
        Part("ions", _PBE, _SHORT, limit=3),
        Part("radicals", _PBE, _SHORT, limit=3),
        Part("paracetamol", replace(_TIMED, grid_level=1), ("minao", LEARNED)),
    ),
    "standard": (
        Part("qm9_size", _PBE, _ALL, limit=16),
        Part("qm9_size", _PBE, _SHORT),
        Part("qm9_size", _B3LYP, _SHORT, limit=20),
        Part("drug_like", _PBE, _MAIN, limit=4),
        *(Part(name, _PBE, _MAIN, limit=8) for name in ("ions", "radicals", "elements", "distorted")),
        Part("path", _PBE, _ON_PATH),
        *(Part("qm9_size", protocol, guesses, limit=8) for protocol, guesses in _OTHER_LEVELS),
        Part("qm9_size", _TIMED, _NO_ORACLE, limit=6),
        *(Part(name, _B3LYP, _SHORT, limit=6) for name in ("ions", "radicals", "elements", "distorted")),
        Part("drug_like", _B3LYP, _SHORT, limit=4),
    ),
    "learned": (
        Part("qm9_size", _PBE, _ALONE),
        *(Part(name, _PBE, _ALONE, limit=8) for name in ("ions", "distorted", "radicals")),
        Part("drug_like", _PBE, _ALONE, limit=6),
        Part("qm9_size", replace(_PBE, basis="def2-tzvp"), _ALONE, limit=8),
        *(Part("qm9_size", replace(_PBE, xc=xc), _ALONE, limit=8) for xc in ("b3lyp", "hf")),
        Part("drug_like", replace(_PBE, basis="def2-tzvp"), ("minao", LEARNED), limit=3, atoms=34),
        Part("large", _PBE, ("minao", LEARNED), limit=2),
    ),
    "two-level": (
        Part("qm9_size", _FINE_PBE, _STEPS, limit=10),
        Part("elements", _FINE_PBE, _ENDS, metals=True),
        *(Part(name, _FINE_PBE, _ENDS, limit=6) for name in ("ions", "radicals")),
        *(Part("qm9_size", replace(_FINE_PBE, xc=xc), _ENDS, limit=5) for xc in ("r2scan", "camb3lyp")),
        Part("qm9_size", replace(_FINE_PBE, basis="def2-tzvp"), _STEPS, limit=5),
        Part("qm9_size", _TIMED, _STEPS, limit=5),
        Part("drug_like", replace(_TIMED, xc="hf"), _STEPS, limit=2, atoms=30),
    ),
    # For a machine that does nothing else.
    "times": (
        *(Part("paracetamol", replace(_TIMED, xc=xc, basis="def2-tzvp", density_fit=fit), _STEPS)
          for xc, fit in (("pbe", True), ("b3lyp", True), ("b3lyp", False))),
        Part("drug_like", _TIMED, _STEPS, limit=2, atoms=30),
        *(Part("drug_like", replace(_TIMED, xc=xc, basis="def2-tzvp", density_fit=True), _ENDS, limit=1, atoms=30)
          for xc in ("pbe", "b3lyp")),
        *(Part("large", replace(_TIMED, xc=xc, density_fit=fit), _ENDS, limit=1)
          for xc, fit in (("pbe", True), ("b3lyp", False))),
    ),
    "full": (
        *(Part("qm9_size", protocol, _ALL) for protocol in (_PBE, _B3LYP)),
        *(Part(name, protocol, _MAIN) for name in ("drug_like", "ions", "radicals", "elements", "distorted")
          for protocol in (_PBE, _B3LYP)),
        *(Part("path", protocol, _ON_PATH) for protocol in (_PBE, _B3LYP)),
        *(Part(name, protocol, guesses) for name in ("qm9_size", "drug_like") for protocol, guesses in _OTHER_LEVELS),
        Part("large", _PBE, _MAIN),
        Part("large", _B3LYP, _SHORT),
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
        if part.metals:
            chosen = [molecule for molecule in chosen if NOT_AS_FREE_ATOMS & set(map(charge, molecule.symbols))]
        label = "transition_metals" if part.metals else part.set
        yield Batch(label, tuple(chosen[:part.limit]), part.protocol, with_models(part.guesses, learned))


def with_models(guesses: Iterable[str], learned: tuple[str, ...]) -> tuple[str, ...]:
    """``guesses`` with ``learned`` in the place of the default model, refined and two-level ones included."""
    names = []
    for guess in guesses:
        if guess == LEARNED:
            names += learned
        elif source_of(guess) == LEARNED:
            # ml+refine and two-level:ml of ml:<model> are ml+refine:<model> and two-level:ml:<model>.
            names += [guess + name.removeprefix(LEARNED) for name in learned]
        else:
            names.append(guess)
    return tuple(names)
