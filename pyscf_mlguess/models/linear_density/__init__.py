"""A linear equivariant model of the electron density on Atomic Cluster Expansion features."""

from pyscf_mlguess.models.linear_density.model import LinearDensity as Model

__all__ = ["Model"]
