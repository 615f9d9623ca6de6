"""ResNet-18 for small images: a 3x3 stem and no max pooling before the blocks; also with pre-activation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from clbench.errors import ConfigError
from clbench.models.layers import image_shape, initialise, norm_layer, whole


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: `[B, a, H, W]` to `[B, b, H/stride, W/stride]` (He et al., CVPR 2016)."""

    def __init__(self, a: int, b: int, stride: int, kind: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(a, b, 3, stride, padding=1, bias=False)
        self.norm1 = norm_layer(kind, b, 2)
        self.conv2 = nn.Conv2d(b, b, 3, padding=1, bias=False)
        self.norm2 = norm_layer(kind, b, 2)
        changes = stride != 1 or a != b
        self.shortcut = nn.Conv2d(a, b, 1, stride, bias=False) if changes else None
        self.shortcut_norm = norm_layer(kind, b, 2) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for `x`."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x))
        return F.relu(y + x)


class ResNet18(nn.Module):
    """Stem, four stages of two blocks with 1, 2, 4, 8 times `filters` channels, average pooling.

    `[B, channels, height, width]` to `[B, 8 * filters * cells]`; `cells`: number of pooled positions, 1 for global pooling.

    Args:
        input_shape: (channels, height, width); a 32x32 image leaves the last stage as 4x4.
        filters: channels of the first stage: 64 is the standard width, 20 the reduced network of GEM.
        norm: statistics of BatchNorm: `running`, `batch` (transductive) or `none`.
        pool: side of the average pooling after the last stage; None: global.
        init: `default` or `kaiming`.
        stem_stride: 1, or 2 for larger images: an 84x84 image then leaves the last stage as 6x6.

    Raises:
        ConfigError: not images, or a last stage smaller than `pool`.
    """

    def __init__(
        self, input_shape: Sequence[int], filters: int, norm: str, pool: int | None, init: str, stem_stride: int = 1
    ) -> None:
        super().__init__()
        channels, height, width = image_shape(input_shape, "a ResNet")
        whole(filters, "filters", 1)
        self.pool = None if pool is None else whole(pool, "pool", 1)
        shrinks = 8 * whole(stem_stride, "stem_stride", 1)
        last = [-(-side // shrinks) for side in (height, width)]
        if self.pool is not None and self.pool > min(last):
            raise ConfigError(
                f"model.pool={pool} is larger than the last stage's map of {last[0]}x{last[1]}",
                f"give model.pool={min(last)} or less, or null for global pooling",
            )
        self.stem = nn.Conv2d(channels, filters, 3, stem_stride, padding=1, bias=False)
        self.stem_norm = norm_layer(norm, filters, 2)
        blocks, before = [], filters
        for stage in range(4):
            after = filters * 2**stage
            blocks += [Block(before, after, 1 if stage == 0 else 2, norm), Block(after, after, 1, norm)]
            before = after
        self.blocks = nn.ModuleList(blocks)
        initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled features of `x`."""
        x = F.relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3)) if self.pool is None else F.avg_pool2d(x, self.pool).flatten(1)


class PreActivationBlock(nn.Module):
    """As `Block`, but norm and ReLU come before each convolution, and nothing after the sum (He et al., ECCV 2016).

    The shortcut starts from the activated input if the shape changes, else from the input itself.
    """

    def __init__(self, a: int, b: int, stride: int, kind: str) -> None:
        super().__init__()
        self.norm1 = norm_layer(kind, a, 2)
        self.conv1 = nn.Conv2d(a, b, 3, stride, padding=1, bias=False)
        self.norm2 = norm_layer(kind, b, 2)
        self.conv2 = nn.Conv2d(b, b, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(a, b, 1, stride, bias=False) if stride != 1 or a != b else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for `x`."""
        y = F.relu(self.norm1(x))
        if self.shortcut is not None:
            x = self.shortcut(y)
        out: Tensor = self.conv2(F.relu(self.norm2(self.conv1(y))))
        return out + x


class PreActivationResNet18(nn.Module):
    """ResNet-18 of pre-activation blocks: a stem without norm or ReLU, four stages, then norm, ReLU and global average pooling.

    `[B, channels, height, width]` to `[B, 8 * filters]`.

    Args:
        input_shape: (channels, height, width); a 32x32 image leaves the last stage as 4x4.
        filters: channels of the first stage: 64 is the standard width.
        norm: statistics of BatchNorm: `running`, `batch` (transductive) or `none`.
        init: `default` or `kaiming`.

    Raises:
        ConfigError: not images, or an unusable value.
    """

    def __init__(self, input_shape: Sequence[int], filters: int, norm: str, init: str) -> None:
        super().__init__()
        channels = image_shape(input_shape, "a ResNet")[0]
        self.stem = nn.Conv2d(channels, whole(filters, "filters", 1), 3, padding=1, bias=False)
        blocks, before = [], filters
        for stage in range(4):
            after = filters * 2**stage
            blocks += [PreActivationBlock(before, after, 1 if stage == 0 else 2, norm), PreActivationBlock(after, after, 1, norm)]
            before = after
        self.blocks = nn.ModuleList(blocks)
        self.last_norm = norm_layer(norm, before, 2)
        initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled features of `x`."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return F.relu(self.last_norm(x)).mean((2, 3))
