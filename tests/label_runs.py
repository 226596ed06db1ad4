"""What the tests of mlguess label share."""

import os
import time

from pyscf_mlguess.molecules.label import Level

FAST = Level("hf", "sto-3g")
# Dask's scheduler serves HTTP even without a dashboard.
FREE_PORT = {"dashboard_address": ":0"}


def hydrogen(count):
    """Frames of an xyz file."""
    return "".join(f"2\nname=h{i} smiles=[H][H]\nH 0 0 0\nH 0 0 {0.7 + 0.001 * i}\n" for i in range(count))


def wait_for(condition, process=None, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end and (process is None or process.poll() is None), "waited in vain"
        time.sleep(0.01)


def alive(group):
    """Whether a process of this group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
