"""Unlearning requests: from the configuration to the samples to forget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch

from clbench.data.pool import Split
from clbench.errors import ConfigError
from clbench.scenarios.stream_builder import is_integer
from clbench.stream import Goal, Task
from clbench.utils.rng import generator

EXAMPLE = "such as {classes: [3]}, {named: [biology]}, {samples: 0.1} or {samples: 50, classes: [5], after: 0, goal: retrain}"
KEYS = {"classes", "named", "samples", "after", "goal"}


@dataclass(frozen=True)
class ForgetRequest:
    """One request.

    Args:
        classes: class numbers of the data set. Without `samples` the request is to forget the classes as a whole.
        samples: number, or share, of training samples of the classes (None: of all classes that no request names), drawn by the
            seed of the run. The classes themselves are retained, so such a request has no test set.
        after: the request follows this task (position among the tasks to learn); None: the last.
        goal: the request is left out under another goal; None: it belongs to both goals.
        named: names of the classes, if the configuration gives names.
    """

    classes: tuple[int, ...] | None
    samples: float | int | None
    after: int | None
    goal: str | None = None
    named: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the request is to forget whole classes."""
        return self.samples is None


def read_requests(
    requests: Sequence[Any], n_classes: int, n_learned: int, known: Mapping[str, tuple[int, ...]]
) -> list[ForgetRequest]:
    """Return the requests of `scenario.requests`, in the order of the stream.

    Args:
        requests: as configured.
        n_classes: of the data set.
        n_learned: number of tasks to learn.
        known: name in the data set -> classes.

    Raises:
        ConfigError: a request that is malformed or cannot be met; the message names it.
    """
    found: list[ForgetRequest] = []
    for number, node in enumerate(requests):
        where = f"scenario.requests[{number}]={dict(node) if isinstance(node, Mapping) else node!r}"
        if not isinstance(node, Mapping) or set(node) - KEYS or not set(node) & {"classes", "named", "samples"}:
            raise ConfigError(f"{where} is no request", EXAMPLE)
        classes, samples, after = node.get("classes"), node.get("samples"), node.get("after")
        names = tuple(node["named"]) if isinstance(node.get("named"), (list, tuple)) else ()
        if node.get("named") is not None:
            classes = _classes_named(names, classes, known, where)
        if classes is not None:
            listed = list(classes) if isinstance(classes, (list, tuple)) else []
            if not listed or any(not is_integer(c) or not 0 <= c < n_classes for c in listed) or len(set(listed)) < len(listed):
                raise ConfigError(f"{where}: classes are no list of different classes from 0 to {n_classes - 1}", EXAMPLE)
            classes = tuple(listed)
        if samples is not None and not (_is_number(samples) and (0 < samples < 1 or (is_integer(samples) and samples >= 1))):
            raise ConfigError(f"{where}: samples is neither a number of samples nor a share between 0 and 1", EXAMPLE)
        if samples is None and classes is None:
            raise ConfigError(f"{where} names neither classes nor samples", EXAMPLE)
        if after is not None and (not is_integer(after) or not 0 <= after < n_learned):
            raise ConfigError(f"{where}: after is no position of a task to learn, 0 to {n_learned - 1}", EXAMPLE)
        if node.get("goal") not in (None, *get_args(Goal)):
            raise ConfigError(f"{where}: goal is none of {', '.join(get_args(Goal))}", EXAMPLE)
        found.append(ForgetRequest(classes, samples, after, node.get("goal"), names))
    found.sort(key=lambda request: n_learned if request.after is None else request.after)
    named = [c for request in found if request.whole for c in request.classes or ()]
    repeated = [c for c in named if named.count(c) > 1]
    if repeated:
        raise ConfigError(f"scenario.requests names class {repeated[0]} in two requests", "name each class once")
    return found


def _classes_named(names: Sequence[Any], classes: Any, known: Mapping[str, tuple[int, ...]], where: str) -> list[int]:
    """Return the classes that the names of a request stand for, each once."""
    if not names or classes is not None:
        raise ConfigError(f"{where}: named is a list of names, given instead of classes", EXAMPLE)
    unknown = [name for name in names if name not in known]
    if unknown:
        listed = (
            f"it has: {', '.join(list(known)[:30])}{', …' if len(known) > 30 else ''}" if known else "give classes, by number"
        )
        raise ConfigError(f"{where}: the data set has no name {unknown[0]!r} for any of its classes", listed)
    return sorted({number for name in names for number in known[name]})


def samples_of(request: ForgetRequest, number: int, learned: Sequence[Task], used: set[int], free: set[int], seed: int) -> Split:
    """Return the training samples of a request, without the samples of earlier requests.

    Args:
        request: the request.
        number: position among the requests, 0-based.
        learned: the tasks learned before the request.
        used: rows of the pool that belong to earlier requests.
        free: classes of the data set that no request names as a whole.
        seed: of the run.

    Raises:
        ConfigError: a class that is not learned yet, or more samples than there are.
    """
    met = {c for task in learned for c in task.classes}
    wanted = set(request.classes) if request.classes is not None else met & free
    where = f"scenario.requests[{number}]"
    if wanted - met:
        raise ConfigError(
            f"{where} asks to forget class {min(wanted - met)}, which has not been learned by then", "let it come later (after)"
        )
    first = learned[0].train
    rows = torch.cat([task.train.rows for task in learned])
    labels = torch.cat([task.train.labels for task in learned])
    targets = first.pool.targets[rows]
    chosen = torch.isin(targets, torch.tensor(sorted(wanted), device=targets.device))
    chosen &= ~torch.isin(rows, torch.tensor(sorted(used), dtype=torch.int64, device=rows.device))
    positions = torch.nonzero(chosen).squeeze(1)
    if request.samples is not None:
        share = request.samples
        n = share if isinstance(share, int) else max(1, round(share * len(positions)))
        if n >= len(positions):
            raise ConfigError(f"{where} asks to forget {n} of {len(positions)} samples", "leave some to be retained")
        drawn = torch.randperm(len(positions), generator=generator(seed, "request", number))[:n].sort().values
        positions = positions[drawn.to(positions.device)]
    if not len(positions):
        raise ConfigError(f"{where} has no sample left that no earlier request asked for", "name other classes")
    return Split(first.pool, rows[positions], labels[positions], learned[-1].index)


def _is_number(value: object) -> bool:
    """Return whether `value` is a finite number and not a truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
