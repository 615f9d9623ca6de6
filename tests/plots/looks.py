"""What every picture must fulfil, and synthetic records to draw."""

import itertools

from clbench.leaderboard.rows import rows
from clbench.plots import style
from tests.leaderboard.factory import record


def drawn(draw, records, failures=()):
    """Return the figure of records (and failures) that make one row, laid out as in its file."""
    (row,) = rows(records, failures)
    with style.context():
        figure = draw(row, records)
        figure.draw_without_rendering()
    return figure


def heading(figure):
    """Return the lines above the picture."""
    return [text.get_text() for text in figure.texts if text.get_gid() == "heading"]


def shown(figure):
    """Yield every text of a figure; ticks beyond the ends of an axis, which matplotlib keeps, are not shown."""
    yield from figure.texts
    for axes in figure.axes:
        yield from (axes.title, axes._left_title, *axes.texts, *(each.label for each in (axes.xaxis, axes.yaxis)))
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if low <= tick.get_loc() <= high:
                    yield from (tick.label1, tick.label2)
    for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes)]:
        yield from legend.get_texts() if legend else ()


def check_readable(figure):
    """Nothing is cut off at the border, no two texts meet, none is small."""
    boxes = []
    for text in (text for text in shown(figure) if text.get_visible() and text.get_text().strip()):
        box = text.get_window_extent()
        assert text.get_size() >= style.SMALL, text
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, f"{text} leaves the picture"
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, f"{text} leaves the picture"
        boxes.append((text, box))
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        wide = min(first.x1, second.x1) - max(first.x0, second.x0)
        high = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert wide <= 0 or high <= 0, f"{one} and {other} meet"


def long_run(n_tasks, seed=0, name="permutation {}", utility=(), **more):
    """Return a record of many tasks; `name` of a task's number, `utility` sets beside the tasks."""
    A = [[90.0 - (after - j) * 50 / n_tasks for j in range(after + 1)] for after in range(n_tasks)]
    made = record(seed, A, **more)
    for j, column in enumerate(made.result["columns"]):
        column["name"] = f"task {j}: {name.format(j)}"
    for each in utility:
        made.result["columns"].append({"name": each, "role": "utility", "metric": "accuracy"})
        for line in made.result["matrix"]:
            line.append([700, 1000])
    return made


def projected(seed=0, diagnostics=None, layers=("backbone.layers.0.weight", "heads.0.weight"), n_tasks=3, of=100, **more):
    """Return a record with diagnostics: those given, or by layer l (from 0), task t and seed s.

    taken (t + 1) (10 + l + s), added 10 + l + s, removed (t + l) / 100 + s / 10 but for the first task, relaxed t + l + s.
    """
    made = long_run(n_tasks, seed, **{"method": "gpm", **more})
    made.result["diagnostics"] = diagnostics or [
        {
            layer: {
                "taken": (task + 1) * (10 + at + seed),
                "of": of,
                "added": 10 + at + seed,
                "removed": (task + at) / 100 + seed / 10 if task else None,
                "relaxed": task + at + seed,
            }
            for at, layer in enumerate(layers)
        }
        for task in range(n_tasks)
    ]
    return made


def traced(seed=0, layers=("backbone.embed", "backbone.layers.0", "heads.0"), before=90, **more):
    """Return a record of two groups and a recovery, measured every 10 of 30 steps (20 in the recovery), with drift.

    Column 0 falls by 20 with every step measured of task 1, and rises by 15 in the recovery; drift of layer l, task t, seed s:
    weights 0.1 (l + 1) (t + 1) + s / 100, activations half as much, heads none.
    """
    made = record(
        seed,
        [[before], [before - 60, 95], [before - 30, 60, 99]],
        **{"method": "naive", "scenario": "biography_tiny", "setting": "domain", **more},
    )
    result = made.result
    result["task_names"] = ["group 0", "group 1", "recovery"]
    for j, column in enumerate(result["columns"]):
        column |= {"name": f"task {j}: {result['task_names'][j]}", "metric": "exact_match"}
    result["columns"].append({"name": "first token", "role": "utility", "metric": "first_token"})
    events, matrix = [result["events"][0]], [result["matrix"][0]]
    for task, steps in enumerate((30, 30, 20)):
        end = result["matrix"][task + 1]
        for step in range(10, steps + 1, 10):
            left = (steps - step) // 10
            moved = end[0][0] + (0, 200, -150)[task] * left
            events.append({"kind": "within", "task": task, "step": step})
            matrix.append([[moved, 1000], *end[1:]])
        events.append({"kind": "task", "task": task, "step": None})
        matrix.append(end)
    result["events"], result["matrix"] = events, [[*line, [500, 1000]] for line in matrix]
    result["diagnostics"] = [
        {
            "drift": {
                layer: {"weights": 0.1 * (at + 1) * (task + 1) + seed / 100}
                | ({} if layer.startswith("heads") else {"activations": 0.05 * (at + 1), "angle": 10.0 * at})
                for at, layer in enumerate(layers)
            },
            "conclusion": {
                "before": before / 100,
                "claim": before >= 80,
                "after": before / 100 - 0.6,
                "recovered": before / 100 - 0.3,
            },
        }
        for task in range(3)
    ]
    return made
