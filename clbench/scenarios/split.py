"""Split: the classes of one data set, shared out evenly over the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.assemble import Options, OrderSeed, Part, assemble, load, preprocess_of, spelled
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
) -> Stream:
    """Return the stream whose task t holds the t-th share of the classes.

    Every sample belongs to exactly one task. Zenke, Poole, Ganguli, ICML 2017 (Split MNIST).

    Args:
        dataset: where the samples come from.
        setting: `task`, `domain` or `class`.
        n_tasks: must divide the number of classes.
        outputs: `seen` or `all`.
        order_seed: order of the classes: None canonical, an integer, or "seed" for an order that follows the trial's.
        valid_fraction: of each task's training samples, held out.
        online: for the trainer; the stream is the same.
        seed: the trial's.
        data_sha256: digest of the data set.
        search: folders to look for the data in.
        download: whether it may be fetched.
        device: where the pools are to live.

    Raises:
        ConfigError: a value that cannot be used, among them a number of tasks that does not divide the classes.
        RefusedError: one class per task where a task's outputs are its own: nothing would be left to tell apart.
        DataError: as the data set raises it.
    """
    options = Options(setting, outputs, n_tasks, order_seed, valid_fraction, seed, data_sha256)
    if dataset.n_classes is not None:  # declared: a mistake need not wait for the data
        classes_per_task(dataset.name, dataset.n_classes, n_tasks, setting)
    train, test, n_classes = load(dataset, search, download, images=False)
    size, order = classes_per_task(dataset.name, n_classes, n_tasks, setting), options.order(n_classes, "class order")
    shares = [tuple(order[i : i + size]) for i in range(0, n_classes, size)]
    parts = [Part(f"{dataset.name} {spelled(share)}", share) for share in shares]
    return assemble(parts, train.to(device), test.to(device), preprocess_of(dataset), options)


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
