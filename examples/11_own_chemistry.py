"""A family of your own on top of the shipped model: labels, and what they do for the SCF.

Selenides R-Se-R': 56 to learn from, twelve others to try the result on. The shipped model has seen selenium in some
sixty compounds, of all kinds. About ten minutes of two cores; needs `pip install pyscf-mlguess[train]`. For compounds
of your own, write the two .smi files (or .xyz, for metal complexes; elements that the model does not know are learned,
too). Everything may be killed and goes on when started again.
"""

import argparse
import hashlib
from pathlib import Path

from pyscf_mlguess.benchmark.results import read_rows
from pyscf_mlguess.cli import app
from pyscf_mlguess.molecules.smiles import canonical_smiles, parse_smiles

FIRST = ("C", "CC", "C=C", "C(C)C", "C1CC1")
SECOND = ("C", "CC", "C=C", "CC#N", "CCO", "c1ccccc1", "C(C)C", "CC=C", "CC(=O)C", "C1CC1", "C(=O)N", "CF", "CCN")


def family() -> list[str]:
    """SMILES, small molecules first."""
    found = {canonical_smiles(f"[SeH]{second}") for second in SECOND}
    found |= {canonical_smiles(f"[Se]({first}){second}") for first in FIRST for second in SECOND}
    return sorted(found, key=lambda smiles: (parse_smiles(smiles).GetNumHeavyAtoms(), smiles))


def split(smiles: list[str], count: int, unseen: int) -> tuple[list[str], list[str]]:
    """So many to learn from, and so many larger ones to try the result on, by chance."""
    larger = [each for each in smiles if parse_smiles(each).GetNumHeavyAtoms() >= 6]
    kept = sorted(larger, key=lambda each: hashlib.sha256(each.encode()).hexdigest())[:12]
    return [each for each in smiles if each not in kept][:count], kept[:unseen]


def mlguess(*arguments) -> None:
    """As in a shell."""
    print("\n$ mlguess", *arguments, flush=True)
    if code := app(list(map(str, arguments)), standalone_mode=False):
        raise SystemExit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", type=int, default=56, help="how many to learn from")
    parser.add_argument("--unseen", type=int, default=12, help="how many to try the result on")
    parser.add_argument("--size", default="full", help="of the correction: small, medium or full")
    parser.add_argument("--folder", type=Path, default=Path("own_chemistry"))
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    known, unseen, labels, model = (options.folder / name for name in (
        "known.smi", "unseen.smi", "labels.h5", "own.safetensors"))
    for path, smiles in zip((known, unseen), split(family(), options.molecules, options.unseen)):
        path.write_text("\n".join(smiles) + "\n")

    mlguess("label", known, "--displace", "0,0.05", "--jobs", 2, "--output", labels)
    mlguess("train", labels, "--start", "default", "--size", options.size, "--cache", options.folder / "metrics",
            "--output", model)
    mlguess("bench", "--molecules", unseen, "--xc", "pbe", "--guess", "minao", "--guess", "ml", "--guess",
            f"ml:{model}", "--jobs", 2, "--output", options.folder / "bench.jsonl")

    for row in read_rows(options.folder / "bench.jsonl"):
        print(f"{row['molecule']:20} {row['guess']:40} {row['cycles']:3d} cycles   E = {row['energy']:.9f} Eh")
    print(f'\nmf.init_guess = "ml:{model}" is all that your scripts need.')


if __name__ == "__main__":
    main()
