"""Permuted: every task holds all classes, with its own permutation of the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clbench.data.sources.base import Source
from clbench.errors import RefusedError
from clbench.scenarios.scenario_options import Count, DataAccess, OrderSeed, ScenarioOptions, draw_order
from clbench.scenarios.stream_builder import Part, build_stream, load, preprocess_of
from clbench.stream import Stream
from clbench.utils.rng import generator


@dataclass(frozen=True, kw_only=True)
class PermutedOptions(ScenarioOptions):
    """Options of `permuted`; the shared ones are those of `ScenarioOptions`.

    Args:
        dataset: source of the images.
        first_identity: whether the first task keeps the pixels in place.
        n_tasks: number of permutations.
        order_seed: order of the permutations. The seed of the run alone draws the permutations themselves. With `first_identity`
            the unpermuted task stays first.
    """

    dataset: Source
    first_identity: bool
    n_tasks: Count
    order_seed: OrderSeed


def permuted(options: PermutedOptions, access: DataAccess) -> Stream:
    """Return the stream whose every task shows the whole data set under a fixed random permutation of the pixels.

    All channels of a pixel move together. In the class setting each permuted copy has its own classes (`n_tasks * n_classes`
    outputs). Validation samples are drawn anew for each task: an image that one task holds out may be a training image of another
    task, under another permutation. Goodfellow et al., 2013 (arXiv 1312.6211); Kirkpatrick et al., PNAS 2017.

    Args:
        options: of the scenario.
        access: to the data.

    Raises:
        RefusedError: inputs that are not images; crops or flips, which have no meaning for permuted pixels.
        DataError: as the data set raises it.
    """
    dataset = options.dataset
    if dataset.crop or dataset.flip:
        raise RefusedError(
            f"scenario.dataset.crop={dataset.crop} flip={dataset.flip}: permuted pixels have no neighbours to crop or flip with",
            "set scenario.dataset.crop=0 scenario.dataset.flip=false",
        )
    fixed = [0] if options.first_identity else []
    drawn = draw_order(options.order_seed, access.seed, options.n_tasks - len(fixed), "task order")
    order = fixed + [len(fixed) + i for i in drawn]
    train, test, n_classes = load(dataset, access, images=True)
    pixels, classes = train.inputs[0, 0].numel(), tuple(range(n_classes))
    parts = [
        Part("unpermuted", classes, torch.arange(pixels))
        if i in fixed
        else Part(f"permutation {i}", classes, permutation(pixels, access.seed, i))
        for i in order
    ]
    return build_stream(parts, train, test, preprocess_of(dataset), options, access)


def permutation(pixels: int, seed: int, number: int) -> Tensor:
    """Return the view `[pixels]` of one permutation, drawn from (seed, "permutation", number)."""
    return torch.randperm(pixels, generator=generator(seed, "permutation", number))
