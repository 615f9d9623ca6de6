"""Another data set's images with all pixels in another order: as hard to tell apart, and unlike anything else."""

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
    """The images of another data set, seen through one fixed permutation of their pixels (channels move together).

    Args:
        of: the data set. Its augmentation and normalisation play no part.
        seed: of the permutation.
    """

    of: Source
    seed: int

    def read(self, search: Sequence[Path], download: bool) -> Data:
        """Return both parts, permuted.

        Raises:
            ConfigError: the other data set holds no images.
        """
        data = self.of.load(search, download)
        if not self.of.image:
            raise ConfigError(
                f"data set {self.name}: {self.of.name} holds no images, so there are no pixels to permute",
                "choose a data set of images",
            )
        view = torch.randperm(data.train.inputs[0, 0].numel(), generator=generator(self.seed, "scrambled"))
        parts = (replace(pool, inputs=see(pool.inputs, view), mapped=False) for pool in (data.train, data.test))
        return Data(*parts)
