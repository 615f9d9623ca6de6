"""Samples of each class at each client: one heat map per task, from the partition in a federated record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray

from clbench.errors import StoreError
from clbench.leaderboard.incomplete import over
from clbench.leaderboard.rows import Row
from clbench.metrics.client_shares import decode
from clbench.plots import style
from clbench.records import Record

PANELS = 10
"""Largest number of panels. Of more tasks, so many evenly spread ones are shown, with the first and the last."""
NAMED = 25
"""Up to so many clients, each line has its client's number. More clients are sorted by their data, to show the pattern."""

_PER_LINE = 5  # panels
_WIDTH = (1.0, 2.2)  # inches of a heat map: between these, a class as wide as _CLASS
_CLASS = 0.24
_CLIENT = 0.15  # inches of a client's line; more clients than fit _TALLEST share it
_LOWEST, _TALLEST = 1.0, 3.2  # inches of a heat map
_NARROWEST = 4.8  # inches of the picture: room for its heading
_BARS = 0.3  # width of the bars of sizes, in inches

Counts = NDArray[np.int64]


def reported(record: Record) -> list[Any]:
    """Return the record's partition, one entry per task; empty if the record is not federated."""
    found = record.result.get("partition")
    return found if isinstance(found, list) else []


def table(record: Record) -> list[Counts]:
    """Return the samples of each client and class, int64 `[clients, classes]`, for each task.

    Raises:
        StoreError: the record's partition cannot be read.
    """
    try:
        found = [np.array(decode(task), dtype=np.int64) for task in reported(record)]
        if any(task.ndim != 2 or not task.size for task in found):
            raise ValueError("a task without clients or classes")
        return found
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise StoreError(
            f"the record {record.id} cannot be drawn: its partition is damaged ({error})", "move it out of the results folder"
        ) from error


def chosen(n_tasks: int) -> list[int]:
    """Return the tasks with a panel."""
    if n_tasks <= PANELS:
        return list(range(n_tasks))
    return [round(i * (n_tasks - 1) / (PANELS - 1)) for i in range(PANELS)]


def arranged(counts: Counts) -> list[int]:
    """Return the clients in the order of their lines.

    Few clients are sorted by number. Many clients are sorted by their largest class, then by their number of samples of it, so
    that clients with similar data are neighbours.
    """
    if len(counts) <= NAMED:
        return list(range(len(counts)))
    top = counts.argmax(1)
    return [int(client) for client in np.lexsort((-counts.max(1), top))]


def draw(row: Row, records: Sequence[Record]) -> Figure:
    """Return the heat maps of one seed: a line per client, a column per class, and bars with the clients' numbers of samples.

    All panels share one scale of colours. It grows with the square root, so that small counts stay visible; white is zero.

    Args:
        row: row of the leaderboard.
        records: records of its seeds that hold a partition. The first is drawn; others differ only by the random draw.

    Raises:
        StoreError: as `table`.
    """
    counts = table(records[0])
    tasks = chosen(len(counts))
    lines = -(-len(tasks) // _PER_LINE)
    per_line = -(-len(tasks) // lines)
    most = max(len(counts[task]) for task in tasks)
    wide = min(_WIDTH[1], max(_WIDTH[0], _CLASS * max(counts[task].shape[1] for task in tasks)))
    high = min(_TALLEST, max(_LOWEST, _CLIENT * most))
    width = max(_NARROWEST, per_line * (wide + _BARS + 0.2) + 1.3)
    notes = [*_notes(records, counts, tasks), *([over(row, row["n_seeds"])] if row.get("incomplete") else [])]
    figure = style.sheet(row, [style.details(row), notes], width, lines * (high + 0.35) + 0.3)
    norm = PowerNorm(0.5, vmin=0, vmax=max(int(counts[task].max()) for task in tasks))
    colours = matplotlib.colormaps[f"{style.COLOUR_MAP}_r"].with_extremes(bad="white")
    largest = max(int(counts[task].sum(1).max()) for task in tasks)
    grid = figure.subplots(lines, 2 * per_line, squeeze=False, width_ratios=[wide, _BARS] * per_line)
    names = _names(records[0], tasks, wide + _BARS)
    for at in range(lines * per_line):
        line, position = divmod(at, per_line)
        heat, bars = grid[line, 2 * position], grid[line, 2 * position + 1]
        if at >= len(tasks):
            heat.set_visible(False)
            bars.set_visible(False)
            continue
        shown = counts[tasks[at]]
        shown = shown[arranged(shown)]
        heat.set_title(names[at], loc="left")
        image = _heat(heat, shown, norm, colours)
        _sizes(bars, shown.sum(1), largest)
        below = at + per_line >= len(tasks)
        heat.set_xlabel("class" if below else "")
        bars.set_xlabel("samples" if below else "")
        if position:
            heat.set_yticklabels([])
        else:
            heat.set_ylabel("client" if most <= NAMED else "clients, by their most frequent class")
    bar = figure.colorbar(image, ax=list(grid.flat), fraction=0.05, pad=0.02, label="samples of the class")
    bar.set_ticks(_ticks(int(norm.vmax or 0)))
    bar.outline.set_visible(False)
    return figure


def _heat(axes: Axes, counts: Counts, norm: Normalize, colours: Colormap) -> AxesImage:
    """Draw the counts, one line per client. If there are more clients than dots, a dot is the mean of their colours."""
    n, classes = counts.shape
    image = axes.imshow(
        np.ma.masked_equal(counts, 0),
        cmap=colours,
        norm=norm,
        aspect="auto",
        interpolation="auto" if n > NAMED else "nearest",
        interpolation_stage="rgba",
    )
    every = style.step(classes, 5 if classes > 10 else classes)
    axes.set_xticks(range(0, classes, every))
    axes.set_yticks(range(n) if n <= NAMED else [])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#BBBBBB")
    return image


def _sizes(axes: Axes, sizes: Counts, largest: int) -> None:
    """Draw the number of samples of each client next to its line."""
    edges = np.arange(len(sizes) + 1) - 0.5
    axes.stairs(sizes, edges, orientation="horizontal", fill=True, color=style.COLOURS[-1], linewidth=0)
    axes.set_xlim(0, largest)
    axes.set_ylim(len(sizes) - 0.5, -0.5)
    axes.xaxis.set_major_locator(FixedLocator([largest]))
    axes.set_yticks([])


def _notes(records: Sequence[Record], counts: Sequence[Counts], tasks: Sequence[int]) -> list[str]:
    """Return a description of the picture, as parts of a line."""
    clients = sorted({len(task) for task in counts})
    parts = [f"{clients[0]} clients" if len(clients) == 1 else f"{clients[0]} to {clients[-1]} clients"]
    parts = [_partition(records[0]), *parts]
    if len(tasks) < len(counts):
        parts.append(f"{len(tasks)} of {len(counts)} tasks")
    return [*parts, f"seed {records[0].seed}"] if len(records) > 1 else parts


def _partition(record: Record) -> str:
    """Return the partition's name and numbers: `Dirichlet, alpha 0.5`; empty if the record has none."""
    federated = record.identity.get("federated")
    node = federated.get("partition") if isinstance(federated, Mapping) else None
    if not isinstance(node, Mapping):
        return ""
    name = str(node.get("_target_", "")).rpartition(".")[2]
    return ", ".join([name, *(f"{key.replace('_', ' ')} {value}" for key, value in node.items() if not key.startswith("_"))])


def _names(record: Record, tasks: Sequence[int], room: float) -> list[str]:
    """Return the titles of panels: the names of tasks, or their numbers if a name is too wide."""
    names = [style.label(name) for name in record.result.get("task_names", [])]
    titles = [names[task] if task < len(names) else f"task {task}" for task in tasks]
    fits = all(style.text_width(title, style.TEXT) <= room for title in titles) and len(set(titles)) == len(titles)
    return titles if fits else [f"task {task}" for task in tasks]


def _ticks(largest: int) -> list[int]:
    """Return the labels of the colour bar: evenly spread by the square root, rounded to one or two digits."""
    found = {0, largest}
    for part in (0.25, 0.5, 0.75):
        value = largest * part**2
        digits = max(0, len(str(int(value))) - 2)
        found.add(int(round(value, -digits)))
    return sorted(found)
