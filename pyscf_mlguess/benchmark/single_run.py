"""One SCF from one guess, measured: the row of the results file."""

from __future__ import annotations

import warnings
from dataclasses import asdict

import numpy as np

from pyscf_mlguess import two_level
from pyscf_mlguess.accelerated_scf import as_they_are
from pyscf_mlguess.benchmark.counting import counting_builds
from pyscf_mlguess.benchmark.guesses import (
    BASELINE,
    Start,
    code_of,
    initial_density,
    is_two_level,
    is_verified,
    model_of,
    prepare,
    source_of,
    weights_of,
)
from pyscf_mlguess.benchmark.observation import (
    observing,
    peak_memory_mb,
    release_memory,
    reset_peak_memory,
    resident_memory_mb,
)
from pyscf_mlguess.benchmark.solvers import SOLVERS
from pyscf_mlguess.benchmark.stability import is_stable
from pyscf_mlguess.models import trained_on
from pyscf_mlguess.refusal import GuessRefused
from pyscf_mlguess.stages import listening, stage

_STAGES = ("model", "route", "cheap", "guess", "build", "scf")
# Convergence in whose light an energy at the usual one is exact.
_EXACT = {"conv_tol": 1e-12, "conv_tol_grad": 1e-7, "max_cycle": 100}


def identity(set_name: str, molecule, guess: str, protocol) -> dict:
    """The part of a row that tells its run from all others."""
    return {"set": set_name, "molecule": molecule.name, "fingerprint": molecule.fingerprint, "guess": guess,
            "weights": weights_of(guess), "code": code_of(guess), "protocol": asdict(protocol)}


@as_they_are()
def run_guess(set_name: str, guess: str, start: Start) -> tuple[dict, np.ndarray | None]:
    """One SCF from one guess: the row of the results file and the final density matrix (None if not converged).

    What ``mlguess enable`` has switched on is off meanwhile: minao's run is plain PySCF.  A refused guess is recorded
    as such and the run goes on from what takes its place, as it does for users.  Where the protocol asks for no SCF,
    "converged" is None.
    """
    molecule, protocol = start.molecule, start.protocol
    row = identity(set_name, molecule, guess, protocol) | {
        "natm": len(molecule.symbols), "multiplicity": molecule.multiplicity, "nao": None,
        "trained_on": _trained_on(guess, molecule),
        "cycles": protocol.max_cycle, "converged": False, "energy": None, "initial_energy": None,
        "initial_gradient": None, "initial_energy_error": None, "initial_dipole": None, "initial_dipole_error": None,
        "dipole": None, "curve": [], "guess_builds": 0, "scf_builds": 0, "cheap_iterations": 0,
        "energy_estimate": None, "energy_lacking": None, "wall": None, "cpu": None, "peak_memory_mb": None,
        "resident_mb": None, "integrals": None, "stable": None, "refused": None, "warnings": None, "error": None,
    }
    release_memory()
    peak_is_own = reset_peak_memory()
    try:
        mf = _run(row, guess, start)
    except Exception as error:  # one molecule that fails must not end the suite; it counts and is listed
        row["error"] = f"{type(error).__name__}: {error}"
        start.scanners.pop(guess, None)
        return row, None
    if peak_is_own:
        row["peak_memory_mb"] = round(peak_memory_mb())
    if _without_scf(guess, protocol):
        row.update(converged=None, cycles=0)
        return row, None
    row["integrals"] = "density-fitted" if protocol.density_fit else "direct" if mf._eri is None else "in-core"
    if not mf.converged:
        return row, None
    # Newton counts no cycles; its macro-iterations are on the curve.
    row.update(converged=True, cycles=int(mf.cycles) or len(row["curve"]), energy=float(mf.e_tot))
    row["dipole"] = np.asarray(mf.dip_moment(verbose=0)).round(6).tolist()
    if protocol.stability:
        row["stable"] = is_stable(mf)
    if protocol.converge_on:
        row["energy_lacking"] = _energy_lacking(mf)
    return row, np.asarray(mf.make_rdm1())


def _run(row, guess, start):
    resident = {"before": round(resident_memory_mb())}
    with listening() as times:
        with stage("scf"):
            mf, mol = _object(guess, start)
        row["nao"] = int(mol.nao)
        with observing(mf) as observation, counting_builds(mf, observation.see_build) as counter:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                with stage("guess"):
                    dm = _guess(mf, guess, start)
                row["guess_builds"] = counter.builds
                before = {kind: getattr(times, kind).copy() for kind in ("wall", "cpu")}
                observation.begin()
                with stage("scf"):
                    mf(mol) if start.protocol.scanner else mf.kernel(dm0=dm)
            refusals = [str(w.message) for w in caught if issubclass(w.category, GuessRefused)]
            row["refused"] = refusals[0] if refusals else None
            row["warnings"] = [f"{w.category.__name__}: {w.message}" for w in caught if _is_ours(w.category)]
            row["cheap_iterations"] = times.counts["cheap_iterations"]
            row["scf_builds"] = counter.builds - row["guess_builds"]
    row["resident_mb"] = resident | {"after_guess": round(observation.resident_after_guess or resident["before"]),
                                     "after": round(resident_memory_mb())}
    row["curve"] = [[round(energy, 10), float(f"{gradient:.4g}")] for energy, gradient in observation.curve]
    row["initial_energy"] = observation.initial_energy
    row["initial_gradient"] = observation.initial_gradient(mf.get_ovlp())
    if (start_of_scf := observation.initial_estimate(mf)) is not None:
        row["initial_energy_error"], row["initial_dipole_error"] = start_of_scf.energy_error, start_of_scf.dipole_error
        row["initial_dipole"] = start_of_scf.dipole.round(6).tolist()
    row["energy_estimate"] = getattr(mf, "energy_error", None)
    for kind in ("wall", "cpu"):
        row[kind] = _stage_seconds(getattr(times, kind), before[kind])
    return mf


def _is_ours(category):
    return category.__module__.partition(".")[0] == "pyscf_mlguess"


def _object(guess, start):
    """The SCF object, or the path's scanner, and the molecule that it is to be run on."""
    mol = start.molecule.mol(start.protocol.basis)
    if guess in start.scanners:
        mol.max_memory = start.protocol.max_memory
        return start.scanners[guess], mol
    mf = start.protocol.mean_field(mol)
    if guess in SOLVERS:
        mf = SOLVERS[guess](mf)
    if is_two_level(guess):
        mf = two_level(mf, verify=is_verified(guess))
    if _without_scf(guess, start.protocol):
        mf.max_cycle = 0
    if start.protocol.scanner:
        mf = start.scanners[guess] = start.protocol.scanning(mf)
    return mf, mol


def _without_scf(guess, protocol):
    return protocol.without_scf and guess != BASELINE


def _guess(mf, guess, start):
    """The density matrix to start from; None where the kernel makes it itself."""
    if start.protocol.scanner:
        mf.init_guess = source_of(guess)
        return None
    if is_two_level(guess):
        prepare(mf, guess, start)
        return None
    return initial_density(mf, guess, start)


def _stage_seconds(seconds, before):
    """Seconds by stage: "guess" holds the first three, "scf" the Fock builds of the SCF."""
    # The guess and the cheap problem of a two-level SCF are inside its kernel.
    inside = _of_the_guess(seconds) - _of_the_guess(before)
    return {name: round(value, 4) for name, value in zip(_STAGES, (
        *(seconds[name] for name in ("model", "route", "cheap")), seconds["guess"] + inside,
        seconds["build"] - before["build"], seconds["scf"] - inside), strict=True)}


def _of_the_guess(seconds):
    return seconds["model"] + seconds["route"] + seconds["cheap"]


def _energy_lacking(mf):
    """Energy (Eh) of a converged run above where plain PySCF takes its density matrix; None where it does not end."""
    plain = mf.undo_two_level() if hasattr(mf, "undo_two_level") else mf.copy()
    energy, dm = float(mf.e_tot), mf.make_rdm1()
    for name, value in _EXACT.items():
        setattr(plain, name, value)
    plain.kernel(dm0=dm)
    return energy - float(plain.e_tot) if plain.converged else None


def _trained_on(guess, molecule):
    """Whether the model behind the guess has seen the molecule; None if there is no model or no knowing."""
    keys = trained_on(model_of(guess)) if model_of(guess) else None
    return molecule.inchikey in keys if keys is not None and molecule.inchikey else None
