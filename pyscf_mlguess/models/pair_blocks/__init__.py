"""Linear equivariant models of matrices: blocks of atoms and of pairs of atoms from densities of neighbours."""

from pyscf_mlguess.models.pair_blocks.model import PairBlocks as Model

__all__ = ["Model"]
