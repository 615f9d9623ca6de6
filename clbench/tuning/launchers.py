"""Runs of a search on other machines, by a launcher of Hydra: Ray, Slurm, joblib. They go round by round."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from clbench.config.hydra_cache import launcher_of, raised
from clbench.config.hydra_compose import conf_dir
from clbench.run_spec import RunSpec
from clbench.runner.external_launcher import run_external
from clbench.runner.launched_job import COMMAND, hint, keep_ray_local, out_of_reach
from clbench.runner.outcome import Outcome
from clbench.runner.progress import Display
from clbench.runner.sweep import errors
from clbench.tuning.command import Rounds
from clbench.tuning.plan import Plan


def of_hydra(word: str) -> bool:
    """Return whether a word of the command line concerns Hydra itself."""
    return word.lstrip("+~").startswith(("hydra/", "hydra."))


def launched_rounds(
    words: Sequence[str], folders: Sequence[str | Path], plans: Sequence[Plan], task: Callable[[DictConfig], Any]
) -> Rounds | None:
    """Return what executes the runs of a round by the launcher that `words` name; None without one: this machine's workers do.

    Args:
        words: of the command line that concern Hydra.
        folders: as `--config-dir` gives them.
        plans: know the overrides of their runs.
        task: what a job of any sweep executes.
    """
    name = next((word.partition("=")[2] for word in words if word.lstrip("+").startswith("hydra/launcher=")), "clbench")
    if name == "clbench":
        return None
    where = os.path.abspath(plans[0].results_dir).replace("'", "\\'")
    inner, config = launcher_of(conf_dir(), folders, [*words, f"results_dir='{where}'"], task)
    first = 0

    def rounds(specs: Sequence[RunSpec], display: Display) -> list[Outcome]:
        nonlocal first

        def launch(numbers: list[int]) -> list[Exception | None]:
            nonlocal first
            overrides = [_words(plans, specs[number]) for number in numbers]
            said = hint(config.hydra.launcher, {specs[number].execution.device for number in numbers})
            if said:
                errors().print(said, markup=False, highlight=False, soft_wrap=True)
            keep_ray_local(config.hydra.launcher)
            os.environ[COMMAND] = str(os.getpid())
            with out_of_reach(config.hydra.launcher):
                returned = inner.launch(overrides, initial_job_idx=first)
            first += len(overrides)
            return [raised(each) for each in returned]

        return run_external([[spec] for spec in specs], display, launch, f"hydra/launcher={name}")

    return rounds


def _words(plans: Sequence[Plan], spec: RunSpec) -> list[str]:
    """Return the overrides of a job with one run of a search."""
    plan = next(plan for plan in plans if str(plan.folder) == spec.results_dir)
    where = os.path.abspath(spec.results_dir).replace("'", "\\'")
    kept = [word for word in plan.searched if word.partition("=")[0].lstrip("+") not in ("results_dir", "seeds", "logger")]
    values = plan.space.words(plan.values_of(spec))
    return [*kept, *values, "logger=none", f"seeds=[{spec.seed}]", f"results_dir='{where}'"]
