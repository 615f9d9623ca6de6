"""From parts (a task's classes and its view of the pixels) to a stream: labels, validation, evaluation sets, fingerprint.

All scenarios of labelled inputs end here. This file alone defines labels, the validation split, and the names of evaluation sets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from clbench.data.pool import Pool, Split
from clbench.data.preprocess import Preprocess
from clbench.data.sources.base import Source
from clbench.errors import ConfigError, DataError, RefusedError
from clbench.scenarios.scenario_options import DataAccess, ScenarioOptions
from clbench.stream import EvaluationSet, Stream, Task, fingerprint
from clbench.utils.rng import generator

Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class Part:
    """What one task is made of.

    Args:
        name: for people.
        classes: class numbers of the pools, in the order of their outputs.
        view: int64 `[H*W]`, see `clbench.data.pool.Split`.
        metric: how test samples are scored; None: `accuracy`, or `exact_match` where answers are written.
    """

    name: str
    classes: tuple[int, ...]
    view: Tensor | None = None
    metric: str | None = None


def load(source: Source, access: DataAccess, *, images: bool) -> tuple[Pool, Pool, int]:
    """Return (train, test, number of classes) of a data set, on the CPU.

    Args:
        source: the data set. Its `n_classes`, `mean`, `std` and `image` then have their final values.
        access: to the data.
        images: whether the scenario moves pixels.

    Raises:
        DataError: as the data set raises it. Also labels outside of the declared classes: they would silently be dropped, or be
            taken for another data set's.
        RefusedError: inputs that are not images where `images` are needed.
    """
    train, test = _pools(source, access)
    if images and not source.image:
        raise RefusedError(
            f"{source.name} holds no images (a sample has shape {list(train.inputs.shape[1:])}): this scenario moves pixels",
            "choose a data set of images, or a split scenario",
        )
    n_classes = source.n_classes
    assert n_classes is not None, "known once the data is loaded"
    for part, pool in (("train", train), ("test", test)):
        low, high = (int(bound) for bound in pool.targets.aminmax()) if len(pool) else (0, 0)
        if low < 0 or high >= n_classes:
            raise DataError(
                f"the {part} labels of {source.name} go from {low} to {high}, but n_classes={n_classes}",
                "correct the labels (they count from 0) or the data set's n_classes",
            )
    return train, test, n_classes


def _pools(source: Source, access: DataAccess) -> tuple[Pool, Pool]:
    """Return (train, test) of a data set; test is empty if no test samples are wanted."""
    if access.split != "valid":
        data = source.load(access.search, access.download)
        return data.train, data.test
    only = getattr(source, "load_train", None)  # a class of the user's own may have `load` alone
    train = source.load(access.search, access.download).train if only is None else only(access.search, access.download)
    empty = None if train.answer_of is None else train.answer_of[:0].clone()
    return train, replace(
        train, inputs=train.inputs[:0].clone(), targets=train.targets[:0].clone(), answer_of=empty, mapped=False
    )


def metric_of(source: Source, metric: str | None) -> str | None:
    """Return the metric of a data set's test samples: the scenario's, else the data set's own (only for written answers)."""
    own = getattr(source, "metric", None) if getattr(source, "form", None) == "answers" else None
    return own if metric is None else metric


def decode_of(source: Source) -> Decode | None:
    """Return the function from tokens to text of a loaded data set; None for other inputs."""
    words = getattr(source, "words", None)
    return None if words is None else words.decode


def preprocess_of(source: Source) -> Preprocess:
    """Return the normalisation and augmentation of a loaded data set."""
    return Preprocess(tuple(source.mean or ()), tuple(source.std or ()), source.crop, source.flip)


def build_stream(
    parts: Sequence[Part],
    train: Pool,
    test: Pool,
    preprocess: Preprocess,
    options: ScenarioOptions,
    access: DataAccess,
    decode: Decode | None = None,
) -> Stream:
    """Return the stream in which each part is a task, in the given order.

    Args:
        parts: one per task.
        train: pool to learn from.
        test: pool to measure on; validation never uses it.
        preprocess: from stored inputs to the model's inputs.
        options: of the scenario. A label is the position of its class within the task, in the `class` setting within the stream.
        access: to the data; names the device of the stream, and the seed that draws the validation samples.
        decode: from tokens to text, where inputs are tokens.

    Raises:
        ConfigError: no validation sample; a normalisation that does not fit the channels; a metric that does not fit the samples.
        DataError: a task without samples.
    """
    _check_normalisation(preprocess, train.inputs)
    train, test = train.to(access.device), test.to(access.device)
    setting = options.setting
    starts = [0, *accumulate(len(part.classes) for part in parts)] if setting == "class" else [0] * len(parts)
    tasks: list[Task] = []
    columns: list[EvaluationSet] = []
    previous: Split | None = None
    draw = 0
    for index, part in enumerate(parts):
        learned, tested = (select_part(pool, part, index, starts[index]) for pool in (train, test))
        shared = False
        if previous is not None:  # permuted tasks have equal rows and labels: two hundred tasks share one tensor of each
            learned, tested = share_tensors(learned, previous), share_tensors(tested, columns[-1].split)
            shared = learned.rows is previous.rows
        previous = learned
        # Permuted and rotated tasks share their images. Where validation is measured, all of them hold the same ones out.
        draw = draw if access.split != "test" and shared else index
        own, valid = split_validation(learned, options.valid_fraction, access.seed, part.name, draw)
        for kind, split in (("train", own), ("test", tested)):
            if not len(split) and (access.split != "valid" or kind == "train"):
                raise DataError(
                    f"task {index} ({part.name}) has no {kind} samples",
                    "check the data set's n_classes and the labels in its files",
                )
        tasks.append(Task(index, part.name, part.classes, own, valid))
        columns.append(EvaluationSet(f"task {index}: {part.name}", tested, metric=_metric(part, test)))
    digest = fingerprint(access.data_sha256, setting, tuple(tasks), tuple(columns))
    shape = tuple(train.inputs.shape[1:])
    return Stream(setting, options.outputs, tuple(tasks), tuple(columns), shape, preprocess, digest, decode)


def select_part(pool: Pool, part: Part, index: int, first: int) -> Split:
    """Return the samples of `part` in the pool's order; labels count up from `first` in the order of its classes."""
    classes = torch.tensor(part.classes)
    table = torch.full((int(classes.max()) + 1,), -1)
    table[classes] = torch.arange(first, first + len(classes))
    device, targets = pool.targets.device, pool.targets
    labels = torch.where(targets < len(table), table.to(device)[targets.clamp(max=len(table) - 1)], -1)
    rows = torch.nonzero(labels >= 0).squeeze(1)
    return Split(pool, rows, labels[rows], index, None if part.view is None else part.view.to(device))


def share_tensors(split: Split, other: Split) -> Split:
    """Return `split` with the tensors of `other` in place of its own rows and labels, where the values are equal."""
    pairs = ((split.rows, other.rows), (split.labels, other.labels))
    rows, labels = (theirs if torch.equal(ours, theirs) else ours for ours, theirs in pairs)
    return replace(split, rows=rows, labels=labels)


def split_validation(split: Split, fraction: float, seed: int, name: str, draw: int) -> tuple[Split, Split | None]:
    """Divide a task's training samples into (train, valid), class by class; both keep the order of the pool.

    The number of validation samples is `fraction` of all, rounded; classes share it in proportion (largest remainder). The
    samples are drawn from (seed, "validation", draw).

    Raises:
        ConfigError: there is no validation sample, or a class keeps no training sample.
    """
    if fraction == 0 or not len(split):
        return split, None
    labels = split.labels.cpu()
    counts = torch.bincount(labels).tolist()
    random = generator(seed, "validation", draw)
    held = torch.zeros(len(split), dtype=torch.bool)
    for label, quota in enumerate(_quotas(counts, fraction)):
        own = torch.nonzero(labels == label).squeeze(1)
        held[own[torch.randperm(len(own), generator=random)[:quota]]] = True
    where = f"in task {split.tasks} ({name}, {len(split)} training samples)"
    if not held.any():
        raise ConfigError(
            f"scenario.valid_fraction={fraction} holds no validation sample out {where}",
            "give a larger fraction, or 0 for no validation",
        )
    if set(labels[~held].tolist()) != set(labels.tolist()):
        raise ConfigError(
            f"scenario.valid_fraction={fraction} leaves a class without training samples {where}",
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


def format_classes(classes: Sequence[int]) -> str:
    """Return class numbers as text for people: `0-4` for consecutive numbers, else a list, shortened if long."""
    if len(classes) > 1 and all(b == a + 1 for a, b in pairwise(classes)):
        return f"{classes[0]}-{classes[-1]}"
    if len(classes) <= 10:
        return " ".join(str(c) for c in classes)
    return f"{' '.join(str(c) for c in classes[:8])} … ({len(classes)} classes)"


def _quotas(counts: Sequence[int], fraction: float) -> list[int]:
    """Divide `fraction` of the total in proportion to `counts`, rounded to the right sum (largest remainder)."""
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
