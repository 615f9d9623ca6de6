"""The command `clbench`: Hydra's command line, then the runner. Errors are one short message."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

import clbench
from clbench.config.double_files import DoubleFileError, double_files
from clbench.config.explain import COMPOSITION_ERRORS
from clbench.config.hydra_cache import argument_parser, register_plugins
from clbench.config.hydra_compose import CONFIG_NAME, VERSION_BASE, Composed, conf_dir, installed, new_composer, plain
from clbench.config.renamed import rename_overrides
from clbench.errors import ClbenchError, StoreError

FULL_ERROR = "HYDRA_FULL_ERROR"


def main() -> None:
    """Run the command and leave with status 0, 1 after a failure, 130 after an interrupt."""
    if "--version" in sys.argv[1:]:
        print(f"clbench {clbench.__version__}")
        return
    sys.argv[1:] = rename_overrides(sys.argv[1:])
    args = argument_parser().parse_args()
    folders = [os.path.abspath(args.config_dir)] if args.config_dir else []
    # The user's own methods, models and data sets. Only this line changes the module search path. The folders go to its end:
    # a user's file with the name of an installed module hides nothing.
    sys.path.extend(folder for folder in [os.getcwd(), *folders] if folder not in sys.path)
    full = os.environ.get(FULL_ERROR) == "1"

    try:
        if args.help:
            from clbench.cli.help import text

            print(text([conf_dir(), *installed().values(), *folders]))
        elif args.cfg == "job":
            print_config(args.overrides, folders, args.package)
        else:
            if not args.multirun:  # each job of a sweep is checked when it is composed
                _refuse_double_files(args.overrides, folders)
            _own_presets()
            with _hydra_raises():
                hydra.main(version_base=VERSION_BASE, config_path=str(conf_dir()), config_name=CONFIG_NAME)(task)()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, a pager) has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        from clbench.runner.sweep import INTERRUPTED, interrupted

        print(interrupted(), file=sys.stderr)
        sys.exit(INTERRUPTED)
    except SystemExit as left:
        failure: object = left.code
        if not isinstance(failure, ClbenchError):
            raise
        if full:
            raise failure from None
        print(failure, file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        message = None if full else explained(error, args.overrides, folders)
        if message is None:
            raise
        print(message, file=sys.stderr)
        sys.exit(1)


def task(cfg: DictConfig) -> float:
    """Run one configuration for all its seeds, and return its mean final accuracy in percent.

    Hydra calls this function for a single job, and launchers other than clbench's call it for each job of a sweep.

    Args:
        cfg: the configuration without Hydra's own node.

    Raises:
        ClbenchError: a job of a sweep cannot be used, or one of its runs failed.
        SystemExit: a single job cannot be used (with the error), or one of its runs failed (the reason is already printed).
    """
    from clbench.config.job import make_job
    from clbench.runner.execute import LOGS
    from clbench.runner.external_launcher import JobError
    from clbench.runner.launched_job import end_with_command, enter_folder, share
    from clbench.runner.sweep import failures, run_jobs

    running = HydraConfig.get()
    single = running.mode == RunMode.RUN
    own = str(conf_dir())
    sources = [source for source in running.runtime.config_sources if source.schema == "file" and source.path != own]
    try:
        if not single:
            end_with_command(running.launcher)
            enter_folder(running.runtime.cwd, [source.path for source in sources if source.provider == "command-line"])
        composed = Composed(plain(cfg), dict(running.runtime.choices), tuple(running.overrides.task))
        job = make_job(composed, new_composer([source.path for source in sources]))
        wanted = job.execution.workers
        workers = wanted if single else share(running.launcher, job.execution.device, wanted, running.job.num)
        quiet = not single and running.runtime.choices["hydra/sweeper"] == "clbench"  # the launching process reports
        logs = LOGS if single else f"{LOGS}/job-{running.job.num}"  # of jobs in parallel
        summary = run_jobs([job], workers=workers, progress=not quiet, report=not quiet, logs=logs)
        if not summary.failed:
            return summary.accuracy(job)
    except ClbenchError as error:
        if not single:
            raise
        raise SystemExit(error) from error  # Hydra prints more than the message of other exceptions
    if single:
        raise SystemExit(1)
    reasons = {outcome.spec.id: outcome.text for outcome in summary.outcomes if outcome.status == "failed"}
    raise JobError(failures(summary)[0], reasons)


def print_config(overrides: list[str], folders: list[str], package: str | None) -> None:
    """Print the final configuration: with protocol and tuned values, and with interpolations resolved.

    Raises:
        ClbenchError: it cannot be composed, or has no such part.
    """
    from clbench.config.resolve import NODES, resolve
    from clbench.errors import ConfigError

    composer = new_composer(folders)
    resolved: Any = resolve(composer(overrides), composer)
    resolved = {**{key: resolved[key] for key in NODES}, **resolved}  # what matters first
    if package and package != "_global_":
        resolved = OmegaConf.select(OmegaConf.create(resolved), package)
        if resolved is None:
            raise ConfigError(f"the configuration has no part {package}", "`clbench --cfg job` shows all of it")
    sys.stdout.write(
        OmegaConf.to_yaml(OmegaConf.create(resolved))
        if isinstance(resolved, dict) or OmegaConf.is_config(resolved)
        else f"{resolved}\n"
    )


def _refuse_double_files(overrides: list[str], folders: list[str]) -> None:
    """Refuse a chosen file that two folders have; Hydra's own composition would ignore one of them.

    Raises:
        DoubleFileError: there is such a file.
    """
    if double_files([conf_dir(), *installed().values(), *folders]) or any("hydra.searchpath" in word for word in overrides):
        try:
            new_composer(folders)(overrides)
        except DoubleFileError:
            raise
        except ClbenchError:
            return  # Hydra finds the same error


def _own_presets() -> None:
    """Replace the configuration that launcher packages register by the files of `conf/hydra/launcher`.

    Otherwise Hydra would check a file against the registered configuration, with a deprecation warning.
    """
    register_plugins()
    registered = ConfigStore.instance().repo["hydra"]["launcher"]
    for preset in (conf_dir() / "hydra" / "launcher").glob("*.yaml"):
        registered.pop(preset.name, None)


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Have Hydra raise its errors instead of printing them; `main` explains them."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before


def explained(error: Exception, overrides: list[str], folders: list[str]) -> str | None:
    """Return the message for the user; None for an error in the program, which needs a traceback."""
    if isinstance(error, ClbenchError):
        return str(error)
    if isinstance(error, COMPOSITION_ERRORS):  # some are also OSErrors
        return str(new_composer(folders).explained(error, overrides))
    if isinstance(error, OSError) and error.filename:
        what = f"{error.filename} cannot be read or written: {error.strerror}"
        return str(StoreError(what, "choose another results_dir, or check permissions and space"))
    if isinstance(error, (ValueError, YAMLError)):  # Hydra raises some of its errors as these
        try:
            new_composer(folders)(overrides)
        except ClbenchError as same:
            return str(same)
    return None


if __name__ == "__main__":
    main()
