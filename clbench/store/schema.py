"""The types and bounds of what records and failures hold, and what their parts must have in common.

A key that is not named here may hold anything: later versions and methods from outside add their own. A key may be absent.
Bounds are far from any run: they refuse values that would stop a table or a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import chain
from operator import gt
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from clbench.utils.safe_json import brief

TASKS = 100_000
"""Largest number of tasks, of events, and of columns."""
SAMPLES = 10**15
"""Largest number of samples in an entry of the matrix, of seconds, and of samples per second."""
SIZE = 1e100
"""Largest absolute value of a cost, a loss or a sum: squares of it are finite."""
COUNTED = ("accuracy", "exact_match", "label_words", "first_token", "format")
"""Metrics of columns that count right answers."""

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
Name = Annotated[str, Field(max_length=300)]
Text = Annotated[str, Field(max_length=100_000)]
Whole = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(ge=-SIZE, le=SIZE)]
Spent = Annotated[float, Field(ge=-SAMPLES, le=SAMPLES)]
Numbers = Annotated[list[Number], Field(max_length=10_000_000)]
Entry = Annotated[list[int | Number], Field(min_length=2, max_length=2)]
Counts = Annotated[list[Annotated[int, Field(ge=0, le=SAMPLES)]], Field(min_length=2, max_length=2)]
Task = Annotated[int, Field(ge=-1, lt=TASKS)]


class Identity(TypedDict, total=False):
    """What the result depends on."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    seed: Whole
    names: dict[Name, Name | None]
    method: dict[str, Any]
    sources: dict[Name, dict[Name, Name]]


class Column(TypedDict, total=False):
    """An evaluation set."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    name: Text
    role: Name
    metric: Name
    request: Task | None


class Event(TypedDict, total=False):
    """A measurement of all evaluation sets."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    kind: Name
    task: Task
    step: Whole | None


class Unlearning(TypedDict):
    """Requests to forget."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    goal: Name
    requests: Annotated[list[Task], Field(min_length=1, max_length=TASKS)]


class Result(TypedDict, total=False):
    """The part `result` of a record, without the matrix and its description."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    setting: Name
    access: Name
    sequential: bool
    stream: Name
    task_names: Annotated[list[Text], Field(max_length=TASKS)]
    curves: dict[str, Any]
    diagnostics: list[Any] | dict[str, Any]
    partition: Annotated[list[list[Annotated[str, Field(max_length=1_000_000)]]], Field(max_length=TASKS)]
    unlearning: Unlearning | None


class Measured(TypedDict):
    """The matrix and its description, which belong together."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    n_tasks: Annotated[int, Field(ge=1, le=TASKS)]
    columns: Annotated[list[Column], Field(min_length=1, max_length=TASKS)]
    events: Annotated[list[Event], Field(min_length=1, max_length=TASKS)]
    matrix: list[list[Any]]


class Cost(TypedDict, total=False):
    """The part `cost` of a record."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    seconds: Spent | None
    train_seconds: Spent | None
    eval_seconds: Spent | None
    samples: Whole | None
    samples_per_second: Spent | None
    peak_memory_bytes: Whole | None
    method_state_bytes: Whole | None
    parameters: Whole | None
    flops: Number | None
    bytes_sent: Whole | None
    inference_ms: Numbers | None


class Provenance(TypedDict, total=False):
    """The part `provenance` of a record or a failure."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    variant: Text | None
    device: Text | None
    time: Text | None
    clbench: Text | None
    git_commit: Text | None
    source: Text | None
    stacked: Annotated[int, Field(ge=1, le=1_000_000)]
    resumed: Whole


class Failed(TypedDict, total=False):
    """The part `failure` of a failure."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    kind: Name
    reason: Text
    remedy: Text | None
    task: Task | None
    step: Whole | None
    events: Whole | None
    setting: Name | None
    access: Name | None
    goal: Name | None


class Losses(TypedDict):
    """Losses of a request's samples and of other samples."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    request: Task
    members: Numbers
    others: Numbers


PARTS = {"identity": Identity, "result": Result, "cost": Cost, "provenance": Provenance, "failure": Failed}
"""The type of each part of a file."""


def refusal(parts: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the parts of a record or a failure, with key and value; None if nothing is.

    Args:
        parts: by name, see `PARTS`.
    """
    for name, part in parts.items():
        found = _misfit(PARTS[name], part, name)
        if found:
            return found
    result = parts.get("result", {})
    if not {"n_tasks", "columns", "events", "matrix"} <= result.keys():
        return None  # no table and no picture shows this record (`clbench.leaderboard.entries.usable`)
    return _misfit(Measured, result, "result") or _disagreement(result)


def _disagreement(result: Mapping[str, Any]) -> str | None:
    """Return how the parts of a measured result contradict each other, or None; each of them has its type."""
    n_tasks, columns, events, matrix = (result[key] for key in ("n_tasks", "columns", "events", "matrix"))
    if len(matrix) != len(events):
        return f"result.matrix has {len(matrix)} rows, and result.events has {len(events)} entries"
    if len(columns) < n_tasks:
        return f"result.n_tasks={n_tasks}, and result.columns has {len(columns)} entries"
    named = len(result.get("task_names", range(TASKS)))
    for place, event in enumerate(events):
        if "kind" not in event or "task" not in event:
            return f"result.events[{place}] lacks its kind or its task"
        if event["task"] >= named:
            return f"result.events[{place}].task={event['task']}, and result.task_names has {named} entries"
        if event["kind"] == "within" and event.get("step") is None:
            return f"result.events[{place}] lies within a task and lacks its step"
    metrics = [column.get("metric") for column in columns]
    counted = all(metric in COUNTED for metric in metrics)
    if not (counted and _good_counts(matrix, len(columns))):
        fault = _bad_entry(matrix, metrics, counted)
        if fault:
            return fault
    for place, column in enumerate(columns):
        if "name" not in column or "metric" not in column:
            return f"result.columns[{place}] lacks its name or its metric"
    return _odd_requests(result) if result.get("unlearning") else None


def _good_counts(matrix: list[list[Any]], width: int) -> bool:
    """Return whether all entries are None or counts [hits, n], 0 <= hits <= n: the usual case, without a loop in Python."""
    entries = [*chain.from_iterable(matrix)]
    pairs = [entry for entry in entries if entry is not None]
    if {*map(len, matrix)} != {width} or not {*map(type, pairs)} <= {list} or not {*map(len, pairs)} <= {2}:
        return False
    numbers = [*chain.from_iterable(pairs)]
    if not {*map(type, numbers)} <= {int}:
        return False
    hits, n = numbers[::2], numbers[1::2]
    return min(hits, default=0) >= 0 and max(n, default=0) <= SAMPLES and not any(map(gt, hits, n))


def _bad_entry(matrix: list[list[Any]], metrics: list[str | None], counted: bool) -> str | None:
    """Return what is wrong with the first bad entry of the matrix, or None."""
    fault = _misfit(list[list[Counts | None]] if counted else list[list[Entry | None]], matrix, "result.matrix")
    if fault:
        return fault
    for place, row in enumerate(matrix):
        if len(row) != len(metrics):
            return f"result.matrix[{place}] has {len(row)} entries, and result.columns has {len(metrics)}"
        wrong = [entry is not None and not _fits(entry, metric) for entry, metric in zip(row, metrics)]
        if True in wrong:
            position = wrong.index(True)
            hits, n = row[position]
            return (
                f"result.matrix[{place}][{position}]=[{brief(hits)}, {brief(n)}]: {metrics[position] or 'a column'} needs a sum "
                f"and a number of samples" + (", and no more right answers than samples" if metrics[position] in COUNTED else "")
            )
    return None


def _fits(entry: list[Any], metric: str | None) -> bool:
    hits, n = entry
    return type(n) is int and 0 <= n <= SAMPLES and (metric not in COUNTED or (type(hits) is int and 0 <= hits <= n))


def _odd_requests(result: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the losses after the last request, which two records are compared by; None if nothing is."""
    diagnostics = result.get("diagnostics")
    if not isinstance(diagnostics, list):
        return f"result.diagnostics={brief(diagnostics)}, and requests to forget need a list"
    for place, each in reversed(list(enumerate(diagnostics))):
        if isinstance(each, dict) and "losses" in each:
            return _misfit(list[Losses] | None, each["losses"], f"result.diagnostics[{place}].losses")
    return None


def _misfit(kind: Any, value: Any, name: str) -> str | None:
    try:
        _adapter(kind)(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        at = "".join(f"[{part}]" if isinstance(part, int) else f".{brief(part)}" for part in first["loc"] if _of_data(part))
        text = str(first["msg"])
        return f"{name}{at}={brief(first['input'])}: {text[:1].lower()}{text[1:]}"
    return None


def _of_data(part: int | str) -> bool:
    """Return whether a part of a place is a key or position of the data, and not the name of a type that was tried."""
    return isinstance(part, int) or ("[" not in part and part not in _TRIED)


_TRIED = ("str", "int", "float", "bool", "constrained-int", "constrained-str", "constrained-float", "Unlearning")


@cache
def _adapter(kind: Any) -> Callable[[Any], Any]:
    return TypeAdapter(kind, config=None).validate_python
