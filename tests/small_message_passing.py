"""A small message-passing network, from the labels of ``small_pair_blocks``."""

from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from small_pair_blocks import few_are_enough, label_file, matrices
from small_pair_blocks import trained as pair_blocks

from pyscf_mlguess.models.linear_density import training as density_training
from pyscf_mlguess.models.message_passing import training
from pyscf_mlguess.models.message_passing.network import NetworkSettings

SETTINGS = NetworkSettings(cutoff=5.0, reach=10.0, layers=2, channels=8, lmax=2, pair_channels=4, states=8, radial=5,
                           hidden=8, neighbours=4.0)
EPOCHS = 4


@lru_cache(maxsize=None)
def _folder():
    return TemporaryDirectory()


@lru_cache(maxsize=None)
def trained(target, linear=True):
    """The path of a model of this target, which corrects the linear one or, of ``linear=False``, is alone."""
    path = Path(_folder().name) / f"{target.replace(' ', '-')}-{linear}.safetensors"
    corrected = None if not linear else "linear-ace-3" if target == "density" else pair_blocks(target)
    with small():
        return training.train([label_file()], path, matrices(), target, jobs=1, size="tiny", linear=corrected,
                              epochs=EPOCHS, progress=False)


@contextmanager
def small():
    """A size "tiny", and few labels are enough."""
    with few_are_enough(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.SIZES, "tiny", SETTINGS)
        patch.setattr(density_training, "split_of", training.matrix_labels.split_of)
        yield
