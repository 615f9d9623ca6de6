"""Unlearning: the classes of a data set are learned; then requests, one after another, ask to forget parts of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Annotated, Any

import torch
from pydantic import Field, SkipValidation

from clbench.data.pool import Pool, Split
from clbench.data.sources.base import Source
from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.forget_requests import ForgetRequest, read_requests, samples_of
from clbench.scenarios.scenario_options import Accuracy, Count, DataAccess, OrderSeed, ScenarioOptions, draw_order
from clbench.scenarios.split import classes_per_task
from clbench.scenarios.stream_builder import Part, build_stream, decode_of, format_classes, load, metric_of, preprocess_of
from clbench.scenarios.texts import join as join_texts
from clbench.stream import EvaluationSet, Goal, Stream, Task, fingerprint


@dataclass(frozen=True, kw_only=True)
class UnlearnOptions(ScenarioOptions):
    """Options of `unlearn`; the shared ones are those of `ScenarioOptions`.

    The setting is `class`; for written answers also `domain`.

    Args:
        datasets: name -> data set; requests are about the first.
        requests: as `clbench.scenarios.forget_requests.ForgetRequest`, in order.
        goal: `suppress` or `retrain`.
        claim_at: share of joint training's accuracy that the model must reach, before the first request, on the data that will be
            forgotten. Below it no conclusion is drawn.
        relearn_steps: steps of relearning that are measured after the last request; 0: none.
        n_tasks: number of tasks that the first data set's classes are learned in. The other data sets come with the first task.
        order_seed: order of the classes.
        metric: how written answers are scored; None: the data set's own metric.
    """

    datasets: Mapping[str, SkipValidation[Source]]
    requests: Sequence[Any]
    goal: Goal
    claim_at: Accuracy
    relearn_steps: Annotated[int, Field(ge=0)]
    n_tasks: Count
    order_seed: OrderSeed
    metric: str | None = None


def unlearn(options: UnlearnOptions, access: DataAccess) -> Stream:
    """Return a stream of tasks to learn, and of requests (tasks of the kind `forget`) between or after them.

    Requests concern the first data set. The other data sets are unrelated: they measure whether utility is kept. One pool holds
    all of them; the class numbers of later data sets follow those of the first.

    Evaluation sets, after one per task to learn: per request `forget_train` (its own samples) and, if it names whole classes,
    `forget_test`; `retain`: the test samples of the first data set's classes that no request names; `utility`: the test samples
    of each further data set.

    Args:
        options: of the scenario.
        access: to the data.

    Raises:
        ConfigError: an unusable value, such as a request that cannot be met.
        RefusedError: another setting, or fewer than two classes that no request names.
        DataError: as a data set raises it.
    """
    names, sources = list(options.datasets), list(options.datasets.values())
    _check(options, sources)
    loaded = [load(source, access, images=False) for source in sources]
    own = loaded[0][2]
    size = classes_per_task(names[0], own, options.n_tasks, "class")
    order = draw_order(options.order_seed, access.seed, own, "class order")
    starts = list(accumulate((n for _, _, n in loaded), initial=0))
    train, test = (join(list(zip(names, pools, starts))) for pools in list(zip(*loaded))[:2])
    metric = metric_of(sources[0], options.metric)
    shares = [tuple(order[i : i + size]) for i in range(0, own, size)]
    others = tuple(range(own, starts[-1]))
    parts = [Part(f"{names[0]} {format_classes(share)}", share, metric=metric) for share in shares]
    if others:
        parts[0] = Part(" and ".join([parts[0].name, *names[1:]]), shares[0] + others, metric=metric)
    base = build_stream(parts, train, test, preprocess_of(sources[0]), options, access, decode_of(sources[0]))
    configured = read_requests(options.requests, own, len(base), getattr(sources[0], "named", {}))
    requests = [request for request in configured if request.goal in (None, options.goal)]
    named = {c for request in requests if request.whole for c in request.classes or ()}
    retained = sorted(set(range(own)) - named)
    if len(retained) < 2:
        raise RefusedError(
            f"scenario.requests leaves {len(retained)} of {own} classes of {names[0]}: nothing tells retained from forgotten",
            "leave at least two classes that no request names",
        )
    tasks, columns = _tasks(base, requests, set(retained), access.seed)
    spans = [("retain", "retain", retained)]
    spans += [(f"utility: {name}", "utility", list(range(a, b))) for name, a, b in zip(names[1:], starts[1:], starts[2:])]
    test_split = _all_tested(base)
    for name, role, classes in spans if requests else []:
        columns.append(EvaluationSet(name, only(test_split, classes), role, columns[0].metric))  # type: ignore[arg-type]
    return replace(
        base,
        tasks=tuple(tasks),
        evaluation=tuple(columns),
        fingerprint=fingerprint(access.data_sha256, options.setting, tuple(tasks), tuple(columns)),
        claim_at=options.claim_at if requests else None,
        goal=options.goal if requests else None,
        relearn_steps=options.relearn_steps if requests else 0,
        chance=getattr(sources[0], "chance", None) if requests else None,
    )


def _tasks(base: Stream, requests: Sequence[ForgetRequest], free: set[int], seed: int) -> tuple[list[Task], list[EvaluationSet]]:
    """Return all tasks in order, and the evaluation sets: first those of the tasks to learn, then those of the requests."""
    tasks: list[Task] = []
    learn_columns: list[EvaluationSet] = []
    request_columns: list[EvaluationSet] = []
    used: set[int] = set()
    test_split, pending = _all_tested(base), list(enumerate(requests))
    for position, (task, column) in enumerate(zip(base.tasks, base.evaluation, strict=True)):
        index = len(tasks)
        valid = None if task.valid is None else replace(task.valid, tasks=index)
        tasks.append(replace(task, index=index, train=replace(task.train, tasks=index), valid=valid))
        learn_columns.append(replace(column, split=replace(column.split, tasks=index)))
        while pending and (pending[0][1].after == position or position == len(base) - 1):
            number, request = pending.pop(0)
            index = len(tasks)
            learned = [earlier for earlier in tasks if earlier.kind == "learn"]
            split = replace(samples_of(request, number, learned, used, free, seed), tasks=index)
            used |= set(split.rows.tolist())
            title = f"request {number}: " + _title(request, len(split))
            classes = tuple(sorted(set(split.pool.targets[split.rows].tolist())))
            tasks.append(Task(index, title, classes, split, kind="forget"))
            sets = [EvaluationSet(f"{title}, trained on", split, "forget_train", column.metric, index)]
            if request.whole:
                tested = replace(only(test_split, sorted(request.classes or ())), tasks=index)
                sets.append(EvaluationSet(f"{title}, test", tested, "forget_test", column.metric, index))
            if split.pool.answers is not None:  # label words: any other answer is broken
                sets += [replace(each, name=f"format of {each.name}", metric="format") for each in sets]
            request_columns += sets
    return tasks, learn_columns + request_columns


def _title(request: ForgetRequest, n: int) -> str:
    numbers = request.classes or ()
    classes = " ".join(request.named) or (f"class{'es' if len(numbers) > 1 else ''} {format_classes(numbers)}" if numbers else "")
    return classes if request.whole else f"{n} samples{f' of {classes}' if classes else ''}"


def _all_tested(stream: Stream) -> Split:
    """Return all test samples of a stream as one split."""
    first = stream.evaluation[0].split
    rows = torch.cat([column.split.rows for column in stream.evaluation])
    labels = torch.cat([column.split.labels for column in stream.evaluation])
    return Split(first.pool, rows, labels, 0)


def only(split: Split, classes: Sequence[int]) -> Split:
    """Return the samples of `split` that belong to `classes` (class numbers of the pool)."""
    targets = split.pool.targets[split.rows]
    chosen = torch.isin(targets, torch.tensor(list(classes), device=targets.device))
    return split.select(torch.nonzero(chosen).squeeze(1))


def join(pools: Sequence[tuple[str, Pool, int]]) -> Pool:
    """Return one pool of (name, pool, first class number) entries, class numbers offset.

    Raises:
        ConfigError: inputs of different shapes or kinds.
    """
    (name, first, _), *rest = pools
    for other, pool, _ in rest:
        same_kind = first.inputs.dtype == pool.inputs.dtype and (first.pad is None) == (pool.pad is None)
        if not same_kind or (first.pad is None and first.inputs.shape[1:] != pool.inputs.shape[1:]):
            raise ConfigError(
                f"samples of {name} are {first.inputs.dtype} {list(first.inputs.shape[1:])}, those of {other} "
                f"{pool.inputs.dtype} {list(pool.inputs.shape[1:])}",
                "choose data sets of one shape, or leave the second data set out",
            )
    if not rest:
        return first
    if first.pad is not None:
        return join_texts([(pool, start) for _, pool, start in pools])
    inputs = torch.cat([pool.inputs for _, pool, _ in pools])
    return Pool(inputs, torch.cat([pool.targets + start for _, pool, start in pools]))


def _check(options: UnlearnOptions, sources: Sequence[Source]) -> None:
    if not sources:
        raise ConfigError(
            "scenario.datasets is empty: there is no data to learn and forget", "choose scenario=unlearn_digits, say"
        )
    answers = getattr(sources[0], "form", None) == "answers"
    if options.setting == "task" or (options.setting == "domain" and not answers):
        raise RefusedError(
            f"scenario.setting={options.setting}: a request concerns samples of several tasks, and the task of a test sample is "
            "unknown",
            "leave scenario.setting=class",
        )
