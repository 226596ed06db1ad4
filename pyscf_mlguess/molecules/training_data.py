"""Where the labels are that the shipped weights were trained on: in the repository, not in the wheel."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parents[1] / "labels" / "data"


def repository_labels() -> list[Path]:
    """The label files of the package or, where it was installed without them, of a clone that is the current folder.

    Raises ValueError where there are none.
    """
    clone = Path.cwd() / "pyscf_mlguess" / "labels" / "data"
    for folder in (DATA, clone):
        if found := sorted(folder.glob("*.h5")):
            return found
    raise ValueError(f"no label files in {DATA} or {clone}: an installed package has none; start the command in a "
                     "clone of the repository, or name files of your own (mlguess label)")
