"""Images of another data set with permuted pixels: equally hard to classify, and unrelated to all other data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clbench.data.pool import see
from clbench.data.sources.base import Data, Source
from clbench.errors import ConfigError
from clbench.utils.rng import generator


@dataclass(kw_only=True)
class Scrambled(Source):
    """The images of another data set with one fixed permutation of their pixels (the same for all channels).

    Args:
        of: the data set. Its augmentation and normalisation are not used.
        seed: of the permutation.
    """

    of: Source
    seed: int

    def read(self, search: Sequence[Path], download: bool) -> Data:
        """Return both parts, permuted.

        Raises:
            ConfigError: the other data set has no images.
        """
        data = self.of.load(search, download)
        if not self.of.image:
            raise ConfigError(
                f"data set {self.name}: {self.of.name} has no images, so there are no pixels to permute",
                "choose a data set of images",
            )
        view = torch.randperm(data.train.inputs[0, 0].numel(), generator=generator(self.seed, "scrambled"))
        parts = (replace(pool, inputs=see(pool.inputs, view), mapped=False) for pool in (data.train, data.test))
        return Data(*parts)
