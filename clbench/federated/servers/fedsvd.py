"""FedSVD: clients train one factor of low-rank adapters, the server recomputes both factors by an SVD of their product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench import subspace
from clbench.engine.learner.learner import Learner
from clbench.errors import RefusedError
from clbench.federated.messages import Tensors
from clbench.federated.servers.base import Server
from clbench.stream import Stream, Task

A, B = ".lora_A.", ".lora_B."
"""Parts of the names of an adapter's two factors (see `clbench.toolkit.lora`)."""


@dataclass
class FedSVD(Server):
    """FedSVD for low-rank adapters (NeurIPS 2025, arXiv 2505.12805; authors' program sw-programmer/FedSVD).

    W x becomes W x + s B A x. Clients train only B. Then the mean of their products B A is the product of the mean B with A. The
    separate means of A and B do not have this property. Every `period` rounds the server decomposes the product of the mean B
    with A as U S V^T and continues with A = V^T and B = U S. The product stays the same. The rows of A become orthonormal and
    span the product's row space. The server sends A together with B in every round.

    The paper trains with differential privacy (DP-SGD at the clients), so that noise in B must not multiply noise in A.
    Differential privacy is out of scope here; this rule is the rest of the paper's method.

    Args:
        period: rounds between two decompositions; 0: none, A keeps its random values (FFA-LoRA, Sun et al., ICLR 2024).
        head: `train`: clients train the heads together with B. `freeze`: heads do not change, as in the authors' program.
    """

    period: Annotated[int, Field(ge=0)]
    head: Literal["train", "freeze"]

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start the count of rounds at 0."""
        self.rounds = 0
        self._report: dict[str, Any] = {}

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Start the count of rounds at 0: it counts within a task."""
        self.rounds = 0

    def trained(self, names: list[str]) -> list[str]:
        """Return the names of B, and those of the heads if they train."""
        if not any(B in name for name in names):
            raise RefusedError(
                "federated.server fedsvd averages low-rank adapters, but the method trains none",
                "use method=seq_lora (or inc_lora, olora) with method.base=frozen, or another server rule",
            )
        return [name for name in names if B in name or (self.head == "train" and name.startswith("heads."))]

    def aggregate(self, learner: Learner, start: Tensors, mean: Tensors) -> Tensors:
        """Return the mean. Every `period` rounds the factors of its adapters are decomposed again."""
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
    """Return A' = V^T and B' = U S of the product B A: B' A' = B A, A' A'^T = 1, and the columns of B' are orthogonal.

    The product is never formed: QR decompositions of B and A^T reduce the problem to a decomposition of size r. Computed in
    float64. The sign of every row of A' makes its largest entry positive. If B is zero, A and B are returned unchanged.

    Args:
        a: A `[r, d_in]`, r <= d_in.
        b: B `[d_out, r]`.

    Returns:
        A' `[r, d_in]` and B' `[d_out, r]`, in the dtypes of A and B.

    Raises:
        RefusedError: r > d_in; then r orthonormal rows do not exist.
    """
    rank, width = a.shape
    if rank > width:
        raise RefusedError(
            f"federated.server fedsvd makes the rows of A orthonormal, but an adapter has {rank} rows of {width} entries",
            f"give method.rank={width} or less",
        )
    if not bool(b.any()):
        return a, b
    q_out, core_out = torch.linalg.qr(b.to(torch.float64))
    q_in, core_in = torch.linalg.qr(a.to(torch.float64).mT)
    u, s, vh = subspace.svd(core_out @ core_in.mT, full=True)  # vh [r, r], also where B has fewer rows than columns
    turned = vh @ q_in.mT
    left = torch.zeros(b.shape, dtype=torch.float64, device=b.device)
    left[:, : len(s)] = q_out @ u[:, : len(s)] * s
    largest = turned.gather(1, turned.abs().argmax(1, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0).to(torch.float64)
    return (turned * signs).to(a.dtype), (left * signs.mT).to(b.dtype)
