"""The words of the progress of a sweep: ends of runs, positions, waiting times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clbench.run_spec import RunSpec
from clbench.runner.outcome import Outcome, Status

WORDS = {
    Status.DONE: "",
    Status.PRESENT: "already there",
    Status.BUSY: "in progress elsewhere",
    Status.FAILED: "FAILED",
}


def summary(outcome: Outcome) -> str:
    """Return one line about a run that has ended; remedies are printed once, at the end of the sweep."""
    parts = [outcome.spec.label, WORDS[outcome.status]]
    if outcome.accuracy is not None and outcome.status is Status.DONE:
        parts.append(f"accuracy {outcome.accuracy:.1f}")
    if outcome.seconds:
        parts.append(f"{outcome.seconds:.1f} s")
    return "  ".join(part for part in parts if part) + (f": {outcome.reason}" if outcome.reason else "")


def waiting_for(busy: Sequence[Outcome], seconds: float | None) -> str:
    """Return one line about runs that other processes execute."""
    runs = "1 run" if len(busy) == 1 else f"{len(busy)} runs"
    others = ", ".join(dict.fromkeys(outcome.reason for outcome in busy))
    limit = "" if seconds is None else f", at most {duration(seconds)} until the next one ends"
    return f"waiting for {runs} in progress elsewhere ({others}){limit}"


def share(state: Mapping[str, Any]) -> float:
    """Return the finished share of a run, from its tasks and the epochs of the current task."""
    tasks = state.get("tasks")
    if not tasks:
        return 0.0
    within = state["epoch"] / state["epochs"] if state.get("epoch") and state.get("epochs") else 0.0
    return float(min(1.0, (state.get("task", 0) + min(1.0, within)) / tasks))


def position(state: Mapping[str, Any]) -> list[str]:
    """Return the position of a run: task, epoch, accuracy so far."""
    tasks = state.get("tasks")
    if not tasks:
        return ["starting", "", ""]
    epoch = f"epoch {state['epoch']}/{state['epochs']}" if state.get("epoch") else ""
    accuracy = f"accuracy {state['acc']:.1f}" if state.get("acc") is not None else ""
    return [f"task {min(state.get('task', 0) + 1, tasks)}/{tasks}", epoch, accuracy]


def stalled(spec: RunSpec, quiet: float) -> str:
    """Return `no step for 10 min` for a run without a sign of life for `quiet` seconds; empty below `runner.stall_notice`."""
    notice = spec.execution.stall_notice
    if notice is None or quiet < notice:
        return ""
    return f"no step for {int(quiet // 60)} min" if quiet >= 120 else f"no step for {int(quiet)} s"


def duration(seconds: float) -> str:
    """Return seconds as `0:07` or `1:02:03`."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
