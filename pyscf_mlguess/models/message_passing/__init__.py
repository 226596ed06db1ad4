"""Equivariant message-passing networks, of matrices and of the density: torch is imported here, and not before."""

from pyscf_mlguess.models.message_passing.model import MessagePassing as Model

__all__ = ["Model"]
