"""From stored inputs to the model's inputs: normalisation and augmentation, per batch, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Preprocess:
    """Normalisation, and augmentation in training.

    Args:
        mean: per channel, in units of the full scale (uint8 255 = 1); empty: inputs are not normalised.
        std: as `mean`.
        crop: pixels of zero padding (before normalisation) for a random crop back to size; 0: none.
        flip: mirror left-right with probability 1/2.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop: int = 0
    flip: bool = False
    _tables: dict[object, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def augments(self) -> bool:
        """Whether training samples are changed at random."""
        return self.crop > 0 or self.flip

    def __call__(self, raw: Tensor) -> Tensor:
        """Return `raw` `[B, ...]` as model input: uint8 becomes float32, scaled and normalised; tokens are unchanged."""
        if raw.dtype == torch.uint8:
            scale, shift = self._affine(raw)
            return raw.to(torch.float32).mul_(scale).add_(shift)
        if raw.is_floating_point() and self.mean:
            scale, shift = self._affine(raw)
            return raw * scale + shift
        return raw

    def _affine(self, raw: Tensor) -> tuple[float | Tensor, float | Tensor]:
        """Return (scale, shift): normalisation is one multiplication and one addition."""
        unit = 255.0 if raw.dtype == torch.uint8 else 1.0
        mean: Sequence[float] = self.mean or (0.0,)
        std: Sequence[float] = self.std or (1.0,)
        if len(mean) == 1:
            return 1 / (unit * std[0]), -mean[0] / std[0]
        key = (raw.device, raw.dim())
        if key not in self._tables:
            shape = (1, len(mean)) + (1,) * (raw.dim() - 2)
            m = torch.tensor(mean, device=raw.device).view(shape)
            s = torch.tensor(std, device=raw.device).view(shape)
            self._tables[key] = (1 / (unit * s), -m / s)
        return self._tables[key]

    def augment(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Return `raw` `[B, C, H, W]` randomly cropped and flipped, each sample by its own draw from `generator`."""
        if self.crop:
            raw = random_crop(raw, self.crop, generator)
        if self.flip:
            raw = random_flip(raw, generator)
        return raw


def random_crop(raw: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Pad `raw` `[B, C, H, W]` with `padding` zeros per side and crop each sample to `[H, W]` at a random offset.

    The same images as torchvision's `RandomCrop((H, W), padding)` gives at the same offsets.
    """
    b, c, h, w = raw.shape
    offsets = torch.randint(2 * padding + 1, (2, b), generator=generator, device=raw.device)
    padded = torch.nn.functional.pad(raw, (padding, padding, padding, padding))
    rows = offsets[0, :, None] + torch.arange(h, device=raw.device)
    columns = offsets[1, :, None] + torch.arange(w, device=raw.device)
    pixels = (rows[:, :, None] * padded.shape[-1] + columns[:, None, :]).view(b, 1, h * w)
    return padded.flatten(2).gather(2, pixels.expand(b, c, h * w)).view(b, c, h, w)


def random_flip(raw: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each sample of `raw` `[B, C, H, W]` left-right with probability 1/2."""
    flip = torch.rand(raw.shape[0], generator=generator, device=raw.device) < 0.5
    return torch.where(flip[:, None, None, None], raw.flip(-1), raw)
