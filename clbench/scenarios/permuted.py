"""Permuted: all classes in every task, the pixels in an order of each task's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clbench.errors import RefusedError
from clbench.scenarios.stream_builder import Options, OrderSeed, Part, assemble, load, preprocess_of
from clbench.stream import Outputs, Setting, Stream
from clbench.utils.rng import generator

if TYPE_CHECKING:
    from clbench.data.sources.base import Source


def permuted(
    *,
    dataset: Source,
    first_identity: bool,
    setting: Setting,
    n_tasks: int,
    outputs: Outputs,
    order_seed: OrderSeed,
    valid_fraction: float,
    online: bool,
    seed: int,
    data_sha256: str,
    search: Sequence[Path],
    download: bool,
    device: torch.device,
) -> Stream:
    """Return the stream whose every task shows the whole data set under a fixed random permutation of the pixels.

    All channels of a pixel move together. In the class setting each permuted copy has classes of its own
    (`n_tasks * n_classes` outputs). Validation is drawn anew for each task, so an image held out in one task may be
    learned from, permuted otherwise, in another. Goodfellow et al., 2013 (arXiv 1312.6211); Kirkpatrick et al., PNAS
    2017.

    Own keys; the others are those of `clbench.scenarios.split.split`:
        first_identity: whether the first task keeps the pixels in place.
        n_tasks: number of permutations.
        order_seed: order in which the permutations come (they are drawn from the trial's seed whatever their order);
            with `first_identity` the unpermuted task stays first.

    Raises:
        ConfigError: a value that cannot be used.
        RefusedError: inputs that are not images, or crops and flips, which mean nothing once pixels are permuted.
        DataError: as the data set raises it.
    """
    options = Options(setting, outputs, n_tasks, order_seed, valid_fraction, seed, data_sha256)
    if dataset.crop or dataset.flip:
        raise RefusedError(
            f"scenario.dataset.crop={dataset.crop} flip={dataset.flip}: permuted pixels have no neighbours to crop or flip with",
            "set scenario.dataset.crop=0 scenario.dataset.flip=false",
        )
    fixed = [0] if first_identity else []
    order = fixed + [len(fixed) + i for i in options.order(n_tasks - len(fixed), "task order")]
    train, test, n_classes = load(dataset, search, download, images=True)
    pixels, classes = train.inputs[0, 0].numel(), tuple(range(n_classes))
    parts = [
        Part("unpermuted", classes, torch.arange(pixels))
        if i in fixed
        else Part(f"permutation {i}", classes, permutation(pixels, seed, i))
        for i in order
    ]
    return assemble(parts, train.to(device), test.to(device), preprocess_of(dataset), options)


def permutation(pixels: int, seed: int, number: int) -> Tensor:
    """Return the view `[pixels]` of one permutation, drawn from (seed, "permutation", number)."""
    return torch.randperm(pixels, generator=generator(seed, "permutation", number))
