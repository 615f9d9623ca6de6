"""Unlearning: the classes of a data set are learned, and then, request after request, parts of it are to be forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch

from clbench.data.pool import Pool, Split
from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.forget_requests import Request, read, samples_of
from clbench.scenarios.split import classes_per_task
from clbench.scenarios.stream_builder import (
    Options,
    OrderSeed,
    Part,
    assemble,
    decode_of,
    is_integer,
    is_number,
    load,
    metric_of,
    preprocess_of,
    spelled,
)
from clbench.scenarios.texts import join as join_texts
from clbench.stream import EvaluationSet, Goal, Outputs, Setting, Stream, Task, fingerprint

if TYPE_CHECKING:
    from clbench.data.sources.base import Source


def unlearn(
    *,
    datasets: Mapping[str, Source],
    requests: Sequence[Mapping[str, Any]],
    goal: Goal,
    claim_at: float,
    relearn_steps: int,
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
    metric: str | None = None,
) -> Stream:
    """Return a stream of tasks to be learned, and of requests (tasks of the kind `forget`) after or between them.

    Requests concern the first data set; what is learned of the others is unrelated, and tells whether utility is kept. One pool
    holds all of them, the class numbers of later ones following those of the first. Evaluation sets, beside one per task to be
    learned: per request `forget_train` (its own samples) and, if it names whole classes, `forget_test`; `retain`: the test
    samples of the first data set's classes that no request names; `utility`: those of each further data set.

    Own keys; the others are those of `clbench.scenarios.split.split`:
        datasets: name -> data set; the first is the one that requests are about.
        requests: as `clbench.scenarios.forget_requests.Request`, in order.
        goal: `suppress` or `retrain`.
        claim_at: share of joint training's accuracy, on what will be forgotten, that the model has to have before the first
            request; else nothing is concluded.
        relearn_steps: steps of the relearning that is measured after the last request; 0: none.
        setting: `class`; where answers are written also `domain`.
        n_tasks: tasks that the first data set's classes are learned in; the others come with the first of these.

    Raises:
        ConfigError: a value that cannot be used, among them a request that cannot be met.
        RefusedError: another setting, or fewer than two classes that no request names.
        DataError: as a data set raises it.
    """
    options = Options(setting, outputs, n_tasks, order_seed, valid_fraction, seed, data_sha256)
    names, sources = list(datasets), list(datasets.values())
    _check(names, goal, claim_at, relearn_steps, setting, sources)
    loaded = [load(source, search, download, images=False) for source in sources]
    own = loaded[0][2]
    size = classes_per_task(names[0], own, n_tasks, "class")
    order = options.order(own, "class order")
    starts = list(accumulate((n for _, _, n in loaded), initial=0))
    train, test = (join(list(zip(names, pools, starts))).to(device) for pools in list(zip(*loaded))[:2])
    scored = metric_of(sources[0], metric)
    shares = [tuple(order[i : i + size]) for i in range(0, own, size)]
    others = tuple(range(own, starts[-1]))
    parts = [Part(f"{names[0]} {spelled(share)}", share, metric=scored) for share in shares]
    if others:
        parts[0] = Part(" and ".join([parts[0].name, *names[1:]]), shares[0] + others, metric=scored)
    base = assemble(parts, train, test, preprocess_of(sources[0]), options, decode_of(sources[0]))
    asked = read(requests, own, len(base), getattr(sources[0], "named", {}))
    wanted = [request for request in asked if request.goal in (None, goal)]
    named = {c for request in wanted if request.whole for c in request.classes or ()}
    if own - len(named) < 2:
        raise RefusedError(
            f"scenario.requests leaves {own - len(named)} of {own} classes of {names[0]}: nothing would tell retained from lost",
            "leave at least two classes that no request names",
        )
    tasks, columns = _tasks(base, wanted, set(range(own)) - named, seed)
    spans = [("retain", "retain", sorted(set(range(own)) - named))]
    spans += [(f"utility: {name}", "utility", list(range(a, b))) for name, a, b in zip(names[1:], starts[1:], starts[2:])]
    everything = _whole(base)
    for name, role, classes in spans if wanted else []:
        columns.append(EvaluationSet(name, only(everything, classes), role, columns[0].metric))  # type: ignore[arg-type]
    digest = fingerprint(data_sha256, setting, tuple(tasks), tuple(columns))
    return replace(
        base,
        tasks=tuple(tasks),
        evaluation=tuple(columns),
        fingerprint=digest,
        claim_at=claim_at if wanted else None,
        goal=goal if wanted else None,
        relearn_steps=relearn_steps if wanted else 0,
        chance=getattr(sources[0], "chance", None) if wanted else None,
    )


def _tasks(base: Stream, wanted: Sequence[Request], free: set[int], seed: int) -> tuple[list[Task], list[EvaluationSet]]:
    """Return all tasks in order, and the evaluation sets of those to be learned followed by those of the requests."""
    tasks: list[Task] = []
    learned: list[EvaluationSet] = []
    asked: list[EvaluationSet] = []
    taken: set[int] = set()
    everything, left = _whole(base), list(enumerate(wanted))
    for place, (task, column) in enumerate(zip(base.tasks, base.evaluation, strict=True)):
        index = len(tasks)
        valid = None if task.valid is None else replace(task.valid, tasks=index)
        tasks.append(replace(task, index=index, train=replace(task.train, tasks=index), valid=valid))
        learned.append(replace(column, split=replace(column.split, tasks=index)))
        while left and (left[0][1].after == place or place == len(base) - 1):
            number, request = left.pop(0)
            index = len(tasks)
            known = [earlier for earlier in tasks if earlier.kind == "learn"]
            split = replace(samples_of(request, number, known, taken, free, seed), tasks=index)
            taken |= set(split.rows.tolist())
            title = f"request {number}: " + _title(request, len(split))
            classes = tuple(sorted(set(split.pool.targets[split.rows].tolist())))
            tasks.append(Task(index, title, classes, split, kind="forget"))
            sets = [EvaluationSet(f"{title}, trained on", split, "forget_train", column.metric, index)]
            if request.whole:
                held = replace(only(everything, sorted(request.classes or ())), tasks=index)
                sets.append(EvaluationSet(f"{title}, test", held, "forget_test", column.metric, index))
            if split.pool.answers is not None:  # label words: an answer that is none of them is broken
                sets += [replace(each, name=f"format of {each.name}", metric="format") for each in sets]
            asked += sets
    return tasks, learned + asked


def _title(request: Request, n: int) -> str:
    numbers = request.classes or ()
    classes = " ".join(request.named) or (f"class{'es' if len(numbers) > 1 else ''} {spelled(numbers)}" if numbers else "")
    return classes if request.whole else f"{n} samples{f' of {classes}' if classes else ''}"


def _whole(stream: Stream) -> Split:
    """Return all test samples of a stream as one split."""
    first = stream.evaluation[0].split
    rows = torch.cat([column.split.rows for column in stream.evaluation])
    labels = torch.cat([column.split.labels for column in stream.evaluation])
    return Split(first.pool, rows, labels, 0)


def only(split: Split, classes: Sequence[int]) -> Split:
    """Return the samples of `split` that are of one of `classes`, by the pool's numbers."""
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
        alike = first.inputs.dtype == pool.inputs.dtype and (first.pad is None) == (pool.pad is None)
        if not alike or (first.pad is None and first.inputs.shape[1:] != pool.inputs.shape[1:]):
            raise ConfigError(
                f"samples of {name} are {first.inputs.dtype} {list(first.inputs.shape[1:])}, those of {other} "
                f"{pool.inputs.dtype} {list(pool.inputs.shape[1:])}",
                "choose data sets of one shape, or leave the second one out",
            )
    if not rest:
        return first
    if first.pad is not None:
        return join_texts([(pool, start) for _, pool, start in pools])
    inputs = torch.cat([pool.inputs for _, pool, _ in pools])
    return Pool(inputs, torch.cat([pool.targets + start for _, pool, start in pools]))


def _check(names: Sequence[str], goal: str, claim_at: float, relearn_steps: int, setting: str, sources: Sequence[Source]) -> None:
    if not names:
        raise ConfigError(
            "scenario.datasets is empty: there is nothing to learn and forget", "choose scenario=unlearn_digits, say"
        )
    if goal not in get_args(Goal):
        raise ConfigError(f"scenario.goal={goal!r} is unknown", f"scenario.goal is one of: {', '.join(get_args(Goal))}")
    if not is_number(claim_at) or not 0 <= claim_at <= 1:
        raise ConfigError(f"scenario.claim_at={claim_at!r} is not a share", "give a number from 0 to 1")
    if not is_integer(relearn_steps) or relearn_steps < 0:
        raise ConfigError(f"scenario.relearn_steps={relearn_steps!r} cannot be used", "give a number of steps, 0 for none")
    answers = getattr(sources[0], "form", None) == "answers"
    if setting == "task" or (setting == "domain" and not answers):
        raise RefusedError(
            f"scenario.setting={setting}: a request concerns samples of several tasks, and nothing says which one a test sample "
            "belongs to",
            "leave scenario.setting=class",
        )
