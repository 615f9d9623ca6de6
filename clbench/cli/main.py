"""The command `clbench`: Hydra's command line in front of the runner, with errors that stand on one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

import clbench
from clbench.config.hydra_compose import (
    COMPOSITION_ERRORS,
    CONFIG_NAME,
    VERSION_BASE,
    Composed,
    conf_dir,
    explain,
    installed,
    new_composer,
    plain,
)
from clbench.errors import ClbenchError, StoreError

FULL_ERROR = "HYDRA_FULL_ERROR"


def main() -> None:
    """Run the command and leave with status 0, 1 after a failure, 130 after an interrupt."""
    parser = get_args_parser()
    parser.set_defaults(version=None)
    if "--version" in sys.argv[1:]:
        print(f"clbench {clbench.__version__}")
        return
    args = parser.parse_args()
    folders = [os.path.abspath(args.config_dir)] if args.config_dir else []
    # Methods, models and data sets of the user's own: the one place where the module search path is changed. At its
    # end, so that a file of theirs named like an installed module hides nothing.
    sys.path.extend(folder for folder in [os.getcwd(), *folders] if folder not in sys.path)
    full = os.environ.get(FULL_ERROR) == "1"

    def single(cfg: DictConfig) -> float:
        return task(cfg, full)

    try:
        if args.help:
            from clbench.cli.help import text

            print(text([conf_dir(), *installed().values(), *folders]))
        elif args.cfg == "job":
            print_config(args.overrides, folders, args.package)
        else:
            _own_presets()
            with _hydra_raises():
                hydra.main(version_base=VERSION_BASE, config_path=str(conf_dir()), config_name=CONFIG_NAME)(single)()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, a pager) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        from clbench.runner.sweep import INTERRUPTED, interrupted

        print(interrupted(), file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        message = None if full else explained(error, args.overrides, folders)
        if message is None:
            raise
        print(message, file=sys.stderr)
        sys.exit(1)


def task(cfg: DictConfig, full: bool = False) -> float:
    """Run one configuration, for all its seeds, and return its mean final accuracy in percent, for sweepers.

    In a sweep this is the whole of a job, in whichever process another launcher than clbench's runs it.

    Args:
        cfg: without Hydra's own node.
        full: whether errors are to be seen with their traceback.

    Raises:
        ClbenchError: in a sweep by another launcher than clbench's, what went wrong.
        SystemExit: else, if a run failed; what went wrong is already printed.
    """
    from clbench.config.job import make_job
    from clbench.runner.execute import LOGS
    from clbench.runner.external_launcher import JobError
    from clbench.runner.launched_job import end_with_command, settle_in, share
    from clbench.runner.sweep import failures, run_jobs

    running = HydraConfig.get()
    single = running.mode == RunMode.RUN
    own = str(conf_dir())
    sources = [source for source in running.runtime.config_sources if source.schema == "file" and source.path != own]
    try:
        if not single:
            end_with_command(running.launcher)
            settle_in(running.runtime.cwd, [source.path for source in sources if source.provider == "command-line"])
        composed = Composed(plain(cfg), dict(running.runtime.choices), tuple(running.overrides.task))
        job = make_job(composed, new_composer([source.path for source in sources]))
        workers = job.workers if single else share(running.launcher, job.device, job.workers, running.job.num)
        told = not single and running.runtime.choices["hydra/sweeper"] == "clbench"  # by who launched us
        logs = LOGS if single else f"{LOGS}/job-{running.job.num}"  # jobs run side by side
        summary = run_jobs([job], workers=workers, progress=not told, report=not told, logs=logs)
        if not summary.failed:
            return summary.accuracy(job)
    except ClbenchError as error:
        if not single or full:
            raise
        print(error, file=sys.stderr)
        raise SystemExit(1) from error
    if single:
        raise SystemExit(1)
    reasons = {outcome.spec.id: outcome.reason for outcome in summary.outcomes if outcome.status == "failed"}
    raise JobError(failures(summary)[0], reasons)


def print_config(overrides: list[str], folders: list[str], package: str | None) -> None:
    """Print the configuration as it will be used: protocol and tuned values in place, interpolations resolved.

    Raises:
        ClbenchError: it cannot be composed, or has no such part.
    """
    from clbench.config.resolve import NODES, resolve
    from clbench.errors import ConfigError

    composer = new_composer(folders)
    settled: Any = resolve(composer(overrides), composer)
    settled = {**{key: settled[key] for key in NODES}, **settled}  # what matters first
    if package and package != "_global_":
        settled = OmegaConf.select(OmegaConf.create(settled), package)
        if settled is None:
            raise ConfigError(f"the configuration has no part {package}", "`clbench --cfg job` shows all of it")
    sys.stdout.write(
        OmegaConf.to_yaml(OmegaConf.create(settled))
        if isinstance(settled, dict) or OmegaConf.is_config(settled)
        else f"{settled}\n"
    )


def _own_presets() -> None:
    """Let `conf/hydra/launcher` take the place of what the launchers' packages register under the same names.

    Hydra would check the one against the other, and warn that it will cease to.
    """
    Plugins.instance()  # has them registered
    registered = ConfigStore.instance().repo["hydra"]["launcher"]
    for preset in (conf_dir() / "hydra" / "launcher").glob("*.yaml"):
        registered.pop(preset.name, None)


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Let Hydra raise its errors, which `main` explains, instead of printing them."""
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
    """Return what a user is told about `error`; None if it is none of theirs, and a traceback is called for."""
    if isinstance(error, ClbenchError):
        return str(error)
    if isinstance(error, COMPOSITION_ERRORS):  # among them some that are OSErrors too
        return str(explain(error, new_composer(folders), overrides))
    if isinstance(error, OSError) and error.filename:
        what = f"{error.filename} cannot be read or written: {error.strerror}"
        return str(StoreError(what, "choose another results_dir, or check permissions and space"))
    if isinstance(error, (ValueError, YAMLError)):  # some of Hydra's own are no more than that
        try:
            new_composer(folders)(overrides)
        except ClbenchError as same:
            return str(same)
    return None


if __name__ == "__main__":
    main()
