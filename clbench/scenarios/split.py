"""Split: the classes of one data set, divided among the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import SkipValidation

from clbench.data.sources.base import Source
from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.scenario_options import Count, DataAccess, OrderSeed, ScenarioOptions, draw_order
from clbench.scenarios.stream_builder import (
    Part,
    build_stream,
    decode_of,
    format_classes,
    is_integer,
    load,
    metric_of,
    preprocess_of,
)
from clbench.stream import Setting, Stream


@dataclass(frozen=True, kw_only=True)
class SplitOptions(ScenarioOptions):
    """Options of `split`; the shared ones are those of `ScenarioOptions`.

    Args:
        dataset: source of the samples.
        n_tasks: a divisor of the number of classes; with `groups` the number of groups to use, from the first.
        order_seed: order of the classes, or of the groups.
        groups: classes of each task in the order of its outputs, all of one length. None: equal shares of all classes.
        metric: how written answers are scored (`clbench.stream.EvaluationSet`). None: the data set's own metric.
    """

    dataset: Source
    n_tasks: Count
    order_seed: OrderSeed
    groups: SkipValidation[Sequence[Sequence[int]] | None] = None  # `_check_groups` says more than a type hint
    metric: str | None = None


def split(options: SplitOptions, access: DataAccess) -> Stream:
    """Return the stream whose task t holds the t-th share of the classes.

    No sample belongs to two tasks. Zenke, Poole, Ganguli, ICML 2017 (Split MNIST).

    Args:
        options: of the scenario.
        access: to the data.

    Raises:
        ConfigError: an unusable value, such as a number of tasks that does not divide the number of classes.
        RefusedError: one class per task where a task's outputs are its own: every model would score 100 %.
        DataError: as the data set raises it.
    """
    dataset = options.dataset
    if dataset.n_classes is not None:  # declared: a mistake is reported before the data is loaded
        divide_classes(options, dataset.n_classes, access.seed)
    train, test, n_classes = load(dataset, access, images=False)
    metric = metric_of(dataset, options.metric)
    shares = divide_classes(options, n_classes, access.seed)
    parts = [Part(f"{dataset.name} {format_classes(share)}", share, metric=metric) for share in shares]
    return build_stream(parts, train, test, preprocess_of(dataset), options, access, decode_of(dataset))


def divide_classes(options: SplitOptions, n_classes: int, seed: int) -> list[tuple[int, ...]]:
    """Return the classes of each task, in the order of the tasks.

    Raises:
        ConfigError, RefusedError: as `split`.
    """
    groups = options.groups
    if groups is None:
        size = classes_per_task(options.dataset.name, n_classes, options.n_tasks, options.setting)
        order = draw_order(options.order_seed, seed, n_classes, "class order")
        return [tuple(order[i : i + size]) for i in range(0, n_classes, size)]
    _check_groups(options, groups, n_classes)
    return [tuple(groups[i]) for i in draw_order(options.order_seed, seed, len(groups), "task order")[: options.n_tasks]]


def classes_per_task(name: str, n_classes: int, n_tasks: int, setting: Setting) -> int:
    """Return the number of classes of each task.

    Raises:
        ConfigError, RefusedError: as `split`; the message names the numbers of tasks that work.
    """
    fewest = 1 if setting == "class" else 2
    usable = [str(n) for n in range(1, n_classes + 1) if n_classes % n == 0 and n_classes // n >= fewest]
    remedy = f"scenario.n_tasks can be {', '.join(usable)}" if usable else "choose another data set"
    if n_tasks > n_classes:
        raise ConfigError(f"scenario.n_tasks={n_tasks} is more than the {n_classes} classes of {name}", remedy)
    if n_classes % n_tasks:
        raise ConfigError(f"scenario.n_tasks={n_tasks} does not divide the {n_classes} classes of {name} evenly", remedy)
    if n_classes // n_tasks < fewest:
        raise RefusedError(
            f"scenario.n_tasks={n_tasks} with scenario.setting={setting} gives each task a single class of {name}: "
            "every model would score 100 %",
            f"{remedy}; or set scenario.setting=class",
        )
    return n_classes // n_tasks


def _check_groups(options: SplitOptions, groups: Sequence[Sequence[int]], n_classes: int) -> None:
    name = options.dataset.name
    example = "scenario.groups is null or lists of class numbers of one length, no class twice, such as [[0,1],[2,3]]"
    lists = isinstance(groups, (list, tuple)) and all(isinstance(group, (list, tuple)) for group in groups)
    if not lists or len({len(group) for group in groups}) != 1 or not groups[0]:
        raise ConfigError(f"scenario.groups={groups!r} is not made of lists of one length", example)
    listed = [number for group in groups for number in group]
    unknown = [number for number in listed if not is_integer(number) or not 0 <= number < n_classes]
    if unknown or len(set(listed)) < len(listed):
        repeated = [number for number in listed if listed.count(number) > 1]
        problem = f"{unknown[0]!r}, which is no class" if unknown else f"class {repeated[0]} twice"
        raise ConfigError(f"scenario.groups holds {problem} of {name} (0 to {n_classes - 1})", example)
    if options.n_tasks > len(groups):
        raise ConfigError(
            f"scenario.n_tasks={options.n_tasks} is more than the {len(groups)} groups of scenario.groups",
            f"give at most scenario.n_tasks={len(groups)}",
        )
    if len(groups[0]) == 1 and options.setting != "class":
        raise RefusedError(
            f"scenario.groups with scenario.setting={options.setting} gives each task a single class of {name}: "
            "every model would score 100 %",
            "give at least two classes per group; or set scenario.setting=class",
        )
