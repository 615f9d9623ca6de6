"""The multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn
from torch.nn import functional as F

from clbench.models.layers import flag, initialise, rates, sizes


class MLP(nn.Module):
    """Fully connected layers with ReLU after each: `[B, *input_shape]` (flattened) to `[B, hidden[-1]]`.

    Args:
        input_shape: of one sample.
        hidden: widths of the hidden layers; an empty list gives a linear model, a head on the flattened input.
        bias: whether the layers have a bias.
        dropout: rate after every ReLU, or a list with one rate per ReLU.
        init: of the layers: `default`, `kaiming` or `xavier`.

    Raises:
        ConfigError: a width below 1 or a rate outside [0, 1).
    """

    def __init__(
        self, input_shape: Sequence[int], hidden: list[int], bias: bool, dropout: float | list[float], init: str = "default"
    ) -> None:
        super().__init__()
        widths = [prod(input_shape), *sizes(hidden, "hidden", empty=True)]
        flag(bias, "bias")
        self.dropouts = rates(dropout, "dropout", len(widths) - 1)
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in pairwise(widths))
        initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of `x`."""
        x = x.flatten(1)
        for layer, rate in zip(self.layers, self.dropouts, strict=True):
            x = F.relu(layer(x))
            if rate:
                x = F.dropout(x, rate, self.training)
        return x
