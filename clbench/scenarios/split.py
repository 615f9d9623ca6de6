"""Split: the classes of one data set, shared out over the tasks, evenly or as said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.stream_builder import (
    Options,
    OrderSeed,
    Part,
    assemble,
    decode_of,
    is_integer,
    load,
    metric_of,
    preprocess_of,
    spelled,
)
from clbench.stream import Outputs, Setting, Stream

if TYPE_CHECKING:
    from clbench.data.sources.base import Source


def split(
    *,
    dataset: Source,
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
    groups: Sequence[Sequence[int]] | None = None,
    metric: str | None = None,
) -> Stream:
    """Return the stream whose task t holds the t-th share of the classes.

    No sample belongs to two tasks. Zenke, Poole, Ganguli, ICML 2017 (Split MNIST).

    Args:
        dataset: where the samples come from.
        setting: `task`, `domain` or `class`.
        n_tasks: must divide the number of classes; with `groups` how many of them, from the first.
        outputs: `seen` or `all`.
        order_seed: order of the classes, or of the groups: None canonical, an integer, or "seed" for an order that follows the
            trial's.
        valid_fraction: of each task's training samples, held out.
        online: for the trainer; the stream is the same.
        seed: the trial's.
        data_sha256: digest of the data set.
        search: folders to look for the data in.
        download: whether it may be fetched.
        device: where the pools are to live.
        groups: classes of each task, in the order of its outputs, all of one length; None: shared out in their order.
        metric: how answers are scored, where answers are written (`clbench.stream.EvaluationSet`); None: as the data set says.

    Raises:
        ConfigError: a value that cannot be used, among them a number of tasks that does not divide the classes.
        RefusedError: one class per task where a task's outputs are its own: nothing would be left to tell apart.
        DataError: as the data set raises it.
    """
    options = Options(setting, outputs, n_tasks, order_seed, valid_fraction, seed, data_sha256)
    if dataset.n_classes is not None:  # declared: a mistake need not wait for the data
        shares(dataset.name, dataset.n_classes, groups, options)
    train, test, n_classes = load(dataset, search, download, images=False)
    scored = metric_of(dataset, metric)
    given = shares(dataset.name, n_classes, groups, options)
    parts = [Part(f"{dataset.name} {spelled(share)}", share, metric=scored) for share in given]
    return assemble(parts, train.to(device), test.to(device), preprocess_of(dataset), options, decode_of(dataset))


def shares(name: str, n_classes: int, groups: Sequence[Sequence[int]] | None, options: Options) -> list[tuple[int, ...]]:
    """Return the classes of each task, in the order of the tasks.

    Raises:
        ConfigError, RefusedError: as `split`.
    """
    if groups is None:
        size = classes_per_task(name, n_classes, options.n_tasks, options.setting)
        order = options.order(n_classes, "class order")
        return [tuple(order[i : i + size]) for i in range(0, n_classes, size)]
    _check_groups(name, n_classes, groups, options)
    return [tuple(groups[i]) for i in options.order(len(groups), "task order")[: options.n_tasks]]


def classes_per_task(name: str, n_classes: int, n_tasks: int, setting: Setting) -> int:
    """Return how many classes each task gets.

    Raises:
        ConfigError, RefusedError: as `split`; the message names the numbers of tasks that work.
    """
    fewest = 1 if setting == "class" else 2
    works = [str(n) for n in range(1, n_classes + 1) if n_classes % n == 0 and n_classes // n >= fewest]
    remedy = f"scenario.n_tasks can be {', '.join(works)}" if works else "choose another data set"
    if n_tasks > n_classes:
        raise ConfigError(f"scenario.n_tasks={n_tasks} is more than the {n_classes} classes of {name}", remedy)
    if n_classes % n_tasks:
        raise ConfigError(f"scenario.n_tasks={n_tasks} doesn't divide the {n_classes} classes of {name} evenly", remedy)
    if n_classes // n_tasks < fewest:
        raise RefusedError(
            f"scenario.n_tasks={n_tasks} with scenario.setting={setting} gives each task a single class "
            f"of {name}: with nothing to tell it from, every model scores 100 %",
            f"{remedy}; or set scenario.setting=class",
        )
    return n_classes // n_tasks


def _check_groups(name: str, n_classes: int, groups: Sequence[Sequence[int]], options: Options) -> None:
    example = "scenario.groups is null or lists of class numbers of one length, no class twice, such as [[0,1],[2,3]]"
    lists = isinstance(groups, (list, tuple)) and all(isinstance(group, (list, tuple)) for group in groups)
    if not lists or len({len(group) for group in groups}) != 1 or not groups[0]:
        raise ConfigError(f"scenario.groups={groups!r} is not made of lists of one length", example)
    listed = [number for group in groups for number in group]
    wrong = [number for number in listed if not is_integer(number) or not 0 <= number < n_classes]
    if wrong or len(set(listed)) < len(listed):
        twice = [number for number in listed if listed.count(number) > 1]
        what = f"{wrong[0]!r}, which is no class" if wrong else f"class {twice[0]} twice"
        raise ConfigError(f"scenario.groups holds {what} of {name} (0 to {n_classes - 1})", example)
    if options.n_tasks > len(groups):
        raise ConfigError(
            f"scenario.n_tasks={options.n_tasks} is more than the {len(groups)} groups of scenario.groups",
            f"give at most scenario.n_tasks={len(groups)}",
        )
    if len(groups[0]) == 1 and options.setting != "class":
        raise RefusedError(
            f"scenario.groups with scenario.setting={options.setting} gives each task a single class of {name}: with nothing to "
            "tell it from, every model scores 100 %",
            "give at least two classes per group; or set scenario.setting=class",
        )
