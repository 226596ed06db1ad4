"""The commands mlguess demo, predict, info and timing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pyscf_mlguess.cli.console import clear_errors

# Everything else is imported by the command that needs it, so that --help stays quick.

_Basis = Annotated[str, typer.Option(help="PySCF's name of the orbital basis.")]
_Model = Annotated[Optional[str], typer.Option(help="Name or path of a model instead of the default one.")]
_DEMO_SET, _DEMO_BASIS, _DEMO_XC = "paracetamol", "def2-svp", "pbe"


def demo() -> None:
    """Compare the learned guess, alone and in the two-level SCF, with PySCF's default: paracetamol, PBE/def2-SVP."""
    from pyscf import lib

    from pyscf_mlguess.benchmark.guesses import Start, check_guess
    from pyscf_mlguess.benchmark.protocol import Protocol
    from pyscf_mlguess.benchmark.sets import load_set
    from pyscf_mlguess.benchmark.single_run import run_guess
    from pyscf_mlguess.benchmark.summary import fock_builds

    protocol = Protocol(xc=_DEMO_XC, basis=_DEMO_BASIS, threads=lib.num_threads())
    with clear_errors():
        check_guess("ml", protocol)
        (molecule,), _ = load_set(_DEMO_SET)
        typer.echo(f"{molecule.name}, {len(molecule.symbols)} atoms; {protocol}\n")
        typer.echo(f"{'guess':14}{'builds':>8}{'energy (Eh)':>18}{'guess (s)':>12}{'SCF (s)':>10}")
        for guess in ("minao", "minao+refine", "ml", "two-level:ml"):
            row, _ = run_guess(_DEMO_SET, guess, Start(molecule, protocol))
            if not row["converged"]:
                raise ValueError(f"the SCF from {guess} failed: {row['error'] or 'not converged'}")
            typer.echo(f"{guess:14}{fock_builds(row):8d}{row['energy']:18.9f}"
                       f"{row['wall']['guess']:12.2f}{row['wall']['scf']:10.2f}")
            if row["refused"]:
                typer.echo(row["refused"])


def predict(
    molecule: Annotated[Path, typer.Argument(
        help="xyz file, angstrom; charge= and multiplicity= in its second line.")],
    basis: _Basis = "def2-svp",
    xc: Annotated[str, typer.Option(help="PySCF's functional, or hf.")] = "pbe",
    model: _Model = None,
    energy: Annotated[bool, typer.Option(
        help="Build one Fock matrix (density fitting) and print the energy and the dipole.")] = True,
    output: Annotated[Path, typer.Option(
        help="NumPy archive to write; its array dm is for mf.kernel(dm0=dm).")] = Path("guess.npz"),
) -> None:
    """Write the learned density matrix of one molecule to a file, and print energy and dipole without an SCF.

    Where the guess is refused, nothing takes its place.
    """
    import numpy as np

    from pyscf_mlguess.benchmark.protocol import Protocol
    from pyscf_mlguess.guess_energy import energy as energy_of
    from pyscf_mlguess.hook import checked_guess
    from pyscf_mlguess.molecules.xyz import MoleculeFileError, read_xyz
    from pyscf_mlguess.refusal import Refusal

    with clear_errors():
        frames = read_xyz(molecule)
        if len(frames) != 1:
            raise MoleculeFileError(f"{molecule}: expected one molecule, found {len(frames)}")
        protocol = Protocol(xc=xc, basis=basis)
        protocol.check()
        mf = protocol.mean_field(frames[0].mol(basis))
        try:
            dm = checked_guess(mf, f"ml:{model or 'default'}")
        except Refusal as refusal:
            raise ValueError(f"{output} was not written, for the learned guess of {molecule} is refused: {refusal} "
                             "(mf.init_guess = 'ml' would start from refined minao)") from None
        with output.open("wb") as file:  # a name alone gets .npz appended where it ends otherwise
            np.savez(file, dm=np.asarray(dm), symbols=frames[0].symbols, positions_angstrom=frames[0].positions,
                     basis=basis, xc=xc)
        typer.echo(f"wrote a density matrix of shape {dm.shape} to {output}")
        if energy:
            found = energy_of(mf, dm)
            typer.echo(f"energy {found.energy:.9f} Eh, right to some {found.energy_error:.0e} Eh\n"
                       f"dipole {np.array2string(found.dipole, precision=4, suppress_small=True)} debye, right to some "
                       f"{found.dipole_error:.0e} debye")


def info(model: Annotated[str, typer.Argument(help="Name or path of a model.")] = "default") -> None:
    """Print the card of a model."""
    import json

    from pyscf_mlguess.models import available, load_model

    with clear_errors():
        card = load_model(model).card
    for key, value in card.items():
        typer.echo(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")
    typer.echo(f"(shipped models: {', '.join(available())})")


def timing(
    molecules: Annotated[str, typer.Option(
        help="Shipped set or xyz file; molecules of 20 atoms and more are timed.")] = "qm9_size",
    guess: Annotated[str, typer.Option(help="One guess: minao, ..., ml, ml:<model>.")] = "ml",
    xc: Annotated[str, typer.Option(help="PySCF's functional, or hf.")] = "b3lyp",
    basis: _Basis = "def2-svp",
    threads: Annotated[int, typer.Option(min=1, help="OpenMP threads.")] = 1,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Only the first molecules of that size.")] = None,
) -> None:
    """Time a guess against one SCF cycle without density fitting, and the memory that it leaves behind."""
    from tqdm import tqdm

    from pyscf_mlguess.benchmark.guesses import check_guess
    from pyscf_mlguess.benchmark.protocol import Protocol
    from pyscf_mlguess.benchmark.sets import load_set
    from pyscf_mlguess.benchmark.timing import SMALLEST, markdown, time_molecules

    with clear_errors():
        found, _ = load_set(molecules)
        large = [molecule for molecule in found if len(molecule.symbols) >= SMALLEST][:limit]
        if not large:
            raise ValueError(f"no molecule of {SMALLEST} atoms or more in {molecules!r}")
        protocol = Protocol(xc=xc, basis=basis, density_fit=False, threads=threads)
        protocol.check()
        check_guess(guess, protocol)
        timings = list(tqdm(time_molecules(large, guess, protocol), total=len(large), desc="timing", unit="mol"))
        typer.echo(markdown(timings, protocol))
