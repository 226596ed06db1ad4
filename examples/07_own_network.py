"""A network of your own, for one family of compounds: labels, training, and what it does for their SCF.

200 acylureas (R-CO-NH-CO-NR'R'') to learn from, ten others to try it on. Needs `pip install pyscf-mlguess[train]`; for
compounds of your own, write the two .smi files. Everything may be killed and goes on when started again.
"""

import argparse
from itertools import product
from pathlib import Path

from pyscf_mlguess.benchmark.results import read_rows
from pyscf_mlguess.cli import app
from pyscf_mlguess.molecules.smiles import canonical_smiles, parse_smiles
from pyscf_mlguess.molecules.split import split_of, subset

ACYL = ("", "C", "CC", "C=C", "C#C", "CO", "OC", "COC", "CN", "CC#N", "C1CC1", "C(C)C")
AMINE = ("", "C", "CC", "C=C", "CC=C", "CC#C", "CCO", "CC#N", "OC", "C1CC1", "C(C)C")


def family() -> list[str]:
    """SMILES, small molecules first."""
    found = {canonical_smiles(f"O=C({acyl})NC(=O)N({methyl}){amine}".replace("()", ""))
             for acyl, amine, methyl in product(ACYL, AMINE, ("", "C"))}
    return sorted(found, key=lambda smiles: (parse_smiles(smiles).GetNumHeavyAtoms(), smiles))


def split(smiles: list[str], count: int) -> tuple[list[str], list[str]]:
    """So many to learn from, and a twentieth as many that training does not see."""
    # Training takes molecules of the split "train", and stops by those of the split "validation".
    parts = {part: [each for each in smiles if split_of(each) == part] for part in ("train", "validation", "test")}
    kept = subset(parts["train"] + parts["test"], 10)
    few = max(1, count // 20)
    learned = [each for each in parts["train"] if each not in kept][: count - few] + parts["validation"][:few]
    return learned, [each for each in smiles if each in kept][:few]


def mlguess(*arguments) -> None:
    """As in a shell."""
    print("\n$ mlguess", *arguments, flush=True)
    if code := app(list(map(str, arguments)), standalone_mode=False):
        raise SystemExit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", type=int, default=200, help="how many to learn from")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--folder", type=Path, default=Path("own_network"))
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    known, unseen, labels, network = (options.folder / name for name in (
        "known.smi", "unseen.smi", "labels.h5", "own.safetensors"))
    for path, smiles in zip((known, unseen), split(family(), options.molecules)):
        path.write_text("\n".join(smiles) + "\n")

    mlguess("label", known, "--level", "pbe/def2-svp", "--level", "hf/def2-svp", "--orbitals", "--jobs", 2,
            "--output", labels)
    mlguess("train", labels, "--family", "message-passing", "--target", "exchange", "--epochs", options.epochs,
            "--cache", options.folder / "matrices", "--output", network)
    mlguess("bench", "--molecules", unseen, "--xc", "b3lyp", "--guess", "minao", "--guess", "ml", "--guess",
            f"ml:{network}", "--output", options.folder / "bench.jsonl")

    for row in read_rows(options.folder / "bench.jsonl"):
        print(f"{row['molecule']:10} {row['guess']:40} {row['cycles']:3d} cycles   E = {row['energy']:.9f} Eh")
    print(f'\nmf.init_guess = "ml:{network}" is all that your scripts need.')


if __name__ == "__main__":
    main()
