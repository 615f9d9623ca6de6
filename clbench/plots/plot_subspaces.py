"""How the protected subspaces of a projection method grow over the tasks: per layer, from the diagnostics of its records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from clbench.leaderboard.rows import Row
from clbench.plots import style
from clbench.records import Record

PANELS = {
    "free": "free dimensions (% of the layer's width)",
    "added": "directions added by the task",
    "removed": "step energy removed by the projection (%)",
    "relaxed": "protected directions open to mixing",
}
"""Quantities in the order of their panels. A quantity that no record holds is left out."""
LINES = 8
"""With more layers than this, a panel is a heat map."""

_PANEL = (3.4, 2.1)  # inches
_LAYER = 0.13  # inches: a layer's line in a heat map
_LOWEST, _TALLEST = 1.6, 7.0  # inches of a heat map

Values = NDArray[np.float64]


def sizes(record: Record) -> list[dict[str, dict[str, float]]]:
    """Return for each learned task {layer: {quantity of `PANELS`: value}}; empty if the record holds no such quantity.

    Missing values and values that are not numbers are left out. Shares are in percent.
    """
    diagnostics = record.result.get("diagnostics")
    if not isinstance(diagnostics, list):
        return []
    tasks = [{name: _quantities(entry) for name, entry in _entries(each)} for each in diagnostics]
    return tasks if any(tasks) else []


def table(records: Sequence[Record]) -> tuple[list[str], dict[str, Values]]:
    """Return (layers, {quantity: values `[seeds, layers, tasks]`, NaN for missing ones}) of records that have `sizes`.

    Layers have the order of the records, and short names. Quantities without any value are left out.
    """
    seeds = [sizes(record) for record in records]
    layers = list(dict.fromkeys(name for tasks in seeds for task in tasks for name in task))
    n_tasks = max(map(len, seeds))
    found: dict[str, Values] = {}
    for quantity in PANELS:
        values = np.full((len(seeds), len(layers), n_tasks), math.nan)
        for s, tasks in enumerate(seeds):
            for t, task in enumerate(tasks):
                for name, entry in task.items():
                    values[s, layers.index(name), t] = entry.get(quantity, math.nan)
        if not np.isnan(values).all():
            found[quantity] = values
    return [style.label(layer) for layer in short(layers)], found


def draw(row: Row, records: Sequence[Record]) -> Figure:
    """Return one panel per quantity, over tasks: for every layer the mean over seeds, and a band from min to max.

    Args:
        row: row of the leaderboard.
        records: records of its seeds that have `sizes`.
    """
    layers, found = table(records)
    many = len(layers) > LINES
    note = style.averaged(row, len(records), "" if many else ", band and whiskers: min to max")
    columns = min(2, len(found))
    lines = math.ceil(len(found) / columns)
    spare = lines * columns > len(found)  # an empty panel takes the legend
    width, height, legend = _PANEL[0] * max(columns, 1.4), _PANEL[1], 0.0
    if many:
        width += max(style.text_width(layer, style.SMALL) for layer in layers)
        height = min(_TALLEST, max(_LOWEST, _LAYER * len(layers))) + 0.5
    elif not spare:
        legend = 0.17 * math.ceil(len(layers) / _legend_columns(layers, width))
    figure = style.sheet(row, [[*style.details(row), note]], width, height * lines + legend)
    panels: list[Axes] = list(figure.subplots(lines, columns, squeeze=False, sharey=many).flat)
    for axes, (quantity, values) in zip(panels, found.items()):
        axes.set_title(PANELS[quantity], loc="left")
        axes.set_xlabel("task")
        axes.set_xlim(-0.5, values.shape[2] - 0.5)
        axes.set_xticks(range(0, values.shape[2], style.step(values.shape[2], 12)))
        if many:
            _heat(figure, axes, layers, values, percent=quantity in _PERCENT)
            continue
        (_bars if quantity == "added" else _lines)(axes, layers, values)
        axes.set_ylim(0, 103 if quantity in _PERCENT else None)  # 103: a marker at 100 stays whole
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    if not many:
        handles, names = panels[0].get_legend_handles_labels()
        labels = [f"layer {name}" if name.isdigit() else name for name in names]
        if spare:
            panels[-1].legend(handles, labels, loc="center", frameon=False)
        else:
            figure.legend(handles, labels, loc="outside lower center", ncols=_legend_columns(layers, width), frameon=False)
    return figure


_PERCENT = ("free", "removed")


def _lines(axes: Axes, layers: Sequence[str], values: Values) -> None:
    tasks = np.arange(values.shape[2])
    for layer, name in enumerate(layers):
        colour = style.COLOURS[layer]
        low, mean, high = _over_seeds(values[:, layer])
        axes.plot(tasks, mean, color=colour, marker=style.MARKERS[layer], markersize=3.5, linewidth=1.2, label=name)
        if len(values) > 1:
            axes.fill_between(tasks, low, high, color=colour, alpha=0.2, linewidth=0)


def _bars(axes: Axes, layers: Sequence[str], values: Values) -> None:
    """Draw one bar per layer for each task, with a whisker from min to max over seeds."""
    tasks, width = np.arange(values.shape[2]), 0.8 / len(layers)
    for layer, name in enumerate(layers):
        low, mean, high = _over_seeds(values[:, layer])
        at = tasks + (layer - (len(layers) - 1) / 2) * width
        axes.bar(at, mean, width, color=style.COLOURS[layer], label=name)
        if len(values) > 1:
            axes.errorbar(at, mean, np.stack([mean - low, high - mean]), fmt="none", ecolor="0.35", elinewidth=0.6)


def _heat(figure: Figure, axes: Axes, layers: Sequence[str], values: Values, percent: bool) -> None:
    """Draw layers x tasks, the first layer on top; missing values are grey."""
    _, mean, _ = _over_seeds(values)
    axes.set_facecolor("0.85")
    axes.spines[:].set_visible(False)
    edges = np.arange(values.shape[2] + 1) - 0.5
    mesh = axes.pcolormesh(
        edges,
        np.arange(len(layers) + 1) - 0.5,
        np.ma.masked_invalid(mean),
        cmap=style.COLOUR_MAP,
        vmin=0,
        vmax=100 if percent else max(1.0, float(np.nanmax(mean))),
        rasterized=True,
    )
    step = style.step(len(layers), int(_TALLEST / _LAYER))
    axes.set_yticks(range(0, len(layers), step), layers[::step])
    axes.set_ylim(len(layers) - 0.5, -0.5)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.06, pad=0.02)
    bar.outline.set_visible(False)


def _over_seeds(values: Values) -> tuple[Values, Values, Values]:
    """Return (min, mean, max) over the first axis, over seeds that have a value; NaN if none has."""
    present = np.ma.masked_invalid(values)
    low, mean, high = (each.filled(math.nan) for each in (present.min(axis=0), present.mean(axis=0), present.max(axis=0)))
    return low, mean, high


def _entries(tree: Any, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (layer, its entry). Parts of a composed method are one level deeper, under their own name."""
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        if isinstance(value, dict) and _is_number(value.get("taken")) and _is_number(value.get("of")):
            yield f"{prefix}{key}", value
        else:
            yield from _entries(value, f"{prefix}{key}.")


def _quantities(entry: dict[str, Any]) -> dict[str, float]:
    found = {key: float(entry[key]) for key in ("added", "relaxed") if _is_number(entry.get(key))}
    if _is_number(entry.get("removed")):
        found["removed"] = 100 * float(entry["removed"])
    if entry["of"] > 0:
        found["free"] = 100 * (entry["of"] - entry["taken"]) / entry["of"]
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def short(layers: Sequence[str]) -> list[str]:
    """Return dotted names without their common first parts, and without a common `weight` at the end."""
    names = [name.split(".") for name in layers]
    while len(names) > 1 and len({name[0] for name in names}) == 1 and all(len(name) > 1 for name in names):
        names = [name[1:] for name in names]
    if all(len(name) > 1 and name[-1] == "weight" for name in names):
        names = [name[:-1] for name in names]
    return [".".join(name) for name in names]


def _legend_columns(layers: Sequence[str], width: float) -> int:
    return max(1, int(width / (max(style.text_width(layer, style.SMALL) for layer in layers) + 0.55)))  # inches of a handle
