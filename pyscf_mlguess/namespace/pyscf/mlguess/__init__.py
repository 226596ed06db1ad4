"""Installed as ``pyscf/mlguess`` too, so that ``from pyscf import mlguess`` is this package."""

import sys

import pyscf_mlguess

sys.modules[__name__] = pyscf_mlguess
