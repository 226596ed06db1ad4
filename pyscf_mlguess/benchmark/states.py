"""Where the runs of each guess ended: converged or not, above or below others, in a minimum or on a saddle."""

from __future__ import annotations

from dataclasses import dataclass

from pyscf_mlguess.benchmark.solvers import NEWTON
from pyscf_mlguess.benchmark.summary import ENERGY_TOLERANCE, Pairs, finite, fock_builds, geometry

# Final energies within this (Eh) of newton's count as equal: soft rotations stop it earlier than others.
NEWTON_TOLERANCE = 1e-5
# The word in a warning by which a run says that it ended on one.
_SADDLE = "saddle"


@dataclass(frozen=True)
class States:
    """The runs of one guess, over the molecules that minao ran on, too.

    common: molecules on which all guesses converged; common_builds: the Fock builds there.
    builds: over all molecules; runs that fail count as in ``fock_builds``.
    higher, lower: converged runs more than ENERGY_TOLERANCE above and below minao's.
    beside_newton: molecules on which newton converged, too; of these above_newton, below_newton by NEWTON_TOLERANCE.
    analysed: converged runs with a stability analysis; saddles: those that it calls unstable, warned: of these, those
    that said so.
    """

    guess: str
    runs: int
    converged: int
    common: int
    common_builds: int
    builds: int
    higher: int
    lower: int
    beside_newton: int
    above_newton: int
    below_newton: int
    analysed: int
    saddles: int
    warned: int


def states(pairs: dict[str, Pairs]) -> list[States]:
    """One States per guess of ``pairs``, each with its row and minao's on every molecule."""
    ran = {guess: {geometry(row): row for row, _ in of_guess} for guess, of_guess in pairs.items()}
    common = set.intersection(*({molecule for molecule, row in rows.items() if row["converged"]}
                                for rows in ran.values())) if ran else set()
    newton = ran.get(NEWTON, {})
    return [_states(guess, of_guess, common, newton) for guess, of_guess in pairs.items()]


def _states(guess, pairs, common, newton):
    runs = [row for row, _ in pairs]
    to_minao = _differences(pairs)
    to_newton = _differences([(row, newton[geometry(row)]) for row in runs if geometry(row) in newton])
    saddles = [row for row in runs if row["stable"] is False]
    return States(
        guess=guess,
        runs=len(runs),
        converged=sum(row["converged"] for row in runs),
        common=len(common),
        common_builds=sum(fock_builds(row) for row in runs if geometry(row) in common),
        builds=sum(map(fock_builds, runs)),
        higher=sum(difference > ENERGY_TOLERANCE for difference in to_minao),
        lower=sum(difference < -ENERGY_TOLERANCE for difference in to_minao),
        beside_newton=len(to_newton),
        above_newton=sum(difference > NEWTON_TOLERANCE for difference in to_newton),
        below_newton=sum(difference < -NEWTON_TOLERANCE for difference in to_newton),
        analysed=sum(row["stable"] is not None for row in runs),
        saddles=len(saddles),
        warned=sum(any(_SADDLE in text.lower() for text in row["warnings"] or ()) for row in saddles),
    )


def _differences(pairs):
    return [row["energy"] - other["energy"] for row, other in pairs
            if finite(row["energy"]) and finite(other["energy"])]
