"""Sequence: one data set per task, all images with one size and number of channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, SkipValidation
from torch import Tensor

from clbench.data.pool import Pool
from clbench.data.preprocess import Preprocess
from clbench.data.sources.base import Source
from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.scenario_options import Count, DataAccess, OrderSeed, ScenarioOptions, draw_order
from clbench.scenarios.stream_builder import Part, build_stream, load
from clbench.stream import Stream

Fit = Literal["pad", "resize"]


@dataclass(frozen=True, kw_only=True)
class SequenceOptions(ScenarioOptions):
    """Options of `sequence`; the shared ones are those of `ScenarioOptions`. The setting is `task` or `class`.

    Args:
        datasets: name -> images, in canonical order.
        size: height and width of all images, pixels.
        channels: of all images; a grey image is repeated over the channels.
        fit: `pad`: zeros around smaller images (an odd row or column goes below and right); `resize`: bilinear to a square,
            antialiased when shrinking.
        mean: shared normalisation, per channel, in units of full scale.
        std: as `mean`.
        crop: padding in pixels of a random crop in training; 0: none.
        flip: whether training images are mirrored at random.
        n_tasks: number of data sets to use, from the first; None: all.
        order_seed: order of the data sets.
    """

    datasets: Mapping[str, SkipValidation[Source]]
    size: Count
    channels: Count
    fit: Fit
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: Annotated[int, Field(ge=0)]
    flip: bool
    n_tasks: Count | None
    order_seed: OrderSeed


def sequence(options: SequenceOptions, access: DataAccess) -> Stream:
    """Return the stream whose tasks are whole data sets with labels of their own.

    One pool holds all images as uint8 `[N, channels, size, size]`. The class numbers of the data sets are offset and so disjoint:
    those of the second data set follow those of the first, in the order of the tasks.
    Ebrahimi et al., ECCV 2020 (five data sets).

    Args:
        options: of the scenario.
        access: to the data.

    Raises:
        ConfigError: too many tasks; images that do not fit the size or the channels.
        RefusedError: the domain setting; inputs that are not images; augmentation declared for a single data set.
        DataError: as a data set raises it.
    """
    _check(options)
    size, channels, fit = options.size, options.channels, options.fit
    listed = list(options.datasets)
    n_tasks = len(listed) if options.n_tasks is None else options.n_tasks
    names = [listed[i] for i in draw_order(options.order_seed, access.seed, len(listed), "task order")[:n_tasks]]
    trains, tests, sizes = zip(*(load(options.datasets[name], access, images=True) for name in names))
    starts = [0, *accumulate(sizes)]
    train, test = (join(list(zip(names, pools, starts)), size, channels, fit) for pools in (trains, tests))
    parts = [Part(name, tuple(range(start, end))) for name, (start, end) in zip(names, pairwise(starts))]
    preprocess = Preprocess(tuple(options.mean), tuple(options.std), options.crop, options.flip)
    aligned = replace(access, data_sha256=f"{access.data_sha256}|{size}x{size}x{channels} {fit}")
    return build_stream(parts, train, test, preprocess, options, aligned)


def join(pools: Sequence[tuple[str, Pool, int]], size: int, channels: int, fit: Fit) -> Pool:
    """Return one pool of (name, pool, first class number) entries: images aligned, class numbers offset.

    Raises:
        ConfigError: images that do not fit `size` or `channels`.
    """
    inputs = torch.zeros(sum(len(pool) for _, pool, _ in pools), channels, size, size, dtype=torch.uint8)
    start = 0
    for name, pool, _ in pools:
        align(pool.inputs, inputs[start : start + len(pool)], fit, name)
        start += len(pool)
    return Pool(inputs, torch.cat([pool.targets + offset for _, pool, offset in pools]))


def align(images: Tensor, out: Tensor, fit: Fit, name: str, chunk: int = 4096) -> None:
    """Write `images` uint8 `[N, c, h, w]` into `out` uint8 zeros `[N, channels, size, size]`.

    Args:
        images: grey (c = 1), or with as many channels as `out`.
        out: receives the images.
        fit: `pad` or `resize`, see `sequence`.
        name: of the data set, for messages.
        chunk: images resized at a time; bounds the memory.
    """
    _, channels, size, _ = out.shape
    height, width = images.shape[-2:]
    if images.dtype != torch.uint8:
        raise ConfigError(f"images of {name} are {images.dtype}, not uint8", "store them as 0..255 in uint8")
    if images.shape[1] not in (1, channels):
        raise ConfigError(
            f"images of {name} have {images.shape[1]} channels, scenario.channels={channels}",
            f"set scenario.channels={images.shape[1]}; only grey images can be repeated over channels",
        )
    if fit == "pad":
        if max(height, width) > size:
            raise ConfigError(
                f"images of {name} are {height}x{width}, larger than scenario.size={size}",
                f"set scenario.size={max(height, width)} or scenario.fit=resize",
            )
        top, left = (size - height) // 2, (size - width) // 2
        out[:, :, top : top + height, left : left + width] = images
        return
    for start in range(0, len(images), chunk):
        part = images[start : start + chunk].to(torch.float32)
        part = torch.nn.functional.interpolate(part, (size, size), mode="bilinear", align_corners=False, antialias=True)
        out[start : start + chunk] = part.round_().clamp_(0, 255).to(torch.uint8)


def _check(options: SequenceOptions) -> None:
    if not options.datasets:
        raise ConfigError(
            "scenario.datasets is empty: a sequence needs at least one data set",
            "choose scenario=four_datasets or five_datasets, or list data sets as these files do",
        )
    if options.setting == "domain":
        raise RefusedError(
            "scenario.setting=domain for a sequence of data sets: shared outputs make no sense, their labels are unrelated",
            "set scenario.setting=class or scenario.setting=task",
        )
    if options.n_tasks is not None and options.n_tasks > len(options.datasets):
        raise ConfigError(
            f"scenario.n_tasks={options.n_tasks} is more than the {len(options.datasets)} data sets of the sequence",
            f"give at most {len(options.datasets)}, or null for all",
        )
    for name, source in options.datasets.items():
        if source.crop or source.flip:
            raise RefusedError(
                f"scenario.datasets.{name}.crop={source.crop} flip={source.flip}: all data sets of a sequence share one "
                "augmentation",
                f"set scenario.datasets.{name}.crop=0 scenario.datasets.{name}.flip=false, and scenario.crop, scenario.flip "
                "for all",
            )
