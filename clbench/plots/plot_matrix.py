"""The accuracy matrix of one row of the leaderboard as a heat map."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from clbench.errors import StoreError
from clbench.leaderboard.incomplete import over
from clbench.leaderboard.rows import Row
from clbench.metrics.matrix import SHARES, fractions
from clbench.plots import style
from clbench.records import Record

NUMBERED = 12
"""Up to so many columns, every cell shows its number and every column shows its name."""

_WRAPPED = (14, 9)  # letters in a line of a column's name: the first width that fits is used
_LINES = 3  # of a column's name
_CELL = (0.48, 0.3)  # inches of a cell with a number; a column is wider if its name is
_LARGEST = (6.0, 4.5)  # inches of the axes: the whole picture is then no wider than a page
_LOWEST = 1.2  # inches of the axes: room for the colour bar beside a single row
_NARROWEST = 4.8  # inches of the picture: room for its heading
_LINE = 0.13  # inches from one line of small text to the next
_UNTRAINED = (0.6, 0.025)  # height of the untrained model's row: relative to another row, at least relative to all rows
_PALE = 0.7  # share of white over a cell whose task was not learned yet


@dataclass(frozen=True)
class Grid:
    """The accuracies of one row of the leaderboard, averaged over seeds.

    Args:
        percent: `[events, columns]`; NaN where a seed measured nothing.
        after: for each event the task just learned, -1 for the untrained model.
        names: names of the columns.
        tasks: for each column the task that it measures; None for another kind of set, such as utility.
    """

    percent: NDArray[np.float64]
    after: list[int]
    names: list[str]
    tasks: list[int | None]

    def pending(self, event: int) -> list[int]:
        """Return the columns whose task was not learned yet at that event."""
        return [j for j, task in enumerate(self.tasks) if task is not None and task > self.after[event]]


def grid(records: Sequence[Record]) -> Grid:
    """Return the matrix of a row, without events within tasks and without columns that are not accuracies.

    Args:
        records: the seeds of one row. If a column's name differs between seeds (by a random rotation, say), its common part is
            used: `task 3`.

    Raises:
        StoreError: a record's columns do not fit its matrix, or those of another seed.
    """
    matrices: list[list[list[float]]] = []
    heads: list[tuple[list[int], list[int | None]]] = []
    names: list[list[str]] = []
    for record in records:
        result = record.result
        try:
            columns = [i for i, column in enumerate(result["columns"]) if column["metric"] in SHARES]
            events = [i for i, event in enumerate(result["events"]) if event["kind"] in ("untrained", "task")]
            rows = [fractions(result["matrix"][i]) for i in events]
            matrices.append([[math.nan if (value := row[j]) is None else 100 * value for j in columns] for row in rows])
            heads.append(([int(result["events"][i]["task"]) for i in events], [_task(result, j) for j in columns]))
            names.append([style.label(result["columns"][j]["name"]) for j in columns])
        except (LookupError, TypeError) as error:
            raise StoreError(
                f"the record {record.id} cannot be drawn: its columns do not fit its matrix ({type(error).__name__}: {error})",
                "move it out of the results folder",
            ) from error
        if not names[-1]:
            raise StoreError(f"the record {record.id} cannot be drawn: it measured no accuracies", "leave it out by a filter")
        if heads[-1] != heads[0]:
            raise StoreError(
                f"the records {records[0].id} and {record.id} are two seeds of one row, but their matrices differ in shape",
                "move the wrong one out of the results folder",
            )
    shared = [_shared(each) for each in zip(*names)]
    return Grid(np.mean(np.array(matrices, dtype=float), axis=0), heads[0][0], shared, heads[0][1])


def draw(row: Row, records: Sequence[Record]) -> Figure:
    """Return the heat map: a line per learned task, the untrained model on top, a column per evaluation set.

    Cells of tasks not learned yet are pale and hatched. The colours always span 0 to 100 %, so that pictures are comparable.

    Args:
        row: row of the leaderboard; the heading shows its metrics.
        records: its seeds.

    Raises:
        StoreError: as `grid`.
    """
    found = grid(records)
    heights = [1.0 if task >= 0 else max(_UNTRAINED[0], _UNTRAINED[1] * len(found.after)) for task in found.after]
    numbered = len(found.names) <= NUMBERED
    labels = _named(found) if numbered else _thinned(found)
    width, height, below = _size(labels, heights, numbered)
    figure = style.sheet(row, [style.details(row), _metrics(row)], max(_NARROWEST, width + 1.9), height + below)
    axes = figure.subplots()
    edges = np.concatenate([[0.0], np.cumsum(heights)])
    mesh = axes.pcolormesh(
        np.arange(len(found.names) + 1),
        edges,
        np.ma.masked_invalid(found.percent),
        cmap=style.COLOUR_MAP,
        vmin=0,
        vmax=100,
        edgecolors="white" if numbered else "none",
        linewidth=0.8 if numbered else 0.0,
        rasterized=not numbered,  # a vector viewer shows seams between cells without borders
    )
    _shade(axes, found, edges)
    for event in [i for i, task in enumerate(found.after) if task < 0]:
        axes.axhline(edges[event + 1], color="white", linewidth=2)
    if numbered:
        _write(axes, found, edges, mesh)
    _label(axes, found, edges, labels)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.06, pad=0.02, label="accuracy (%)", ticks=[0, 25, 50, 75, 100])
    bar.outline.set_visible(False)
    return figure


def _metrics(row: Row) -> list[str]:
    """Return acc, forgetting and learning accuracy of a row as the leaderboard shows them, with the number of seeds."""
    parts = []
    for name, key in (("accuracy", "acc"), ("forgetting", "forgetting"), ("learning accuracy", "learning_accuracy")):
        width = row[f"{key}_ci95"]
        parts.append(f"{name} {style.number(row[key])}{'' if width is None else f' ± {style.number(width)}'}")
    seeds = over(row, row["n_seeds"])
    return [*parts, f"in %, {seeds}" if row["n_seeds"] == 1 else f"in %, mean ± 95 % CI over {seeds}"]


def _shade(axes: Axes, found: Grid, edges: NDArray[np.float64]) -> None:
    """Cover the cells of tasks not learned yet with a pale hatching."""
    for event in range(len(found.after)):
        for first, last in _runs(found.pending(event)):
            corner, size = (first, edges[event]), (last - first + 1, edges[event + 1] - edges[event])
            axes.add_patch(Rectangle(corner, *size, facecolor="white", alpha=_PALE, linewidth=0))
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", hatch="//////", linewidth=0))


def _write(axes: Axes, found: Grid, edges: NDArray[np.float64], mesh: QuadMesh) -> None:
    """Write every number into its cell, dark on light or light on dark."""
    for event in range(len(found.after)):
        pending = set(found.pending(event))
        for column, value in enumerate(found.percent[event]):
            if math.isnan(value):
                continue
            light = np.dot(mesh.to_rgba(value)[:3], (0.299, 0.587, 0.114))  # luma of ITU-R BT.601
            pale = column in pending
            axes.text(
                column + 0.5,
                (edges[event] + edges[event + 1]) / 2,
                style.number(value),
                ha="center",
                va="center",
                size=style.SMALL if found.after[event] < 0 else style.TEXT,
                color="black" if pale or light > 0.5 else "white",
            )


def _label(axes: Axes, found: Grid, edges: NDArray[np.float64], labels: Sequence[str]) -> None:
    """Label columns and events, and explain the hatching."""
    axes.set_xlim(0, len(found.names))
    axes.set_ylim(edges[-1], 0)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    shown = [j for j, label in enumerate(labels) if label]
    upright = len(found.names) > NUMBERED and None in found.tasks
    axes.set_xticks([j + 0.5 for j in shown], [labels[j] for j in shown], rotation=90 if upright else 0)
    by = "evaluation set" if len(found.names) <= NUMBERED else "evaluation set, by task"
    hatched = any(found.pending(event) for event in range(len(found.after)))
    axes.set_xlabel(f"{by} (hatched: task not learned yet)" if hatched else by, labelpad=4)
    every = style.step(len(found.after), NUMBERED + 1)
    row = min(_CELL[1], _LARGEST[1] / edges[-1]) if every > 1 else _CELL[1]
    ticks: list[tuple[float, str]] = []
    for event, task in enumerate(found.after):
        middle = (edges[event] + edges[event + 1]) / 2
        if task < 0 or (task % every == 0 and (not ticks or (middle - ticks[-1][0]) * row >= _LINE)):
            ticks.append((middle, "untrained" if task < 0 else f"after task {task}"))
    axes.set_yticks([middle for middle, _ in ticks], [name for _, name in ticks])


def _size(labels: Sequence[str], heights: Sequence[float], numbered: bool) -> tuple[float, float, float]:
    """Return (width of the axes, height of the axes, height of the labels below them), in inches."""
    lines = max(label.count("\n") for label in labels) + 1
    width, height = _width(labels), max(_LOWEST, _CELL[1] * sum(heights))
    if numbered:
        return width, height, 0.4 + lines * _LINE
    upright = max(style.text_width(label, style.SMALL) for label in labels)
    return _LARGEST[0], min(_LARGEST[1], height), 0.6 + (upright if upright > _CELL[0] else 0)


def _width(labels: Sequence[str]) -> float:
    """Return the width in inches of columns with these names below them."""
    longest = max(style.text_width(line, style.SMALL) for label in labels for line in label.split("\n"))
    return len(labels) * max(_CELL[0], longest + 0.1)


def _named(found: Grid) -> list[str]:
    """Return the names of few columns in short lines, the task's number on its own; that alone where they have no room."""
    for letters in _WRAPPED:
        labels = []
        for name in found.names:
            number, _, rest = name.partition(": ")
            lines = textwrap.wrap(rest, letters, max_lines=_LINES - 1, placeholder="…", break_long_words=False)
            labels.append("\n".join([number, *lines]))
        if _width(labels) <= _LARGEST[0]:
            return labels
    return [label.partition("\n")[0] if task is not None else label for label, task in zip(labels, found.tasks)]


def _thinned(found: Grid) -> list[str]:
    """Return labels for more columns than have room: the numbers of some tasks, the names of all other sets."""
    step = style.step(len(found.names), 2 * NUMBERED)
    return [name if task is None else "" if task % step else str(task) for name, task in zip(found.names, found.tasks)]


def _task(result: dict[str, Any], column: int) -> int | None:
    """Return the task that a column measures; the first ones are those of the tasks, in order."""
    is_task = column < int(result["n_tasks"]) and result["columns"][column].get("role", "task") in ("task", "valid")
    return column if is_task else None


def _shared(names: Sequence[str]) -> str:
    """Return the name that all seeds give a column, or what they share of it."""
    return names[0] if len(set(names)) == 1 else names[0].partition(":")[0]


def _runs(columns: Sequence[int]) -> list[tuple[int, int]]:
    """Return ascending numbers as (first, last) of each unbroken run."""
    starts = [i for i, column in enumerate(columns) if not i or columns[i - 1] != column - 1]
    return [(columns[i], columns[j - 1]) for i, j in zip(starts, [*starts[1:], len(columns)])]
