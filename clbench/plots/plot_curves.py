"""Accuracy on every task over training steps, from records with measurements within tasks (`eval.every`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clbench.leaderboard.rows import Row
from clbench.metrics.matrix import SHARES, fractions
from clbench.plots import style
from clbench.records import Record

LINES = 8
"""Largest number of columns drawn, from the first: there are only so many distinct colours."""

_SIZE = (6.2, 2.6)  # inches of the axes and their labels
_LEGEND = 0.17  # inches of a line of it

Values = NDArray[np.float64]


def measured(record: Record) -> bool:
    """Return whether the record has measurements within tasks."""
    events = record.result.get("events")
    return isinstance(events, list) and any(event.get("kind") == "within" for event in events)


def moments(result: dict[str, Any]) -> tuple[list[int], list[tuple[str, int, int]]]:
    """Return (step of every event, counted over all tasks; (task, first step, last step) of every task).

    Records hold the steps of measurements within a task, but not the step of its end. The end gets the step of the last
    measurement within the task if both rows are equal, otherwise the step of the next regular measurement.
    """
    names, events, matrix = result["task_names"], result["events"], result["matrix"]
    within = [event["step"] for event in events if event["kind"] == "within"]
    every = min(within, default=1)
    steps: list[int] = []
    spans: list[tuple[str, int, int]] = []
    start = 0
    for position, event in enumerate(events):
        if event["kind"] == "untrained":
            steps.append(0)
        elif event["kind"] == "within":
            steps.append(start + int(event["step"]))
        else:
            last = steps[-1] if position and events[position - 1]["kind"] == "within" else start
            steps.append(last if last > start and matrix[position] == matrix[position - 1] else last + every)
            spans.append((style.label(names[event["task"]]), start, steps[-1]))
            start = steps[-1]
    return steps, spans


def table(records: Sequence[Record]) -> tuple[list[str], list[int], list[tuple[str, int, int]], Values]:
    """Return (columns' names, steps, tasks as from `moments`, percent `[seeds, events, columns]`).

    Seeds with other measurement steps than the first seed are left out. Only task columns that are shares are included.
    """
    first = records[0].result
    columns = [j for j, each in enumerate(first["columns"]) if each["metric"] in SHARES and each.get("role", "task") == "task"][
        :LINES
    ]
    steps, spans = moments(first)
    kept = [record for record in records if record.result["events"] == first["events"]]
    values = np.full((len(kept), len(steps), len(columns)), math.nan)
    for s, record in enumerate(kept):
        for i, row in enumerate(record.result["matrix"]):
            shares = fractions(row)
            values[s, i] = [math.nan if shares[j] is None else 100 * shares[j] for j in columns]  # type: ignore[operator]
    return [style.label(first["columns"][j]["name"]) for j in columns], steps, spans, values


def draw(row: Row, records: Sequence[Record]) -> Figure:
    """Return the curves: one line per column with the mean over seeds, and a band from min to max. Tasks follow one another.

    Args:
        row: row of the leaderboard.
        records: records of its seeds with measurements within tasks.
    """
    names, steps, spans, values = table(records)
    n = len(values)
    note = style.averaged(row, n, ", band: min to max")
    per_line = max(1, int(_SIZE[0] / (max(style.text_width(name, style.SMALL) for name in names) + 0.55)))
    height = _SIZE[1] + _LEGEND * math.ceil(len(names) / per_line)
    figure = style.sheet(row, [[*style.details(row), note], _verdict(records)], _SIZE[0], height)
    axes = figure.subplots()
    for column, name in enumerate(names):
        low, mean, high = values[:, :, column].min(axis=0), values[:, :, column].mean(axis=0), values[:, :, column].max(axis=0)
        colour = style.COLOURS[column]
        axes.plot(
            steps,
            mean,
            color=colour,
            marker=style.MARKERS[column],
            markersize=3,
            markevery=style.step(len(steps), 12),
            linewidth=1.2,
            label=name,
            clip_on=False,
        )
        if n > 1:
            axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    room = _SIZE[0] - 0.8
    for name, start, end in spans:
        if start:
            axes.axvline(start, color="0.6", linewidth=0.8, linestyle=":")
        if style.text_width(name, style.SMALL) < 0.95 * room * (end - start) / max(1, steps[-1]):
            axes.text((start + end) / 2, 104, name, ha="center", va="bottom", size=style.SMALL)
    axes.set_xlim(0, steps[-1])
    axes.set_ylim(0, 103)
    axes.set_xlabel("steps")
    axes.set_ylabel("accuracy (%)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=per_line, frameon=False)
    return figure


def _verdict(records: Sequence[Record]) -> list[str]:
    """Return the records' claims (`clbench.engine.evaluation.claims`) as parts of a line; empty without any."""
    found = [each for record in records for each in _conclusions(record)[-1:]]
    if not found:
        return []
    without = sum(not each.get("claim") for each in found)
    if without:
        what = "the data to forget" if "joint" in found[0] else "task 0 before task 1"
        return [f"no claim: {without} of {len(found)} seeds knew too little of {what}"]
    parts = []
    for key, words in (("before", "task 0 before"), ("after", "after"), ("recovered", "recovered")):
        values = [100 * each[key] for each in found if isinstance(each.get(key), float)]  # lists: of requests, not of task 0
        if len(values) == len(found):
            parts.append(f"{words} {style.number(sum(values) / len(values))} %")
    return parts


def _conclusions(record: Record) -> list[dict[str, Any]]:
    diagnostics = record.result.get("diagnostics")
    if not isinstance(diagnostics, list):
        return []
    return [each["conclusion"] for each in diagnostics if isinstance(each, dict) and isinstance(each.get("conclusion"), dict)]
