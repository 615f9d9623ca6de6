"""clbench's plug-ins of Hydra: launcher, sweeper, and the configuration of installed packages.

Hydra looks for plug-ins in the namespace package `hydra_plugins` only. They are thin: `clbench` does the work, and most of it
is imported when a plug-in is used. Hydra executes this file before it is in `sys.modules`, where `dataclass` looks up
postponed annotations; this file therefore has none.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write

from clbench.config.hydra_cache import Override, SharedLoader, basic_sweeper, parsed, raised

BasicSweeper = basic_sweeper()


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
    """Gives the runs of all jobs of a sweep to clbench's runner at once."""

    def __init__(self) -> None:
        self.config: DictConfig
        self.context: HydraContext
        self.keeps_failures = False
        """True for clbench's sweeper: a failed job is only counted. Otherwise its error is returned."""
        self.failed = 0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the configuration and the context of the sweeper."""
        self.config, self.context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; each returns its objective in percent."""
        from clbench.config.hydra_compose import Composer
        from clbench.config.job import Job, make_job
        from clbench.config.objective import refuse_tuning_on_test
        from clbench.errors import ClbenchError
        from clbench.runner.sweep import Broken, output

        composer = Composer(SharedLoader(self.context.config_loader, self.config.hydra.searchpath or ()))
        hydra_overrides = [word for word in self.config.hydra.overrides.hydra if "hydra.searchpath=" not in word]
        sweeper = str(self.config.hydra.runtime.choices["hydra/sweeper"])
        made: list[Job | Broken] = []
        with output().status(f"composing {len(job_overrides)} jobs"):
            for overrides in job_overrides:
                try:
                    job = make_job(composer(overrides, hydra_overrides), composer)
                    refuse_tuning_on_test(job.objective, job.config["eval"]["split"], sweeper)
                    made.append(job)
                except ClbenchError as error:
                    made.append(Broken(" ".join(overrides), error))
        described = [(words, job) for words, job in zip(job_overrides, made, strict=True) if isinstance(job, Job)]
        summary = self._run(described, [job for job in made if isinstance(job, Broken)], initial_job_idx)
        self.failed += summary.failed
        return [self._return(overrides, job, summary) for overrides, job in zip(job_overrides, made, strict=True)]

    def _run(self, jobs: Sequence[tuple[Sequence[str], Any]], broken: Sequence[Any], first: int) -> Any:
        """Run jobs, each given with its overrides; the first of the batch has the number `first`."""
        from clbench.runner.sweep import run_jobs

        return run_jobs([job for _, job in jobs], broken)

    def _return(self, overrides: Sequence[str], job: Any, summary: Any) -> JobReturn:
        from clbench.errors import ClbenchError
        from clbench.runner.sweep import Broken

        value = float("nan") if isinstance(job, Broken) else summary.objective(job)
        result = JobReturn(overrides=list(overrides), working_dir=os.getcwd(), status=JobStatus.COMPLETED)
        result.return_value = value
        if value != value and not self.keeps_failures:
            result.status = JobStatus.FAILED
            undefined = "a run of this job failed, or its objective is undefined"
            result.return_value = job.error if isinstance(job, Broken) else ClbenchError(undefined)
        return result


class HostLauncher(ClbenchLauncher):
    """Has another launcher execute the remaining runs, and treats their results as clbench's own launcher does.

    Args:
        inner: the other launcher.
        name: of the other launcher.
    """

    def __init__(self, inner: Launcher, name: str) -> None:
        super().__init__()
        self.inner, self.name = inner, name

    def _run(self, jobs: Sequence[tuple[Sequence[str], Any]], broken: Sequence[Any], first: int) -> Any:
        from clbench.runner.external_launcher import run_external
        from clbench.runner.launched_job import COMMAND, hint, keep_ray_local, out_of_reach
        from clbench.runner.sweep import errors, run_jobs

        def launch(numbers: list[int]) -> list[Exception | None]:
            overrides = [_with_whole_path(*jobs[number]) for number in numbers]
            said = hint(self.config.hydra.launcher, {jobs[number][1].execution.device for number in numbers})
            if said:
                errors().print(said, markup=False, highlight=False, soft_wrap=True)
            keep_ray_local(self.config.hydra.launcher)
            os.environ[COMMAND] = str(os.getpid())
            with out_of_reach(self.config.hydra.launcher):
                return [raised(returned) for returned in self.inner.launch(overrides, initial_job_idx=first)]

        return run_jobs(
            [job for _, job in jobs],
            broken,
            external=lambda runs, display: run_external(runs, display, launch, f"hydra/launcher={self.name}"),
        )


def _with_whole_path(overrides: Sequence[str], job: Any) -> list[str]:
    """Return the overrides with the results folder's whole path: Hydra makes it before a job can change its folder."""
    where = os.path.abspath(job.results_dir).replace("'", "\\'")
    return [*(word for word in overrides if not word.startswith("results_dir=")), f"results_dir='{where}'"]


class ClbenchSweeper(BasicSweeper):  # type: ignore[valid-type, misc]
    """Hydra's basic sweeper, except that a failed job, even one that cannot be composed, stops no other job.

    The exit status of the command tells of failures after all batches.
    """

    launcher: Any

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Set up, and have the launcher count failures.

        Raises:
            ConfigError: the launcher's package is not installed, or `results_dir` names no folder.
        """
        from clbench.utils.folders import results_dir

        _require(config.hydra.launcher)
        with read_write(config):  # other launchers put files there
            config.results_dir = results_dir(config.results_dir)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if not isinstance(self.launcher, ClbenchLauncher):
            self.launcher = HostLauncher(self.launcher, config.hydra.runtime.choices["hydra/launcher"])
            self.launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.launcher.keeps_failures = True

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Check nothing here: the launcher composes every job anyway (0.15 s each) and counts failures."""

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        """Split as Hydra's own sweeper does.

        Raises:
            ConfigError: several values of a key that no sweep varies (`clbench.config.never_swept`), such as folders for
                results. A run's identity has no folder: the second folder would stay empty.
        """
        from clbench.config.never_swept import refuse_sweep

        for override in overrides:
            if override.is_sweep_override():
                refuse_sweep(override.input_line, override.key_or_group, override.input_line.partition("=")[2])
        return BasicSweeper.split_arguments(overrides, max_batch_size)  # type: ignore[no-any-return]

    def sweep(self, arguments: list[str]) -> Any:
        """Run all batches. Hydra's own sweeper would first store a file, which nobody reads and a full disk refuses.

        Raises:
            SystemExit: with status 1, if anything failed.
        """
        words = parsed(self.hydra_context, [*self._parse_config(), *arguments])
        self.overrides = self.split_arguments(words, self.max_batch_size)
        returned: list[Sequence[JobReturn]] = []
        number = 0
        while not self.is_done():
            batch = self.get_job_batch()
            returned.append(self.launcher.launch(batch, initial_job_idx=number))
            number += len(batch)
        if self.launcher.failed:
            raise SystemExit(1)
        return returned


def _require(launcher: DictConfig) -> None:
    """Raise a ConfigError if the launcher's package is not installed."""
    package = ".".join(str(launcher._target_).split(".")[:2])
    if package.startswith("hydra_plugins.") and find_spec(package) is None:
        from clbench.errors import ConfigError

        raise ConfigError(f"this launcher needs {package.split('.')[1].replace('_', '-')}", "pip install 'clbench[launchers]'")


class PluginConfigs(SearchPathPlugin):  # type: ignore[misc]
    """Adds the configuration folders of installed plug-ins; see `clbench.config.hydra_compose.installed`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders in clbench's own application; other Hydra applications in this environment stay unchanged."""
        from clbench.config.hydra_compose import conf_dir, installed

        own = str(conf_dir())
        if any(element.path == own for element in search_path.get_path()):
            for name, folder in installed().items():
                search_path.append(provider=name, path=f"file://{folder}")
