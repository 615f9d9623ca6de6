"""From parts (which classes, seen how) to a stream: labels, validation, evaluation sets, fingerprint.

All scenarios of labelled inputs end here, so that what a label is, how validation is carved, and how a task is named
in the matrix are said once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from clbench.data.pool import Pool, Split
from clbench.data.preprocess import Preprocess
from clbench.errors import ConfigError, DataError, RefusedError
from clbench.stream import EvaluationSet, Outputs, Setting, Stream, Task, fingerprint
from clbench.utils.rng import generator

if TYPE_CHECKING:
    from clbench.data.sources.base import Source

OrderSeed = int | Literal["seed"] | None
"""Order of classes or tasks: canonical (None), drawn from an integer, or drawn from the trial's own seed."""
Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class Part:
    """What one task will be made of.

    Args:
        name: for people.
        classes: class numbers of the pools, in the order of their outputs.
        view: int64 `[H*W]`, see `clbench.data.pool.Split`.
        metric: how its test samples are scored; None: `accuracy`, or where answers are written `exact_match`.
    """

    name: str
    classes: tuple[int, ...]
    view: Tensor | None = None
    metric: str | None = None


@dataclass(frozen=True)
class Options:
    """What every scenario is told besides its own keys; values that none can use are refused before data is loaded.

    Args:
        setting: `task`, `domain` or `class`.
        outputs: `seen` or `all`.
        n_tasks: at least 1.
        order_seed: order of classes or tasks.
        valid_fraction: of each task's training samples, held out per class; in [0, 1).
        seed: the trial's.
        data_sha256: digest of all data, and of whatever is done to it before it comes into the pools.

    Raises:
        ConfigError: naming the key and its value.
    """

    setting: Setting
    outputs: Outputs
    n_tasks: int
    order_seed: OrderSeed
    valid_fraction: float
    seed: int
    data_sha256: str

    def __post_init__(self) -> None:
        for key, known in (("setting", get_args(Setting)), ("outputs", get_args(Outputs))):
            if getattr(self, key) not in known:
                raise ConfigError(
                    f"scenario.{key}={getattr(self, key)!r} is unknown", f"scenario.{key} is one of: {', '.join(known)}"
                )
        if not is_integer(self.n_tasks) or self.n_tasks < 1:
            raise ConfigError(f"scenario.n_tasks={self.n_tasks!r} is not a number of tasks", "give an integer of at least 1")
        if self.order_seed is not None and self.order_seed != "seed" and not is_integer(self.order_seed):
            raise ConfigError(
                f"scenario.order_seed={self.order_seed!r} cannot be used",
                "give null (canonical order), an integer, or seed (the order follows the trial's seed)",
            )
        if not is_number(self.valid_fraction) or not 0 <= self.valid_fraction < 1:
            raise ConfigError(
                f"scenario.valid_fraction={self.valid_fraction!r} is not a fraction",
                "give a number from 0 (no validation) to below 1",
            )

    def order(self, n: int, purpose: str) -> list[int]:
        """Return an order of `n` things: 0, 1, 2, ... if `order_seed` is None, else drawn from (it, purpose)."""
        if self.order_seed is None:
            return list(range(n))
        source = self.seed if self.order_seed == "seed" else self.order_seed
        return torch.randperm(n, generator=generator(source, purpose)).tolist()


def load(source: Source, search: Sequence[Path], download: bool, *, images: bool) -> tuple[Pool, Pool, int]:
    """Return (train, test, number of classes) of a data set, on the CPU.

    Args:
        source: the data set; from here on its `n_classes`, `mean`, `std` and `image` have their final values.
        search: folders to look for it in.
        download: whether it may be fetched.
        images: whether the scenario moves pixels.

    Raises:
        DataError: as the data set raises it, and labels outside of the classes that it declares: they would silently
            be left out, or taken for another data set's.
        RefusedError: inputs that are not images where `images` are needed.
    """
    data = source.load(search, download)
    if images and not source.image:
        raise RefusedError(
            f"{source.name} holds no images (a sample has shape {list(data.train.inputs.shape[1:])}), "
            "and this scenario moves pixels",
            "choose a data set of images, or a split scenario",
        )
    n_classes = source.n_classes
    assert n_classes is not None, "known once the data is loaded"
    for part, pool in (("train", data.train), ("test", data.test)):
        low, high = (int(bound) for bound in pool.targets.aminmax()) if len(pool) else (0, 0)
        if low < 0 or high >= n_classes:
            raise DataError(
                f"the {part} labels of {source.name} go from {low} to {high}, but n_classes={n_classes}",
                "correct the labels (they count from 0) or the data set's n_classes",
            )
    return data.train, data.test, n_classes


def metric_of(source: Source, metric: str | None) -> str | None:
    """Return how a data set's test samples are scored: as the scenario says, else as it says itself, for answers alone."""
    own = getattr(source, "metric", None) if getattr(source, "form", None) == "answers" else None
    return own if metric is None else metric


def decode_of(source: Source) -> Decode | None:
    """Return what makes text of the tokens of a data set that is loaded; None for other inputs."""
    words = getattr(source, "words", None)
    return None if words is None else words.decode


def preprocess_of(source: Source) -> Preprocess:
    """Return the normalisation and augmentation of a data set that is loaded."""
    return Preprocess(tuple(source.mean or ()), tuple(source.std or ()), source.crop, source.flip)


def assemble(
    parts: Sequence[Part], train: Pool, test: Pool, preprocess: Preprocess, options: Options, decode: Decode | None = None
) -> Stream:
    """Make the stream in which each part is a task, in the given order.

    Args:
        parts: one per task.
        train: pool to learn from, on the device of the trial.
        test: pool to measure on, on the same device; never touched by validation.
        preprocess: from stored inputs to what the model gets.
        options: the setting says what a label is: its position within the task, or (`class`) within the stream.
        decode: from tokens to text, where inputs are tokens.

    Raises:
        ConfigError: validation leaves nothing, normalisation does not fit the channels, or a metric the form of the samples.
        DataError: a task without samples.
    """
    _check_normalisation(preprocess, train.inputs)
    setting = options.setting
    starts = [0, *accumulate(len(part.classes) for part in parts)] if setting == "class" else [0] * len(parts)
    tasks: list[Task] = []
    columns: list[EvaluationSet] = []
    before: Split | None = None
    for index, part in enumerate(parts):
        drawn, measured = (take(pool, part, index, starts[index]) for pool in (train, test))
        if before is not None:  # permuted copies name the same samples: two hundred tasks hold one list of them
            drawn, measured = share(drawn, before), share(measured, columns[-1].split)
        before = drawn
        own, valid = carve(drawn, options.valid_fraction, options.seed, part.name)
        for place, split in (("train", own), ("test", measured)):
            if not len(split):
                raise DataError(
                    f"task {index} ({part.name}) has no {place} samples",
                    "check the data set's n_classes and the labels in its files",
                )
        tasks.append(Task(index, part.name, part.classes, own, valid))
        columns.append(EvaluationSet(f"task {index}: {part.name}", measured, metric=_metric(part, test)))
    digest = fingerprint(options.data_sha256, setting, tuple(tasks), tuple(columns))
    shape = tuple(train.inputs.shape[1:])
    return Stream(setting, options.outputs, tuple(tasks), tuple(columns), shape, preprocess, digest, decode)


def take(pool: Pool, part: Part, index: int, first: int) -> Split:
    """Return the samples of `part` in the pool's order; labels count up from `first` in the order of its classes."""
    classes = torch.tensor(part.classes)
    table = torch.full((int(classes.max()) + 1,), -1)
    table[classes] = torch.arange(first, first + len(classes))
    device, targets = pool.targets.device, pool.targets
    labels = torch.where(targets < len(table), table.to(device)[targets.clamp(max=len(table) - 1)], -1)
    rows = torch.nonzero(labels >= 0).squeeze(1)
    return Split(pool, rows, labels[rows], index, None if part.view is None else part.view.to(device))


def share(split: Split, other: Split) -> Split:
    """Return `split` with the rows and the labels of `other` in the place of its own, where they are equal."""
    pairs = ((split.rows, other.rows), (split.labels, other.labels))
    rows, labels = (theirs if torch.equal(ours, theirs) else ours for ours, theirs in pairs)
    return replace(split, rows=rows, labels=labels)


def carve(split: Split, fraction: float, seed: int, name: str) -> tuple[Split, Split | None]:
    """Divide a task's training samples into (train, valid), class by class; both keep the order of the pool.

    The number held out is `fraction` of all, rounded; classes share it in proportion (largest remainder). Which
    samples is drawn from (seed, "validation", task).

    Raises:
        ConfigError: nothing is held out, or a class keeps no training sample.
    """
    if fraction == 0 or not len(split):
        return split, None
    labels = split.labels.cpu()
    counts = torch.bincount(labels).tolist()
    assert isinstance(split.tasks, int)
    random = generator(seed, "validation", split.tasks)
    held = torch.zeros(len(split), dtype=torch.bool)
    for label, quota in enumerate(_quotas(counts, fraction)):
        own = torch.nonzero(labels == label).squeeze(1)
        held[own[torch.randperm(len(own), generator=random)[:quota]]] = True
    place = f"in task {split.tasks} ({name}, {len(split)} training samples)"
    if not held.any():
        raise ConfigError(
            f"scenario.valid_fraction={fraction} holds no validation sample out {place}",
            "give a larger fraction, or 0 for no validation",
        )
    if set(labels[~held].tolist()) != set(labels.tolist()):
        raise ConfigError(
            f"scenario.valid_fraction={fraction} leaves a class without training samples {place}",
            "give a smaller fraction, or 0 for no validation",
        )
    train, valid = (split.select(torch.nonzero(mask).squeeze(1).to(split.rows.device)) for mask in (~held, held))
    return train, valid


def _metric(part: Part, test: Pool) -> str:
    if test.vocabulary is not None:
        return part.metric or "exact_match"
    if part.metric not in (None, "accuracy"):
        raise ConfigError(
            f"scenario.metric={part.metric!r} scores answers, and the samples of {part.name} have labels",
            "leave scenario.metric out, or choose a model that writes (its model.form is answers)",
        )
    return "accuracy"


def is_integer(value: object) -> bool:
    """Return whether `value` is an integer and not a truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether `value` is a finite number and not a truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def spelled(classes: Sequence[int]) -> str:
    """Return class numbers for people: a run as `0-4`, few as they are, many shortened."""
    if len(classes) > 1 and all(b == a + 1 for a, b in pairwise(classes)):
        return f"{classes[0]}-{classes[-1]}"
    if len(classes) <= 10:
        return " ".join(str(c) for c in classes)
    return f"{' '.join(str(c) for c in classes[:8])} … ({len(classes)} classes)"


def _quotas(counts: Sequence[int], fraction: float) -> list[int]:
    """Share `fraction` of all in proportion to `counts`, rounded so that the sum is right (largest remainder)."""
    shares = [fraction * count for count in counts]
    quotas = [math.floor(share) for share in shares]
    missing = math.floor(fraction * sum(counts) + 0.5) - sum(quotas)
    for i in sorted(range(len(counts)), key=lambda i: (quotas[i] - shares[i], i))[: max(missing, 0)]:
        quotas[i] += 1
    return quotas


def _check_normalisation(preprocess: Preprocess, inputs: Tensor) -> None:
    channels = inputs.shape[1]
    for key, values in (("mean", preprocess.mean), ("std", preprocess.std)):
        if len(values) not in (0, 1, channels) or len(preprocess.mean) != len(preprocess.std):
            raise ConfigError(
                f"{key}={list(values)} does not fit inputs of shape {list(inputs.shape[1:])}",
                f"give mean and std one value, or one for each of the {channels} channels",
            )
    if any(value <= 0 for value in preprocess.std):
        raise ConfigError(f"std={list(preprocess.std)} cannot be divided by", "give positive numbers")
    if preprocess.augments and inputs.dim() != 4:
        raise ConfigError(
            f"crop={preprocess.crop}, flip={preprocess.flip} on inputs that are not images", "set crop=0 and flip=false"
        )
