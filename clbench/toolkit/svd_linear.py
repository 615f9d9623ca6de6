"""Linear layers as products of singular factors with the leading ones frozen, and the way back to plain layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clbench import subspace

FACTORS = ("U_low", "S_low", "V_low")
"""Names of the parameters of a factored layer, without its bias."""
PASSES = 1.2
"""Relative cost of a multiplication with the factors, compared to one with W: the products are smaller and more, and there are
more passes over activations. Measured on a CPU, 1024 tokens, widths 256 and 576."""


class FactoredLinear(nn.Module):
    """y = W x + b with W = (U_high * S_high) V_high + (U_low * S_low) V_low, differentiable through the low factors and b.

    U_high `[out, k]`, S_high `[k]` and V_high `[k, in]` are buffers and never change. A forward pass either computes W or uses
    the factors directly, whichever needs fewer multiplications (`rebuilds`). No copy of W lives longer than a step.

    Args:
        plain: the replaced layer: `nn.Linear`, or `Conv1D` of transformers, whose weight is W^T. It is stored for `restore`,
            without its weight.
        rank: k, the number of frozen leading singular triples.
    """

    U_high: Tensor
    S_high: Tensor
    V_high: Tensor
    bias: nn.Parameter | None

    def __init__(self, plain: nn.Module, rank: int) -> None:
        super().__init__()
        weight = plain.get_parameter("weight")
        self.transposed = not isinstance(plain, nn.Linear)
        self.kept_dtype = weight.dtype
        matrix = weight.mT if self.transposed else weight
        self.out_features, self.in_features = matrix.shape
        self.rank = rank
        subspace.refuse_not_finite(matrix, "the weight of a linear layer that is to be decomposed")
        split = subspace.decompose(matrix, rank)
        for name, part in zip(("U_high", "S_high", "V_high"), split.high, strict=True):
            self.register_buffer(name, part)
        self.U_low, self.S_low, self.V_low = (nn.Parameter(part, weight.requires_grad) for part in split.low)
        self.register_parameter("bias", plain._parameters["bias"])
        self.training = plain.training
        plain.register_parameter("weight", None)
        self._plain = [plain]  # in a list, so that it is no submodule

    @property
    def weight(self) -> Tensor:
        """W in the plain layer's form, computed again: for code that reads the weights of layers directly."""
        dense = self.dense()
        return dense.mT if self.transposed else dense

    def dense(self) -> Tensor:
        """Return W `[out, in]`."""
        return subspace.compose(self.U_low, self.S_low, self.V_low, subspace.compose(self.U_high, self.S_high, self.V_high))

    def rebuilds(self, rows: int, gradients: bool) -> bool:
        """Return whether to compute W first needs fewer multiplications than to use the factors.

        The count includes the backward pass, if there is one: for each product, one product for its inputs and one for its
        weights, without the frozen ones.

        Args:
            rows: number of inputs.
            gradients: True if a backward pass follows.
        """
        out, d, p = self.out_features, self.in_features, self.rank + len(self.S_low)
        low = p - self.rank
        through = rows * (out + d) * (2 * p + low if gradients else p)
        made = (3 if gradients else 1) * rows * out * d + out * d * (p + 2 * low if gradients else p)
        return made <= PASSES * through

    def forward(self, x: Tensor) -> Tensor:
        """Return W x + b `[..., out]` for `x` `[..., in]`."""
        same = x.dtype == self.U_low.dtype or torch.is_autocast_enabled(x.device.type)
        if not same or self.rebuilds(x.numel() // self.in_features, torch.is_grad_enabled()):
            dense = self.dense()
            return F.linear(x, dense if same else dense.to(x.dtype), self.bias)
        high = F.linear(F.linear(x, self.V_high) * self.S_high, self.U_high, self.bias)
        return high + F.linear(F.linear(x, self.V_low) * self.S_low, self.U_low)

    def restore(self) -> nn.Module:
        """Return the plain layer with the current weight."""
        (plain,) = self._plain
        with torch.no_grad():
            weight = self.weight.to(self.kept_dtype).contiguous()
        plain.register_parameter("weight", nn.Parameter(weight, self.U_low.requires_grad))
        return plain.train(self.training)

    def extra_repr(self) -> str:
        """Return the sizes, for `print`."""
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}"


def put(backbone: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module called `name` by `module`."""
    parent, _, child = name.rpartition(".")
    setattr(backbone.get_submodule(parent), child, module)
