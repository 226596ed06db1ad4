"""What an error of a prediction costs, in torch: as ``training/targets.py`` and ``training/matrices.py`` define it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from pyscf_mlguess.training.matrices import MatrixMetric


class Metric:
    """Of one molecule; a dataclass of tensors."""

    def losses(self, errors: Tensor) -> Tensor:
        """(axes,) of errors (axes, n) in the order of ``Graph.vectors``."""
        raise NotImplementedError

    def to(self, device: torch.device) -> Metric:
        """The same on a device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass
class DensityMetric(Metric):
    """A quadratic form (n, n) for all axes."""

    form: Tensor

    def losses(self, errors: Tensor) -> Tensor:
        """As ``Metric`` says."""
        return ((errors @ self.form) * errors).sum(1)


@dataclass
class BlockMetric(Metric):
    """Those of ``MatrixMetric``, one for each axis, which share all but the weights.

    element, irrep, value: (nonzeros,) of the assembly.  occupied, virtual: (nao, n) orbitals.  weights: (axes, nocc,
    nvir).  plain: (axes,).  coulomb: (nao, nao) and response: (axes, nocc, nvir), or empty.
    """

    element: Tensor
    irrep: Tensor
    value: Tensor
    occupied: Tensor
    virtual: Tensor
    weights: Tensor
    plain: Tensor
    coulomb: Tensor
    response: Tensor

    @classmethod
    def of(cls, metrics: Sequence[MatrixMetric]) -> BlockMetric:
        """From those of all axes."""
        first, assembly = metrics[0], metrics[0].assembly.tocoo()
        coulomb = response = torch.zeros(0)
        if first.coulomb is not None:
            coulomb = torch.from_numpy(first.coulomb)
            response = torch.from_numpy(np.stack([metric.response for metric in metrics]))
        return cls(torch.from_numpy(assembly.row.astype(np.int32)), torch.from_numpy(assembly.col.astype(np.int32)),
                   torch.from_numpy(assembly.data), torch.from_numpy(first.occupied), torch.from_numpy(first.virtual),
                   torch.from_numpy(np.stack([metric.weights for metric in metrics])),
                   torch.tensor([metric.plain for metric in metrics], dtype=torch.float32), coulomb, response)

    def losses(self, errors: Tensor) -> Tensor:
        """As ``Metric`` says."""
        nao = len(self.occupied)
        matrices = errors.new_zeros(len(errors), nao * nao).index_add(
            1, self.element, errors.index_select(1, self.irrep) * self.value).unflatten(1, (nao, nao))
        between = self.occupied.T @ matrices @ self.virtual
        losses = (self.weights * between.square()).sum((1, 2)) + self.plain * matrices.square().sum((1, 2))
        if len(self.coulomb):
            potentials = matrices.diagonal(dim1=1, dim2=2) @ self.coulomb
            between = self.occupied.T @ (potentials[:, :, None] * self.virtual)
            losses = losses + (self.response * between.square()).sum((1, 2))
        return losses
