"""Labels: molecules -> converged densities -> HDF5."""

from pathlib import Path

# What the shipped weights were trained on; in the repository, not in the wheel.
DATA = Path(__file__).parent / "data"
