"""Hand-made lines of a benchmark's results file."""

import numpy as np

FITTED = {"xc": "pbe", "basis": "def2-svp", "density_fit": True, "grid_level": 3, "conv_tol": 1e-9, "max_cycle": 50,
          "threads": 1, "max_memory": 4000, "smearing": 0.0, "symmetry": False, "restricted_open": False,
          "unrestricted": False, "generalised": False, "x2c": False, "scanner": False,
          "converge_on": False, "stability": False, "without_scf": False, "pyscf_version": "2.14.0"}
UNFITTED = FITTED | {"xc": "b3lyp", "basis": "def2-tzvp", "density_fit": False}


def times(guess, scf, model=0.0, route=0.0, cheap=0.0, build=0.0):
    """Seconds of the stages of a run."""
    return {"model": model, "route": route, "cheap": cheap, "guess": guess, "build": build, "scf": scf}


def row(molecule, guess, cycles, energy=-1.0, **other):
    """One line of a results file."""
    return {"set": "small", "molecule": molecule, "fingerprint": molecule.encode().hex(), "guess": guess, "weights": "",
            "code": "",
            "protocol": FITTED, "natm": 2, "multiplicity": 1, "nao": 10, "trained_on": None, "cycles": cycles,
            "converged": energy is not None, "energy": energy, "initial_energy": -0.9, "initial_gradient": 0.1,
            "curve": [], "guess_builds": 0, "scf_builds": cycles + 2, "cheap_iterations": 0,
            "wall": times(1.0, float(cycles), build=0.5 * cycles),
            "cpu": times(2.0, 2.0 * cycles, build=1.0 * cycles), "peak_memory_mb": 100.0,
            "resident_mb": {"before": 50, "after_guess": 60, "after": 80}, "energy_estimate": None,
            "energy_lacking": None, "initial_energy_error": None, "initial_dipole": None, "initial_dipole_error": None,
            "dipole": None,
            "integrals": "density-fitted", "stable": None, "refused": None, "warnings": [], "error": None} | other


def failed(molecule, guess, error="RuntimeError: x", **other):
    """The line of a run that raised."""
    return row(molecule, guess, 50, energy=None, wall=None, cpu=None, error=error, **other)


# Guess: cycles saved, error of the initial energy (Eh), seconds of model, route, cheap and rest, J/K builds.
GUESSES = {
    "minao": (0.0, 1e0, (0, 0, 0, 0.05), 0), "atom": (-0.4, 7e-1, (0, 0, 0, 0.4), 0),
    "huckel": (-1.0, 2e0, (0, 0, 0, 0.5), 0), "mod_huckel": (0.3, 1.5e0, (0, 0, 0, 0.5), 0),
    "sap": (0.4, 6e-1, (0, 0, 0, 0.6), 0), "vsap": (0.8, 5e-1, (0, 0, 0, 0.7), 0),
    "pre-scf": (5.5, 1e-3, (0, 0, 8.0, 0.2), 1), "ml": (4.2, 5e-3, (0.4, 0.7, 0.9, 0.1), 0),
    "exact-fit": (5.0, 1e-3, (0, 0.7, 0.9, 0.1), 0),
}


def benchmark_rows(molecule_set, protocol, molecules=50, guesses=tuple(GUESSES), seed=0):
    """Rows as a benchmark would leave them: guesses that differ in start and speed, a few that fail."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(molecules):
        natm = int(rng.integers(6, 40))
        needed, rate = rng.normal(11.5 + 0.04 * natm, 1.0), rng.uniform(0.07, 0.12)
        final = -20.0 * natm
        for guess in guesses:
            saved, error, cost, builds = GUESSES[guess]
            cycles = max(2, round(needed - saved + rng.normal(0, 0.7)))
            error *= natm / 20 * rng.lognormal(0, 0.4)
            decay = error * (1e-10 / error) ** (np.arange(cycles + 1) / cycles)
            gradient = np.sqrt(decay) * rng.lognormal(0, 0.2, cycles + 1)
            model, route, cheap, rest = (natm / 20 * s for s in cost)
            seconds = times(model + route + cheap + rest, rate * natm * (cycles + 2), model, route, cheap)
            made = row(f"molecule-{index:02d}", guess, cycles, final + rng.normal(0, 1e-9), set=molecule_set,
                       protocol=protocol, natm=natm, nao=10 * natm, initial_energy=final + error,
                       initial_gradient=gradient[0], guess_builds=builds, wall=seconds,
                       curve=np.stack([final + decay, gradient], 1)[1:].tolist(), peak_memory_mb=400.0 + natm,
                       cpu={stage: 1.9 * value for stage, value in seconds.items()},
                       cheap_iterations=10 if cheap else 0,
                       integrals="density-fitted" if protocol["density_fit"] else "in-core")
            if guess == "ml":
                made |= {"weights": "7a88bb24", "trained_on": index % 10 == 0}
                if index == 7:
                    made |= {"refused": "GuessRefused: element Br is not one of the model's", "cycles": round(needed)}
            if guess == "huckel" and index in (3, 4):
                made |= {"cycles": 50, "converged": False, "energy": None}
            if guess == "sap" and index == 12:
                made["energy"] += 3e-3
            rows.append(made)
    return rows
