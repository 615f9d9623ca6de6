"""The command `clbench`: Hydra's command line, then the runner. Errors are one short message."""

from __future__ import annotations

if __name__ == "__main__":
    from clbench.cli.start import clbench as start

    start()
    raise SystemExit

import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

import clbench
from clbench.cli.arguments import completed_line, in_order
from clbench.cli.key_values import unwritten
from clbench.config.double_files import DoubleFileError, double_files
from clbench.config.explain import COMPOSITION_ERRORS
from clbench.config.hydra_cache import argument_parser, register_plugins
from clbench.config.hydra_compose import CONFIG_NAME, VERSION_BASE, Composed, conf_dir, installed, new_composer, plain
from clbench.config.plugin_folders import as_override, config_dir, extend_modules, search_path
from clbench.config.quoting import expand_config_dir, quote_places
from clbench.config.renamed import rename_overrides
from clbench.errors import ClbenchError, StoreError
from clbench.utils import interrupts
from clbench.utils.disk import of_the_machine
from clbench.utils.markup import terminal
from clbench.utils.plain_output import plain_output
from clbench.utils.tolerant import complete

FULL_ERROR = "HYDRA_FULL_ERROR"


def main() -> None:
    """Run the command and leave with status 0, 1 after a failure, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    try:
        with interrupts.raised():
            _main()
    except KeyboardInterrupt as stop:
        interrupts.leave(stop)


def _main() -> None:
    if "--version" in sys.argv[1:]:
        print(f"clbench {clbench.__version__}")
        return
    plain_output()
    try:
        args, folders = read_arguments(sys.argv[1:])
    except ClbenchError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    full = os.environ.get(FULL_ERROR) == "1"

    try:
        if args.help:
            from clbench.cli.help import text

            print(terminal(text([conf_dir(), *installed().values(), *folders])))
        elif args.cfg == "job":
            print_config(args.overrides, folders, args.package)
        else:
            if args.info is None and not (args.cfg or args.shell_completion or args.hydra_help):
                new_composer(folders).check(args.overrides)
            if not args.multirun:  # each job of a sweep is checked when it is composed
                _refuse_double_files(args.overrides, folders)
            _own_presets()
            with _hydra_raises(), _no_trace(args.overrides):
                hydra.main(version_base=VERSION_BASE, config_path=str(conf_dir()), config_name=CONFIG_NAME)(task)()
        complete()
    except BrokenPipeError:  # the reader (head, a pager) has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except SystemExit as left:
        interrupts.check()
        failure: object = left.code
        if not isinstance(failure, ClbenchError):
            raise
        if full:
            raise failure from None
        print(terminal(failure), file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        interrupts.check()
        message = None if full else explained(error, args.overrides, folders)
        if message is None:
            raise
        print(terminal(message), file=sys.stderr)
        sys.exit(1)


def read_arguments(words: Sequence[str]) -> tuple[Namespace, list[str]]:
    """Return the flags and overrides of the command line, and the folders of `--config-dir` and `hydra.searchpath`.

    Hydra reads `sys.argv` again: it gets the flags first, and whole paths. The folders of plug-ins, and the working folder,
    are added to the module search path, for the user's own methods, models and data sets.

    Raises:
        ConfigError: an unknown flag, or a folder that does not exist.
    """
    parser = argument_parser()
    flags, overrides = in_order(expand_config_dir(words), parser, _spell)
    args = parser.parse_args([*flags, *overrides])
    if args.shell_completion:
        typed = completed_line(parser, _spell)
        args.config_dir = args.config_dir or typed
    folders = list[str]()
    args.overrides = rename_overrides(quote_places(overrides))
    if args.config_dir:
        folders = [config_dir(args.config_dir)]
        flags = [*flags, "--config-dir", *folders]  # the last one counts
    args.overrides, others, modules = search_path(args.overrides, lambda word: new_composer().loader.parse([word])[0].value())
    extend_modules([os.getcwd(), *folders, *modules])
    folders += others
    sys.argv[1:] = [*flags, *as_override(others), *args.overrides]
    return args, folders


def _spell(name: str, value: str) -> str:
    """Return an unknown flag as an override; empty if no key resembles it."""
    near = new_composer().names.near(name, ())
    return f"{near}={value or 'VALUE'}" if near else ""


def task(cfg: DictConfig) -> float:
    """Run one configuration for all its seeds, and return its objective in percent.

    Hydra calls this function for a single job, and launchers other than clbench's call it for each job of a sweep.

    Args:
        cfg: the configuration without Hydra's own node.

    Raises:
        ClbenchError: a job of a sweep cannot be used, or one of its runs failed.
        SystemExit: a single job cannot be used (with the error), or one of its runs failed (the reason is already printed).
    """
    from clbench.config.job import make_job
    from clbench.config.objective import refuse_tuning_on_test
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
            enter_folder(running.runtime.cwd, [source.path for source in sources if "command-line" in source.provider])
        composed = Composed(plain(cfg), dict(running.runtime.choices), tuple(running.overrides.task))
        job = make_job(composed, new_composer([source.path for source in sources]))
        if not single:
            refuse_tuning_on_test(job.objective, job.config["eval"]["split"], running.runtime.choices["hydra/sweeper"])
        wanted = job.execution.workers
        workers = wanted if single else share(running.launcher, job.execution.device, wanted, running.job.num)
        quiet = not single and running.runtime.choices["hydra/sweeper"] == "clbench"  # the launching process reports
        logs = LOGS if single else f"{LOGS}/job-{running.job.num}"  # of jobs in parallel
        summary = run_jobs([job], workers=workers, progress=not quiet, report=not quiet, logs=logs)
        if not summary.failed:
            return summary.objective(job)
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
    composer.check(overrides)
    for override in composer.loader.parse(overrides):
        if override.is_sweep_override():
            what = f"{override.input_line} names several values, and --cfg job shows one configuration"
            raise ConfigError(what, "give one value")
    resolved: Any = resolve(composer(overrides), composer)
    resolved = {**{key: resolved[key] for key in NODES}, **resolved}  # what matters first
    if package and package != "_global_":
        resolved = OmegaConf.select(OmegaConf.create(resolved), package)
        if resolved is None:
            raise ConfigError(f"the configuration has no part {package}", "`clbench --cfg job` shows all of it")
    sys.stdout.write(
        OmegaConf.to_yaml(OmegaConf.create(resolved))
        if isinstance(resolved, dict) or OmegaConf.is_config(resolved)
        else terminal(f"{resolved}\n")
    )


def _refuse_double_files(overrides: list[str], folders: list[str]) -> None:
    """Refuse a chosen file that two folders have; Hydra's own composition would ignore one of them.

    Raises:
        DoubleFileError: there is such a file.
    """
    if double_files([conf_dir(), *installed().values(), *folders]):
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
def _no_trace(overrides: Sequence[str]) -> Iterator[None]:
    """Have Hydra make its own folder elsewhere, and only for a moment, if `runner.dry` is given: nothing shall be written."""
    if not any(re.fullmatch(r"\+{0,2}runner\.dry=(true|True|TRUE)", word) for word in overrides):
        yield
        return
    with TemporaryDirectory() as folder:
        sys.argv += [f"hydra.run.dir='{folder}'", f"hydra.sweep.dir='{folder}'"]
        yield


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
    if isinstance(error, OSError) and (error.filename or of_the_machine(error)):
        return str(StoreError(*unwritten(error)))
    if isinstance(error, (ValueError, YAMLError)):  # Hydra raises some of its errors as these
        try:
            new_composer(folders)(overrides)
        except ClbenchError as same:
            return str(same)
    return None
