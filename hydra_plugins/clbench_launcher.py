"""What Hydra finds by itself: clbench's launcher and sweeper, and the configuration of installed plug-ins.

Hydra accepts these from the namespace package `hydra_plugins` alone. They are thin; the work is done in `clbench`,
which is imported when they are used, not when Hydra looks for them. (Hydra runs this file before it is in
`sys.modules`, where `dataclass` looks up annotations that are postponed: hence none are.)
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class ClbenchLauncherConf:
    """Node of `hydra/launcher=clbench`."""

    _target_: str = "hydra_plugins.clbench_launcher.ClbenchLauncher"


@dataclass
class ClbenchSweeperConf:
    """Node of `hydra/sweeper=clbench`; arguments as those of Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.clbench_launcher.ClbenchSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/launcher", name="clbench", node=ClbenchLauncherConf, provider="clbench")
ConfigStore.instance().store(group="hydra/sweeper", name="clbench", node=ClbenchSweeperConf, provider="clbench")


class ClbenchLauncher(Launcher):  # type: ignore[misc]
    """Sees all jobs of a sweep at once and hands their cells to clbench's runner."""

    def __init__(self) -> None:
        self.config: DictConfig
        self.context: HydraContext
        self.keeps_failures = False
        """Whether a failed job is only counted, as our sweeper wants it; else it is handed on as failed."""
        self.failed = 0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what the sweeper provides."""
        self.config, self.context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; each returns its mean final accuracy in percent."""
        from clbench.command import Broken, output, run_jobs
        from clbench.compose import Composer
        from clbench.errors import ClbenchError
        from clbench.job import Job, make_job
        from clbench.loading import SharedLoader

        setup_globals()
        composer = Composer(SharedLoader(self.context.config_loader))
        hydra_overrides = list(self.config.hydra.overrides.hydra)
        made: list[Job | Broken] = []
        with output().status(f"composing {len(job_overrides)} jobs"):
            for overrides in job_overrides:
                try:
                    made.append(make_job(composer(overrides, hydra_overrides), composer))
                except ClbenchError as error:
                    made.append(Broken(" ".join(overrides), error))
        summary = run_jobs([job for job in made if isinstance(job, Job)], [job for job in made if isinstance(job, Broken)])
        self.failed += summary.failed
        return [self._return(overrides, job, summary) for overrides, job in zip(job_overrides, made, strict=True)]

    def _return(self, overrides: Sequence[str], job: Any, summary: Any) -> JobReturn:
        from clbench.command import Broken
        from clbench.errors import ClbenchError

        accuracy = float("nan") if isinstance(job, Broken) else summary.accuracy(job)
        result = JobReturn(overrides=list(overrides), working_dir=os.getcwd(), status=JobStatus.COMPLETED)
        result.return_value = accuracy
        if accuracy != accuracy and not self.keeps_failures:
            result.status = JobStatus.FAILED
            result.return_value = job.error if isinstance(job, Broken) else ClbenchError("a run of this job failed")
        return result


class ClbenchSweeper(BasicSweeper):  # type: ignore[misc]
    """Hydra's basic sweeper, except that a job which fails, even at composing, does not keep others from running.

    The command's exit status tells of failures when all batches are through.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Set up, and have the launcher count failures."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if isinstance(self.launcher, ClbenchLauncher):
            self.launcher.keeps_failures = True

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it to our launcher, which composes every job anyway (0.15 s each) and counts those it cannot."""
        if not isinstance(self.launcher, ClbenchLauncher):
            super().validate_batch_is_legal(batch)

    def sweep(self, arguments: list[str]) -> Any:
        """Run all batches.

        Raises:
            SystemExit: with status 1, if anything failed.
        """
        returned = super().sweep(arguments)
        if isinstance(self.launcher, ClbenchLauncher) and self.launcher.failed:
            raise SystemExit(1)
        return returned


class PluginConfigs(SearchPathPlugin):  # type: ignore[misc]
    """Adds the configuration folders of installed plug-ins; see `clbench.compose.installed`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders; only in clbench's own application, not in others that Hydra runs in this environment."""
        from clbench.compose import conf_dir, installed

        own = str(conf_dir())
        if any(element.path == own for element in search_path.get_path()):
            for name, folder in installed().items():
                search_path.append(provider=name, path=f"file://{folder}")
