"""Make and execute runs like the command line, without a worker process or a result store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from clbench.config.hydra_compose import Composer, new_composer
from clbench.config.job import Job, make_job
from clbench.records import Record
from clbench.run_spec import RunSpec
from clbench.runner.execute import FLOWER_FUNCTION, RUN_FUNCTION, RunFunction, locate, thread_limit
from clbench.sources.trace import sources

BRIEF = ("trainer.epochs=1", "scenario.n_tasks=5")
"""Overrides of a short check: one pass over five tasks of digits."""


def make_spec(
    method: str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    config_dirs: Sequence[str | Path] = (),
    seed: int = 0,
    results_dir: str | Path = "runs",
) -> RunSpec:
    """Return the description of the run that the command line would make.

    Args:
        method: name of a configuration in the group `method`, or a node with `_target_` and hyper-parameters.
        overrides: as on the command line.
        config_dirs: folders of configuration, as `--config-dir`.
        seed: of the run.
        results_dir: the folder of checkpoints.
    """
    named = method if isinstance(method, str) else json.dumps(dict(method))
    job = _job(named, isinstance(method, str), tuple(overrides), tuple(str(folder) for folder in config_dirs))
    now = sources(job.config)  # a file may have been edited since the job was composed
    (spec,) = replace(job, seeds=(seed,), results_dir=str(results_dir), sources=now).specs()
    return spec


@cache
def _job(method: str, by_name: bool, overrides: tuple[str, ...], config_dirs: tuple[str, ...]) -> Job:
    """Compose each configuration only once: checks run it many times, and composition takes longer than a run."""
    composer = _composer(config_dirs)
    named = [f"method={method}"] if by_name else []
    brief = [word for word in BRIEF if not word.startswith("trainer.epochs")] if _counts_steps(overrides) else BRIEF
    composed = composer(["scenario=split_digits", *brief, *named, "logger=none", "device=cpu", *overrides])
    return make_job(composed, composer, None if by_name else json.loads(method))


def _counts_steps(overrides: Sequence[str]) -> bool:
    """Return whether overrides give a number of steps, beside which a number of epochs has no effect."""
    return any(word.startswith("trainer.iterations=") and not word.endswith("=null") for word in overrides)


@cache
def _composer(config_dirs: tuple[str, ...]) -> Composer:
    return new_composer(config_dirs)


def run(spec: RunSpec) -> Record:
    """Execute a run in this process and return its record; only checkpoints are stored, under its results_dir."""
    function: RunFunction = locate(FLOWER_FUNCTION if spec.over_flower else RUN_FUNCTION)
    with thread_limit(spec.execution.threads):
        return function(spec, lambda event: None)
