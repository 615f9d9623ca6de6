"""The command `clbench-tune`: chooses values without the test stream, then trains and reports the chosen ones."""

from __future__ import annotations

if __name__ == "__main__":
    from clbench.cli.start import tune as start

    start()
    raise SystemExit

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from clbench.cli.key_values import Command
from clbench.errors import ConfigError

if TYPE_CHECKING:
    from clbench.config.hydra_compose import Composer
    from clbench.tuning.command import Rounds
    from clbench.tuning.plan import Plan

HELP = """\
clbench-tune: choose hyper-parameters on validation splits, then report the test stream once.

usage: clbench-tune method=NAMES scenario=NAME [tuning=PROTOCOL] [tuning.KEY=VALUE ...] [overrides as for clbench]

  tuning=first_k     on the first k tasks (default; tuning.k=2)
  tuning=first_task  on the first task                           tuning=first_three  on the first three, reports the rest
  tuning=transfer    on another stream of the same shape (tuning.stream=[scenario=NAME])
  tuning=end         on all tasks at the end: an upper bound
  tuning=fixed       no search: the values of the files

  tuning.trials=30   draws per method            tuning.seeds=3   seeds of each draw, disjoint from the reported seeds
  tuning.seconds=N   a second budget             tuning.run=false no reported run
  tuning.write=DIR   write the chosen values as DIR/SCENARIO/METHOD.yaml
  search=NAME        another space than conf/search/METHOD.yaml
  --config-dir DIR   your own methods, spaces (DIR/search) and protocols (DIR/tuning)

Searches go on after any kill, and machines that share a folder share the work.

  clbench-tune method=ewc,er,gpm scenario=split_mnist tuning=first_k tuning.k=2 tuning.trials=30 tuning.seeds=3 seeds=5
  clbench-tune method=gpm scenario=split_mnist tuning=transfer 'tuning.stream=[scenario=split_fashion_mnist]'"""

COMMAND = Command("clbench-tune", HELP, {}, trains=True)
DEFAULT = "first_k"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with status 0, 1 if a search or run failed or an argument is invalid, 130 after Ctrl-C."""
    COMMAND.main(run, arguments)


def run(arguments: Sequence[str]) -> int:
    """Search, show the choices, and train the reported runs; return the exit status.

    Raises:
        ClbenchError: an invalid argument, or a folder that cannot be written.
    """
    if find_spec("optuna") is None:
        raise ConfigError("clbench-tune needs the package optuna", "pip install 'clbench[tuning]'")
    from clbench.runner.sweep import errors, output, run_jobs
    from clbench.tuning import command
    from clbench.utils import markup

    console = output()
    plans, fixed, broken, rounds = _plans(arguments)
    chosen: list[command.Chosen] = []
    if any(plan.base.execution.dry for plan in plans):
        for line in command.planned(plans):
            markup.show(console, line)
        return _status(run_jobs(fixed, broken) if fixed or broken else None)
    if plans:
        chosen = command.search_all(plans, console, rounds=rounds)
        for line in command.said(chosen):
            markup.show(console, line)
        console.print(command.table(chosen))
        for each in chosen:
            if each.choice is not None:
                markup.show(console, command.sentence(each.plan, each.choice))
                for line in _keep(each.plan, each.choice):
                    markup.show(console, line)
        markup.show(console, command.journal_line(plans))
        broken = [*broken, *command.failures(chosen)]
    jobs = [command.reported(each.plan, each.choice) for each in chosen if each.choice is not None and each.plan.tuning.run]
    if jobs or fixed:
        return _status(run_jobs([*jobs, *fixed], broken))
    for each in broken:
        markup.show(errors(), f"failed: {each.label}: {each.error}")
    return 1 if broken else 0


def _status(summary: Any) -> int:
    return 1 if summary is not None and summary.failed else 0


def _keep(plan: Plan, choice: Any) -> list[str]:
    """Draw the search, write the chosen values if asked, and return what was written."""
    from clbench.tuning.picture import draw
    from clbench.tuning.tuned_file import write_values

    lines = [draw(plan, choice)]
    if plan.tuning.write is not None:
        lines.append(f"written: {write_values(plan, choice)}")
    return [line for line in lines if line]


def _plans(arguments: Sequence[str]) -> tuple[list[Plan], list[Any], list[Any], Rounds | None]:
    """Return plans, jobs without a search, configurations that cannot be used, and how a launcher executes rounds of runs."""
    from clbench.cli.main import task
    from clbench.config.hydra_cache import basic_sweeper
    from clbench.config.hydra_compose import new_composer
    from clbench.config.job import make_job
    from clbench.config.never_swept import refuse_sweep
    from clbench.config.plugin_folders import extend_modules, search_path
    from clbench.config.quoting import expand_config_dir, quote_places
    from clbench.config.renamed import rename_overrides
    from clbench.errors import ClbenchError
    from clbench.runner.sweep import Broken
    from clbench.tuning.launchers import launched_rounds, of_hydra
    from clbench.tuning.options import load_tuning
    from clbench.tuning.plan import make_plan

    words, folders = _folders(expand_config_dir(arguments))
    words = rename_overrides(quote_places(words))
    words, others, modules = search_path(words, lambda word: new_composer().loader.parse([word])[0].value())
    extend_modules([os.getcwd(), *folders, *modules])
    composer = new_composer([*folders, *others])
    own, words = _own(words, composer)
    about_hydra = [word for word in words if of_hydra(word)]
    words = [word for word in words if not of_hydra(word)]
    name = own.pop("tuning", DEFAULT)
    search = own.pop("search", None)
    tuning = load_tuning(composer, str(name), {key.partition(".")[2]: value for key, value in own.items()})
    composer.check(words)
    parsed = composer.loader.parse(words)
    for override in parsed:
        if override.is_sweep_override():
            refuse_sweep(override.input_line, override.key_or_group, override.input_line.partition("=")[2])
    plans: list[Plan] = []
    fixed: list[Any] = []
    broken: list[Any] = []
    for batch in basic_sweeper().split_arguments(parsed, None):
        for job in batch:
            try:
                if tuning.protocol == "fixed":
                    fixed.append(make_job(composer(job), composer))
                else:
                    plans.append(make_plan(tuning, job, composer, search))
            except ClbenchError as error:
                broken.append(Broken(" ".join(job), error))
    if broken and not plans and not fixed and len(broken) == 1:
        raise broken[0].error
    _refuse_one_name(plans)
    rounds = launched_rounds(about_hydra, [*folders, *others], plans, task) if plans and about_hydra else None
    return plans, fixed, broken, rounds


def _folders(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words without flags, and the folders of `--config-dir`."""
    from clbench.config.plugin_folders import config_dir

    kept, folders, rest = list[str](), list[str](), list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            if not equals and not rest:
                raise ConfigError("the flag --config-dir has no value", "write --config-dir FOLDER")
            folders.append(config_dir(value if equals else rest.pop(0)))
        elif word in ("-m", "--multirun"):
            continue  # several values are several studies anyway
        elif word.startswith("-"):
            raise ConfigError(f"unknown flag {word}", "clbench-tune takes --config-dir FOLDER and --help")
        else:
            kept.append(word)
    return kept, folders


def _own(words: Sequence[str], composer: Composer) -> tuple[dict[str, Any], list[str]]:
    """Return the keys of the search with their values, and the other words."""
    own: dict[str, Any] = {}
    others = []
    for word in words:
        key = word.partition("=")[0].lstrip("+")
        if key not in ("tuning", "search") and not key.startswith("tuning."):
            others.append(word)
            continue
        override = composer.loader.parse([word.lstrip("+")])[0]
        if override.is_sweep_override():
            raise ConfigError(f"{word} names several values", "give one; start the command once for each")
        own[key] = override.value()
    return own, others


def _refuse_one_name(plans: Sequence[Plan]) -> None:
    """Refuse several studies of one name."""
    names = [(plan.results_dir, plan.name) for plan in plans]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"several configurations would share the study {twice[1]}",
            "leave tuning.name out, or start the command once for each",
        )
