"""HDF5 files for reading; whatever is wrong with one, the error names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """An HDF5 file to read.

    Raises FileNotFoundError, PermissionError, and ValueError for a file that is not HDF5, that is damaged or cut
    short, or that lacks what is asked of it while it is open.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {str(path)!r}")
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path}: not an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except PermissionError:
        raise
    except KeyError as error:
        raise ValueError(f"{path}: something is missing in this HDF5 file ({error.args[0]}); write it anew") from error
    except (OSError, RuntimeError, TypeError, AttributeError) as error:  # the last two: h5py's None for a broken link
        raise ValueError(f"{path}: cannot be read, damaged or cut short ({error}); copy or write it anew") from error
