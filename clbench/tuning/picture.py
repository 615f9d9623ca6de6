"""The picture of a search: every trial's value on the validation splits, and the best so far."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import accumulate
from typing import TYPE_CHECKING

from clbench.tuning.choice import Choice, describe
from clbench.tuning.objectives import OBJECTIVES
from clbench.tuning.plan import Plan, protocol, setting
from clbench.tuning.proposals import State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "search.png"
WIDTH, HEIGHT = 5.5, 2.6
"""Inches."""
MARKS = {State.COMPLETE: ("o", "complete"), State.PRUNED: ("x", "ended early")}


def draw(plan: Plan, choice: Choice) -> str:
    """Draw a search into the folder of its runs. Return a line that names the file, or says why there is none.

    Raises:
        StoreError: the file cannot be written.
    """
    if find_spec("matplotlib") is None:
        return "no picture of the search: it needs matplotlib (pip install 'clbench[plot]')"
    from clbench.plots.style import context, save

    path = plan.folder / FILE
    with context():
        save(figure(plan, choice), path)
    return f"picture: {path}"


def figure(plan: Plan, choice: Choice) -> Figure:
    """Return the picture: values over the number of the trial. Trials that diverged are marked at the lower edge."""
    from matplotlib.ticker import MaxNLocator

    from clbench.plots.style import COLOURS, label, sheet

    objective = OBJECTIVES[plan.tuning.objective]
    row = {"method": plan.base.names["method"], "scenario": plan.base.names["scenario"], "setting": setting(plan.base)}
    seeds = len(plan.tuning.search_seeds)
    about = [protocol(plan.tuning), f"{len(choice.trials)} trials of {seeds} seeds", f"chosen: {describe(choice.values)}"]
    made = sheet(row, [about], WIDTH, HEIGHT)
    axes = made.add_subplot()
    for place, (state, (marker, name)) in enumerate(MARKS.items()):
        some = [trial for trial in choice.trials if trial.state is state]
        if some:
            values = [trial.value(objective.worst) for trial in some]
            colour = COLOURS[place]
            axes.scatter([trial.number for trial in some], values, s=14, c=colour, marker=marker, label=label(name), zorder=2)
    complete = [trial for trial in choice.trials if trial.state is State.COMPLETE]
    top = list(accumulate((trial.value(objective.worst) for trial in complete), max if objective.larger else min))
    axes.step(
        [trial.number for trial in complete], top, where="post", color=COLOURS[0], linewidth=1, label="best so far", zorder=1
    )
    axes.plot(
        choice.trial.number, choice.trial.value(objective.worst), "*", color=COLOURS[1], markersize=9, label="chosen", zorder=3
    )
    lost = [trial.number for trial in choice.trials if trial.state is State.DIVERGED]
    if lost:
        axes.plot(
            lost, [0.02] * len(lost), "v", color=COLOURS[7], transform=axes.get_xaxis_transform(), label="diverged", clip_on=False
        )
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{label(plan.tuning.objective)} on validation splits (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best", frameon=False)
    return made
