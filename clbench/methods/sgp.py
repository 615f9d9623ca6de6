"""Scaled gradient projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from clbench import subspace
from clbench.engine.learner.learner import Learner
from clbench.methods.gpm import GPM
from clbench.stream import Stream


@dataclass
class SGP(GPM):
    """Scaled gradient projection (Saha and Roy, AAAI 2023): GPM that removes each direction by its importance.

    A direction of importance 1 is removed entirely, as in GPM; one of importance 0 is free. The importance of a direction u after
    a task is (a + 1) s / (a s + max s), with s the norm of the layer's inputs along u (equation 2). The earlier importance is
    added, up to 1 (equation 6). The authors compute s by a second decomposition, of the inputs projected on the basis
    (`update_SGP` in main_sgp_cifar100.py): sum_j (u^T u_j)^2 s_j^2 is the squared norm of the inputs along u.

    Args:
        scale: a; a larger value moves all importances towards 1 (the authors' `scale_coff`).
    """

    scale: Annotated[float, Field(ge=0)]

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without directions."""
        super().setup(learner, stream)
        self.importances: dict[str, Tensor] = {}

    def projector(self, name: str, bias: bool) -> subspace.Projector:
        """Return the projector that removes each protected direction by its importance."""
        return subspace.remove(self.bases[name], bias, self.importances[name])

    def absorb(self, name: str, rows: Tensor, threshold: float) -> None:
        """Extend the basis, and update the importance of its directions by `rows` `[n, d]`."""
        before = self.importances.get(name, rows.new_zeros(0))
        super().absorb(name, rows, threshold)
        basis = self.bases[name]
        reach = torch.linalg.vector_norm(rows @ basis, dim=0)
        largest = reach.max() if len(reach) else reach.sum()
        found = torch.where(largest > 0, (self.scale + 1) * reach / (self.scale * reach + largest), torch.zeros_like(reach))
        found[: len(before)] += before
        self.importances[name] = found.clamp(max=1.0)
