"""Linear layers as products of singular factors, the leading ones frozen: put in the place of plain layers, and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clbench import subspace

FACTORS = ("U_low", "S_low", "V_low")
"""Names of the parameters of a factored layer, beside its bias."""
PASSES = 1.2
"""What a multiplication costs on the way through the factors, in those of making W first: more and smaller products, and more
passes over activations. Measured on a CPU, 1024 tokens, widths 256 and 576."""


class FactoredLinear(nn.Module):
    """y = W x + b with W = (U_high * S_high) V_high + (U_low * S_low) V_low, differentiable through the low factors and b.

    U_high `[out, k]`, S_high `[k]`, V_high `[k, in]` are buffers: nothing moves them. W is either made anew in a forward pass
    or never made at all, whichever is fewer multiplications (`rebuilds`); no copy of it outlives a step.

    Args:
        plain: the layer it stands for: `nn.Linear`, or `Conv1D` of transformers, whose weight is W^T. It is kept for `restore`,
            without its weight.
        rank: k, the number of leading singular triples that stand still.
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
        split = subspace.decompose(matrix, rank)
        for name, part in zip(("U_high", "S_high", "V_high"), split.high, strict=True):
            self.register_buffer(name, part)
        self.U_low, self.S_low, self.V_low = (nn.Parameter(part, weight.requires_grad) for part in split.low)
        self.register_parameter("bias", plain._parameters["bias"])
        self.training = plain.training
        plain.register_parameter("weight", None)
        self._plain = [plain]  # in a list, so that it is no part of this module

    @property
    def weight(self) -> Tensor:
        """W as the plain layer had it, made anew: for code that reads the weights of layers itself."""
        dense = self.dense()
        return dense.mT if self.transposed else dense

    def dense(self) -> Tensor:
        """Return W `[out, in]`."""
        return subspace.compose(self.U_low, self.S_low, self.V_low, subspace.compose(self.U_high, self.S_high, self.V_high))

    def rebuilds(self, rows: int, gradients: bool) -> bool:
        """Return whether making W first takes fewer multiplications than passing through the factors.

        Counted with the backward pass, where there is one: of a product with n rows, one for its inputs and one for its
        weights, the frozen ones left out.

        Args:
            rows: number of inputs.
            gradients: whether a backward pass follows.
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
        """Return the plain layer with the weight as it is now."""
        (plain,) = self._plain
        with torch.no_grad():
            weight = self.weight.to(self.kept_dtype).contiguous()
        plain.register_parameter("weight", nn.Parameter(weight, self.U_low.requires_grad))
        return plain.train(self.training)

    def extra_repr(self) -> str:
        """Return the sizes, for `print`."""
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}"


def put(backbone: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` in the place of the one called `name`."""
    parent, _, child = name.rpartition(".")
    setattr(backbone.get_submodule(parent), child, module)
