"""What a job returns to a sweeper of Hydra (`objective`): a metric of validation splits, unless one insists on test splits."""

from __future__ import annotations

from typing import Any

from clbench.errors import ConfigError, shown
from clbench.metrics.matrix import METRICS
from clbench.utils.nearest import nearest

TEST = "test."
"""Prefix of an objective on the test stream."""
THAT_ENUMERATE = ("clbench", "basic")
"""Sweepers that run what the command line names, and look at no value."""


def check_objective(value: Any) -> str:
    """Return `objective`.

    Raises:
        ConfigError: it is no metric.
    """
    name = value.removeprefix(TEST) if isinstance(value, str) else value
    if name not in METRICS:
        near = nearest(str(name), METRICS)
        hint = f"did you mean objective={near}? " if near else ""
        raise ConfigError(f"unknown objective={shown(value)}", f"{hint}choose one of {', '.join(METRICS)}; or {TEST}NAME")
    return str(value)


def refuse_tuning_on_test(objective: str, measured: str, sweeper: str) -> None:
    """Refuse a sweeper that tunes on the test stream, unless the objective insists.

    Args:
        objective: of the job.
        measured: `eval.split` of the job.
        sweeper: choice of the group `hydra/sweeper`.

    Raises:
        ConfigError: the sweeper would see test results.
    """
    if sweeper in THAT_ENUMERATE or objective.startswith(TEST) or measured != "test":
        return
    raise ConfigError(
        f"hydra/sweeper={sweeper} chooses values by what jobs return, and eval.split=test would let it see the test stream",
        "give eval.split=valid scenario.valid_fraction=0.1, or use clbench-tune, which does so by itself; or insist: "
        f"objective={TEST}{objective}",
    )
