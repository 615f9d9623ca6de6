"""Plain convolutional networks, such as `conf/model/alexnet.yaml` and `conf/model/lenet.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from clbench.errors import ConfigError
from clbench.models.layers import flag, image_shape, initialise, norm_layer, rates, sizes, whole

RESPONSE_NORM = ("size", "alpha", "beta", "k")


class ConvNet(nn.Module):
    """Convolutions, each followed by norm, ReLU, dropout and max pooling, then linear layers with norm, ReLU, dropout.

    `[B, channels, height, width]` to `[B, hidden[-1]]`. Layers are plain `nn.Conv2d` (`convs.i`) and `nn.Linear`
    (`linears.i`).

    Args:
        input_shape: (channels, height, width).
        channels: output channels of each convolution.
        kernels: side of each convolution's kernel; stride 1.
        padding: zeros around each convolution's input.
        pool_kernel: side of the max pooling after each convolution.
        pool_stride: its stride.
        pool_padding: its padding; at most half of `pool_kernel`.
        hidden: widths of the linear layers.
        dropout: one rate for all layers, or one per convolution and then one per linear layer.
        norm: statistics of the BatchNorm after every layer: `running`, `batch` (transductive) or `none`.
        response_norm: None, or the local response normalisation after the ReLU of each convolution:
            `{size, alpha, beta, k}` of `torch.nn.LocalResponseNorm`.
        bias: whether convolutions and linear layers have a bias.
        init: `default` or `kaiming`.

    Raises:
        ConfigError: the values are inconsistent, or the input is too small for the layers.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        channels: list[int],
        kernels: list[int],
        padding: int,
        pool_kernel: int,
        pool_stride: int,
        pool_padding: int,
        hidden: list[int],
        dropout: float | list[float],
        norm: str,
        response_norm: Mapping[str, float] | None,
        bias: bool,
        init: str,
    ) -> None:
        super().__init__()
        shape = image_shape(input_shape, "a convolutional network")
        channels, kernels, hidden = sizes(channels, "channels"), sizes(kernels, "kernels"), sizes(hidden, "hidden")
        if len(kernels) != len(channels):
            raise ConfigError(
                f"model.kernels={kernels} has {len(kernels)} entries for {len(channels)} convolutions",
                "give one kernel side per entry of model.channels",
            )
        whole(padding, "padding", 0)
        self.pool = (
            whole(pool_kernel, "pool_kernel", 1),
            whole(pool_stride, "pool_stride", 1),
            whole(pool_padding, "pool_padding", 0),
        )
        if 2 * pool_padding > pool_kernel:
            raise ConfigError(
                f"model.pool_padding={pool_padding} is more than half of model.pool_kernel={pool_kernel}",
                f"give model.pool_padding={pool_kernel // 2} or less",
            )
        self.dropouts = rates(dropout, "dropout", len(channels) + len(hidden))
        self.response_norm = _response_norm(response_norm)
        flag(bias, "bias")
        layers = list(zip([shape[0], *channels[:-1]], channels, kernels))
        self.convs = nn.ModuleList(nn.Conv2d(a, b, k, padding=padding, bias=bias) for a, b, k in layers)
        flat = channels[-1] * _map_size(shape, kernels, padding, self.pool)
        widths = [flat, *hidden]
        self.linears = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in zip(widths[:-1], hidden))
        self.norms = nn.ModuleList(norm_layer(norm, c, 2) for c in channels)
        self.norms.extend(norm_layer(norm, d, 1) for d in hidden)
        initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of `x`."""
        layers = [*self.convs, *self.linears]
        for index, (layer, normalise, rate) in enumerate(zip(layers, self.norms, self.dropouts)):
            spatial = index < len(self.convs)
            if not spatial and x.dim() > 2:
                x = x.flatten(1)
            x = F.relu(normalise(layer(x)))
            if spatial and self.response_norm is not None:
                x = self.response_norm(x)
            if rate:
                x = F.dropout(x, rate, self.training)
            if spatial:
                x = F.max_pool2d(x, *self.pool)
        return x


def _map_size(shape: tuple[int, int, int], kernels: list[int], padding: int, pool: tuple[int, int, int]) -> int:
    """Return height x width after all convolutions and poolings."""
    sides = list(shape[1:])
    for index, kernel in enumerate(kernels):
        convolved = [side + 2 * padding - kernel + 1 for side in sides]
        pooled = [(side + 2 * pool[2] - pool[0]) // pool[1] + 1 for side in convolved]
        if min(convolved) < 1 or min(pooled) < 1:
            raise ConfigError(
                f"model: inputs of {shape[1]}x{shape[2]} pixels are too small: convolution {index} "
                f"(kernel {kernel}, then pooling {pool[0]}) gets a map of {sides[0]}x{sides[1]}",
                "choose a scenario with larger images, model=mlp, or fewer and smaller model.kernels",
            )
        sides = pooled
    return sides[0] * sides[1]


def _response_norm(values: Mapping[str, Any] | None) -> nn.Module | None:
    if values is None:
        return None
    if not isinstance(values, Mapping) or set(values) != set(RESPONSE_NORM):
        raise ConfigError(f"model.response_norm={values!r}", f"give null or a mapping of {', '.join(RESPONSE_NORM)}")
    size, *rest = (values[key] for key in RESPONSE_NORM)
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in rest):
        raise ConfigError(
            f"model.response_norm={values!r} has a value that is not a number", "see conf/model/lenet.yaml for the usual values"
        )
    return nn.LocalResponseNorm(whole(size, "response_norm.size", 1), *(float(v) for v in rest))
