"""What Hydra finds by itself: clbench's launcher and sweeper, and the configuration of installed plug-ins.

Hydra accepts these from the namespace package `hydra_plugins` alone. They are thin; the work is done in `clbench`,
which is imported when they are used, not when Hydra looks for them. (Hydra runs this file before it is in
`sys.modules`, where `dataclass` looks up annotations that are postponed: hence none are.)
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
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
        from clbench.config.hydra_cache import SharedLoader
        from clbench.config.hydra_compose import Composer
        from clbench.config.job import Job, make_job
        from clbench.errors import ClbenchError
        from clbench.runner.sweep import Broken, output

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

        accuracy = float("nan") if isinstance(job, Broken) else summary.accuracy(job)
        result = JobReturn(overrides=list(overrides), working_dir=os.getcwd(), status=JobStatus.COMPLETED)
        result.return_value = accuracy
        if accuracy != accuracy and not self.keeps_failures:
            result.status = JobStatus.FAILED
            result.return_value = job.error if isinstance(job, Broken) else ClbenchError("a run of this job failed")
        return result


class HostLauncher(ClbenchLauncher):
    """Has another launcher run what is left to do, and treats what comes back as clbench's own launcher does.

    Args:
        inner: the other launcher.
        name: of it.
    """

    def __init__(self, inner: Launcher, name: str) -> None:
        super().__init__()
        self.inner, self.name = inner, name

    def _run(self, jobs: Sequence[tuple[Sequence[str], Any]], broken: Sequence[Any], first: int) -> Any:
        from clbench.runner.external_launcher import run_elsewhere
        from clbench.runner.launched_job import COMMAND, hint
        from clbench.runner.sweep import errors, run_jobs

        def launch(numbers: list[int]) -> list[Exception | None]:
            overrides = [_with_whole_path(*jobs[number]) for number in numbers]
            said = hint(self.config.hydra.launcher, {jobs[number][1].device for number in numbers})
            if said:
                errors().print(said, markup=False, highlight=False, soft_wrap=True)
            os.environ[COMMAND] = str(os.getpid())
            return [_raised(returned) for returned in self.inner.launch(overrides, initial_job_idx=first)]

        return run_jobs(
            [job for _, job in jobs],
            broken,
            elsewhere=lambda cells, display: run_elsewhere(cells, display, launch, f"hydra/launcher={self.name}"),
        )


def _with_whole_path(overrides: Sequence[str], job: Any) -> list[str]:
    """Return the overrides with the results folder's whole path: Hydra makes it before a job can change its folder."""
    where = os.path.abspath(job.results_dir).replace("'", "\\'")
    return [*(word for word in overrides if not word.startswith("results_dir=")), f"results_dir='{where}'"]


def _raised(returned: JobReturn) -> Exception | None:
    """Return what a job raised; asking Hydra for its return value would print it, too."""
    if returned.status == JobStatus.COMPLETED:
        return None
    error = returned._return_value
    return error if isinstance(error, Exception) else RuntimeError("the job ended without a result")


class ClbenchSweeper(BasicSweeper):  # type: ignore[misc]
    """Hydra's basic sweeper, except that a job which fails, even at composing, does not keep others from running.

    The command's exit status tells of failures when all batches are through.
    """

    launcher: Any

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Set up, and have the launcher count failures.

        Raises:
            ConfigError: the launcher's package is not installed.
        """
        _require(config.hydra.launcher)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if not isinstance(self.launcher, ClbenchLauncher):
            self.launcher = HostLauncher(self.launcher, config.hydra.runtime.choices["hydra/launcher"])
            self.launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.launcher.keeps_failures = True

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it to the launcher, which composes every job anyway (0.15 s each) and counts those it cannot."""

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        """Split as Hydra's own sweeper does.

        Raises:
            ConfigError: several folders for results. A run is known by what it is, wherever it is stored: the second folder would
                stay empty.
        """
        for override in overrides:
            if override.key_or_group == "results_dir" and override.is_sweep_override():
                from clbench.errors import ConfigError

                raise ConfigError(
                    f"{override.input_line} gives a sweep several folders, and all its runs are stored in one",
                    "give one folder, in which runs of different configurations keep apart; or start a command for each",
                )
        return BasicSweeper.split_arguments(overrides, max_batch_size)  # type: ignore[no-any-return]

    def sweep(self, arguments: list[str]) -> Any:
        """Run all batches.

        Raises:
            SystemExit: with status 1, if anything failed.
        """
        returned = super().sweep(arguments)
        if self.launcher.failed:
            raise SystemExit(1)
        return returned


def _require(launcher: DictConfig) -> None:
    """Raise a ConfigError if the launcher belongs to a package that is not there."""
    package = ".".join(str(launcher._target_).split(".")[:2])
    if package.startswith("hydra_plugins.") and find_spec(package) is None:
        from clbench.errors import ConfigError

        raise ConfigError(f"this launcher needs {package.split('.')[1].replace('_', '-')}", "pip install 'clbench[launchers]'")


class PluginConfigs(SearchPathPlugin):  # type: ignore[misc]
    """Adds the configuration folders of installed plug-ins; see `clbench.config.hydra_compose.installed`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders; only in clbench's own application, not in others that Hydra runs in this environment."""
        from clbench.config.hydra_compose import conf_dir, installed

        own = str(conf_dir())
        if any(element.path == own for element in search_path.get_path()):
            for name, folder in installed().items():
                search_path.append(provider=name, path=f"file://{folder}")
