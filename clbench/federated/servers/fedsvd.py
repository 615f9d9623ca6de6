"""FedSVD: clients train one factor of low-rank adapters, the server turns the other to where the product lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Learner
from clbench.errors import RefusedError
from clbench.federated.messages import Tensors
from clbench.federated.servers.base import Server
from clbench.stream import Stream, Task

A, B = ".lora_A.", ".lora_B."
"""What stands in the names of the two factors of an adapter (see `clbench.toolkit.lora`)."""


@dataclass
class FedSVD(Server):
    """FedSVD for low-rank adapters (NeurIPS 2025, arXiv 2505.12805; authors' program sw-programmer/FedSVD).

    W x becomes W x + s B A x. Clients train B alone, so that the mean of their products B A is the product of the mean:
    averaging A and B apart has no such property. Every `period` rounds the server writes the product of the averaged B with A
    as the singular value decomposition U S V^T and goes on with A = V^T and B = U S: the product stays, and the rows of A become
    orthonormal and lie where the product does. A then travels down with B in every round.

    The paper trains under differential privacy (DP-SGD at the clients), where it matters most that the noise in B does not
    meet noise in A. That is out of scope here: this rule is the rest of it.

    Args:
        period: rounds from one decomposition to the next; 0: none, A stays as it was drawn (FFA-LoRA, Sun et al., ICLR 2024).
        head: whether clients train the heads beside B (`train`) or leave them as they are (`freeze`, as the authors do).
    """

    period: Annotated[int, Field(ge=0)]
    head: Literal["train", "freeze"]

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start counting rounds."""
        self.rounds = 0
        self._report: dict[str, Any] = {}

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Count a task's rounds from its own start."""
        self.rounds = 0

    def trained(self, names: list[str]) -> list[str]:
        """Return the names of B, and of the heads where they train."""
        if not any(B in name for name in names):
            raise RefusedError(
                "federated.server fedsvd averages low-rank adapters, and the method trains none",
                "use method=seq_lora (or inc_lora, olora) with method.base=frozen, or another server rule",
            )
        return [name for name in names if B in name or (self.head == "train" and name.startswith("heads."))]

    def aggregate(self, learner: Learner, start: Tensors, mean: Tensors) -> Tensors:
        """Return the mean, and every `period` rounds its adapters' factors anew."""
        self.rounds += 1
        if not self.period or self.rounds % self.period:
            return mean
        moved = dict(mean)
        for name in mean:
            if B in name:
                partner = name.replace(B, A)
                moved[partner], moved[name] = refactored(learner.parameters[partner].detach(), mean[name])
        return moved


def refactored(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return A' = V^T and B' = U S of the product B A, so that B' A' = B A, A' A'^T = 1, and the columns of B' are orthogonal.

    The product is never formed: QR decompositions of B and A^T leave a decomposition of size r. In float64; the sign of every
    row of A' is that which makes its largest entry positive. Where B is zero there is nothing to turn to: both stay.

    Args:
        a: A `[r, d_in]`, r <= d_in.
        b: B `[d_out, r]`.

    Returns:
        A' `[r, d_in]` and B' `[d_out, r]`, in the types of A and B.

    Raises:
        RefusedError: r > d_in, so that there are no r orthonormal rows.
    """
    rank, width = a.shape
    if rank > width:
        raise RefusedError(
            f"federated.server fedsvd makes the rows of A orthonormal, and an adapter has {rank} rows of {width} entries",
            f"give method.rank={width} or less",
        )
    if not bool(b.any()):
        return a, b
    q_out, core_out = torch.linalg.qr(b.to(torch.float64))
    q_in, core_in = torch.linalg.qr(a.to(torch.float64).mT)
    u, s, vh = torch.linalg.svd(core_out @ core_in.mT)  # vh [r, r], also where B has fewer rows than columns
    turned = vh @ q_in.mT
    left = torch.zeros(b.shape, dtype=torch.float64, device=b.device)
    left[:, : len(s)] = q_out @ u[:, : len(s)] * s
    largest = turned.gather(1, turned.abs().argmax(1, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0).to(torch.float64)
    return (turned * signs).to(a.dtype), (left * signs.mT).to(b.dtype)
