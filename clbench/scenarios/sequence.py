"""Sequence: one data set per task, all images brought to one size and number of channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from clbench.data.pool import Pool
from clbench.data.preprocess import Preprocess
from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.stream_builder import Options, OrderSeed, Part, assemble, is_integer, load
from clbench.stream import Outputs, Setting, Stream

if TYPE_CHECKING:
    from clbench.data.sources.base import Source

Fit = Literal["pad", "resize"]


def sequence(
    *,
    datasets: Mapping[str, Source],
    size: int,
    channels: int,
    fit: Fit,
    mean: Sequence[float],
    std: Sequence[float],
    crop: int,
    flip: bool,
    setting: Setting,
    n_tasks: int | None,
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
    """Return the stream whose tasks are whole data sets with labels of their own.

    One pool holds all images as uint8 `[N, channels, size, size]`. Class numbers of the data sets are offset so that
    they are disjoint: those of the second data set follow those of the first, in the order of the tasks.
    Ebrahimi et al., ECCV 2020 (five data sets).

    Own keys; the others are those of `clbench.scenarios.split.split`:
        datasets: name -> images, in canonical order.
        size: height and width of all images, pixels.
        channels: of all images; a grey image is repeated over them.
        fit: `pad`: zeros around smaller images (an odd row or column more below and right); `resize`: bilinear,
            antialiased when shrinking, to a square.
        mean: shared normalisation, per channel, in units of full scale.
        std: as `mean`.
        crop: padding in pixels of a random crop in training; 0: none.
        flip: whether training images are mirrored at random.
        setting: `task` or `class`.
        n_tasks: how many of the data sets, from the first; None: all.
        order_seed: order of the data sets: None as listed, an integer, or "seed" for an order that follows the trial's.

    Raises:
        ConfigError: a value that cannot be used; images that cannot be brought to the size or channels.
        RefusedError: the domain setting; inputs that are not images; augmentation declared for one data set alone.
        DataError: as a data set raises it.
    """
    _check_sequence(datasets, size, channels, crop, fit, setting)
    wanted = len(datasets) if n_tasks is None else n_tasks
    alignment = f"{size}x{size}x{channels} {fit}"
    options = Options(setting, outputs, wanted, order_seed, valid_fraction, seed, f"{data_sha256}|{alignment}")
    if wanted > len(datasets):
        raise ConfigError(
            f"scenario.n_tasks={wanted} is more than the {len(datasets)} data sets of the sequence",
            f"give at most {len(datasets)}, or null for all",
        )
    listed = list(datasets)
    names = [listed[i] for i in options.order(len(listed), "task order")[:wanted]]
    trains, tests, sizes = zip(*(load(datasets[name], search, download, images=True) for name in names))
    starts = [0, *accumulate(sizes)]
    train, test = (join(list(zip(names, pools, starts)), size, channels, fit).to(device) for pools in (trains, tests))
    parts = [Part(name, tuple(range(start, end))) for name, (start, end) in zip(names, pairwise(starts))]
    return assemble(parts, train, test, Preprocess(tuple(mean), tuple(std), crop, flip), options)


def join(pools: Sequence[tuple[str, Pool, int]], size: int, channels: int, fit: Fit) -> Pool:
    """Return one pool of (name, pool, first class number) entries: images aligned, class numbers offset.

    Raises:
        ConfigError: images that cannot be brought to `size` or `channels`; the message says what can be done.
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
        out: where they go.
        fit: `pad` or `resize`, see `sequence`.
        name: of the data set, for messages.
        chunk: images resized at a time; bounds the memory, changes nothing else.
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


def _check_sequence(datasets: Mapping[str, Source], size: int, channels: int, crop: int, fit: str, setting: str) -> None:
    if not datasets:
        raise ConfigError(
            "scenario.datasets is empty: a sequence needs at least one data set",
            "choose scenario=four_datasets or five_datasets, or list data sets as these files do",
        )
    if setting == "domain":
        raise RefusedError(
            "scenario.setting=domain for a sequence of data sets: their labels are unrelated, so "
            "sharing outputs between them means nothing",
            "set scenario.setting=class or scenario.setting=task",
        )
    if fit not in get_args(Fit):
        raise ConfigError(f"scenario.fit={fit!r} is unknown", f"scenario.fit is one of: {', '.join(get_args(Fit))}")
    for key, value, least in (("size", size, 1), ("channels", channels, 1), ("crop", crop, 0)):
        if not is_integer(value) or value < least:
            raise ConfigError(f"scenario.{key}={value!r} cannot be used", f"give an integer of at least {least}")
    for name, source in datasets.items():
        if source.crop or source.flip:
            raise RefusedError(
                f"scenario.datasets.{name}.crop={source.crop} flip={source.flip}: augmentation is the "
                "same for all data sets of a sequence",
                f"set scenario.datasets.{name}.crop=0 scenario.datasets.{name}.flip=false, and "
                "scenario.crop, scenario.flip for all",
            )
