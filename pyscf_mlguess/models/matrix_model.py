"""What models of matrices share, whatever gives their blocks: targets, levels of theory, the way to a prediction."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from pyscf_mlguess.block_irreps import BlockBasis, BlockIrreps
from pyscf_mlguess.level import LevelOfTheory
from pyscf_mlguess.models.response import Response
from pyscf_mlguess.predictions import AuxiliaryDensity, DensityBlocks, FockBlocks, Prediction
from pyscf_mlguess.structure import Structure

DENSITY_MATRIX, FOCK_MATRIX, EXCHANGE = "density matrix", "fock matrix", "exchange"
# Trained on closed shells; what that means for others is measured.
SERVED_SPINS = [0, 1, 2]
# Exchange that is the same for both spins moves a radical's dipole by more than the estimate knows (methyl, UHF:
# 0.018 D off, estimate 0.0016): open shells have the density alone.
CLOSED_SHELLS = [0]
# Axes of long-range exchange, followed by the range separation in 1/bohr.
_LONG_RANGE = "long_range_"


class MatrixModel:
    """A model of blocks in the Loewdin-orthonormalised reference basis.

    card: what the model is; its target is one of
        "density matrix": S^1/2 (D - D_0) S^1/2, D_0 of the occupied orbitals of the Fock matrix F_0 of the free atoms'
        density, at the base level;
        "fock matrix": S^-1/2 (F - F_0) S^-1/2, F_0 at each level;
        "exchange": S^-1/2 (-K/2 - V_x) S^-1/2 of all exact exchange, V_x the semilocal exchange potential that stands
        in for it in the density route, of which a level of theory takes its share.
    density: the model of the density that goes with the target "exchange".
    axes: what the model has learned; "base", and "exact_exchange", of which a level takes its share; of the target
        "fock matrix", that axis is the difference of Hartree-Fock's.
    """

    card: dict
    density: object
    axes: Iterable[str]

    def irreps(self, structure: Structure, shares: dict[str, float]) -> tuple[BlockIrreps, np.ndarray]:
        """The sum of axes, each times its share, and the novelty of the atoms; of a family."""
        raise NotImplementedError

    @property
    def responses(self) -> tuple[Response, ...]:
        """Those of the density's model."""
        return self.density.responses if self.density is not None else ()

    @cached_property
    def basis(self) -> BlockBasis:
        """The reference basis of the elements that have blocks."""
        return BlockBasis.of(self.card["block_elements"], self.card["basis"])

    def predict(self, structure: Structure, level: LevelOfTheory = LevelOfTheory()) -> Prediction:
        """As the card's target says; exchange for a functional without any is the density alone.

        An atom is as novel as it is to the blocks or, if more, to the density.
        """
        target, share = self.card["target"], level.exact_exchange
        density = None
        if target == EXCHANGE:
            density = self.density.predict(structure, level)
            if level.is_semilocal:
                return density
            shares = self._shares(share, level.short_range_exchange) | self._long_range(level)
            if not shares:  # long-range exchange alone, which the model has not learned
                return density
        else:
            shares = self._shares(share)
            if target == FOCK_MATRIX:
                density = AuxiliaryDensity.free_atoms(len(structure))
        irreps, novelty = self.irreps(structure, shares)
        novelty = novelty if density is None else np.maximum(novelty, density.novelty)
        blocks = self.basis.uncouple(irreps)
        if target == DENSITY_MATRIX:
            return DensityBlocks(self.card["basis"], blocks, novelty, self.card["levels"]["base"].partition("/")[0])
        return FockBlocks(self.card["basis"], blocks, novelty, density)

    def _shares(self, share, scale=1.0):
        """The axes of a level of theory and what they are multiplied with."""
        shares = {"base": scale, "exact_exchange": scale * share}
        return {axis: shares[axis] for axis in self.axes if shares.get(axis)}

    def _long_range(self, level):
        """Of what long-range exchange has more than short-range exchange, linear between the range separations."""
        more = level.long_range_exchange - level.short_range_exchange
        nodes = sorted(float(axis.removeprefix(_LONG_RANGE)) for axis in self.axes if axis.startswith(_LONG_RANGE))
        if not (more and nodes):
            return {}
        # Long-range exchange begins as omega itself, which extrapolates both ways.
        shares = [np.interp(level.omega, nodes, np.eye(len(nodes))[k]) for k in range(len(nodes))]
        scale = more * level.omega / float(np.clip(level.omega, nodes[0], nodes[-1]))
        return {f"{_LONG_RANGE}{node}": scale * share for node, share in zip(nodes, shares) if share}


def density_of(card: dict):
    """The model of the density that a card of the target "exchange" names, None of another target."""
    from pyscf_mlguess.models import load_model

    return load_model(card["density"]) if card["target"] == EXCHANGE else None
