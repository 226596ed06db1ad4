"""Clebsch-Gordan tensors that couple two irreps of O(3) to a third, for the order of components in ``shells``.

They are e3nn's (``o3.wigner_3j`` times sqrt(2l+1)), signs included, read from a file, so that predicting imports no
torch.  ``python -m pyscf_mlguess.couplings`` writes that file anew.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from pyscf_mlguess.extras import how_to_install

FILE = Path(__file__).with_suffix(".safetensors")
LMAX = 4


def clebsch_gordan(l1: int, l2: int, l: int) -> np.ndarray:
    """The tensor C of l1 x l2 -> l, shape (2l1+1, 2l2+1, 2l+1), read-only float64.

    Orthonormal: the sum of C[a, b, m] C[a, b, n] over a and b is 1 for m = n, else 0.  Exchange of l1 and l2 exchanges
    the first two axes and multiplies with (-1)^(l1+l2+l); where this is -1, l has the parity of a pseudotensor.
    Raises ValueError where l1 and l2 do not couple to l, and for l1 or l2 beyond ``LMAX``.
    """
    if min(l1, l2) < 0 or not abs(l1 - l2) <= l <= l1 + l2:
        raise ValueError(f"l1 = {l1} and l2 = {l2} do not couple to l = {l}; give l from |l1 - l2| to l1 + l2")
    if max(l1, l2) > LMAX:
        raise ValueError(f"no coupling is stored for l1 = {l1}, l2 = {l2}: they end at l = {LMAX}; "
                         "stay below, or raise LMAX and run python -m pyscf_mlguess.couplings")
    return _stored()[_name(l1, l2, l)]


@lru_cache(maxsize=1)
def _stored() -> dict[str, np.ndarray]:
    tensors = load_file(FILE)
    for tensor in tensors.values():
        tensor.flags.writeable = False
    return tensors


def _name(l1, l2, l):
    return f"{l1}/{l2}/{l}"


def from_e3nn() -> dict[str, np.ndarray]:
    """What the file holds, {"l1/l2/l": tensor}.  Raises ImportError when e3nn is not installed."""
    try:
        import torch
        from e3nn import o3
    except ImportError as error:
        raise ImportError(f"coupling tensors come from e3nn ({error}): {how_to_install('network')}") from error
    return {
        _name(l1, l2, l): o3.wigner_3j(l1, l2, l, dtype=torch.float64).numpy() * np.sqrt(2 * l + 1)
        for l1 in range(LMAX + 1)
        for l2 in range(LMAX + 1)
        for l in range(abs(l1 - l2), l1 + l2 + 1)
    }


if __name__ == "__main__":
    try:
        tensors = from_e3nn()
    except ImportError as error:
        raise SystemExit(str(error)) from None
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, FILE)
    print(f"wrote {FILE}")
