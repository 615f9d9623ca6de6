"""Movement of each layer during each task, from records with `eval.drift=true`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clbench.leaderboard.rows import Row
from clbench.plots import style
from clbench.plots.plot_subspaces import short
from clbench.records import Record

PANELS = {
    "weights": "weights: relative change",
    "activations": "activations: 1 − cosine",
    "angle": "activations: mean principal angle (°)",
}
"""Quantities of `clbench.engine.evaluation.drift`, in the order of their panels."""
LINES = 8
"""Largest number of tasks drawn, from the first."""

_PANEL = (3.1, 2.0)  # inches
_LAYER = 0.17  # inches: a layer on the axis

Values = NDArray[np.float64]


def reported(record: Record) -> list[dict[str, dict[str, float]]]:
    """Return for each task {layer: {quantity: value}}; empty if the record holds no drift."""
    diagnostics = record.result.get("diagnostics")
    if not isinstance(diagnostics, list):
        return []
    found = [each.get("drift") if isinstance(each, dict) else None for each in diagnostics]
    return [each if isinstance(each, dict) else {} for each in found] if any(found) else []


def table(records: Sequence[Record]) -> tuple[list[str], dict[str, Values]]:
    """Return (layers, {quantity: values `[seeds, tasks, layers]`, NaN for missing ones}) of records with drift."""
    seeds = [reported(record)[:LINES] for record in records]
    layers = list(dict.fromkeys(layer for tasks in seeds for task in tasks for layer in task))
    found = {}
    for quantity in PANELS:
        values = np.full((len(seeds), max(map(len, seeds)), len(layers)), math.nan)
        for s, tasks in enumerate(seeds):
            for t, task in enumerate(tasks):
                for layer, entry in task.items():
                    values[s, t, layers.index(layer)] = entry.get(quantity, math.nan)
        if not np.isnan(values).all():
            found[quantity] = values
    return layers, found


def draw(row: Row, records: Sequence[Record]) -> Figure:
    """Return one panel per quantity, over the layers from input to output: a line per task, mean over seeds.

    Args:
        row: row of the leaderboard.
        records: records of its seeds with drift.
    """
    layers, found = table(records)
    names = _named(layers)
    tasks = [style.label(name) for name in records[0].result["task_names"]]
    note = style.averaged(row, len(records), ", band: min to max")
    panel = max(_PANEL[0], _LAYER * len(names) + 0.6)
    below = max(style.text_width(name, style.SMALL) for name in names) + 0.3
    width = panel * len(found)
    per_line = max(1, int(width / (max(style.text_width(name, style.SMALL) for name in tasks) + 0.55)))
    height = _PANEL[1] + below + 0.17 * math.ceil(len(tasks) / per_line)
    figure = style.sheet(row, [[*style.details(row), note]], width, height)
    panels: list[Axes] = list(figure.subplots(1, len(found), squeeze=False).flat)
    for axes, (quantity, values) in zip(panels, found.items()):
        axes.set_title(PANELS[quantity], loc="left")
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_xlim(-0.5, len(names) - 0.5)
        for task in range(values.shape[1]):
            present = np.ma.masked_invalid(values[:, task])
            low, mean, high = (each.filled(math.nan) for each in (present.min(0), present.mean(0), present.max(0)))
            colour, marker = style.COLOURS[task], style.MARKERS[task]
            label = tasks[task] if task < len(tasks) else f"task {task}"
            axes.plot(range(len(names)), mean, color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=label)
            if len(values) > 1:
                axes.fill_between(range(len(names)), low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=per_line, frameon=False)
    return figure


def _named(layers: Sequence[str]) -> list[str]:
    """Return names without the first parts that all layers of the backbone have in common."""
    inside = [layer for layer in layers if layer.startswith("backbone.")]
    shortened = dict(zip(inside, short(inside)))
    return [style.label(shortened.get(layer, layer)) for layer in layers]
