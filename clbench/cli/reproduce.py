"""The command `clbench-reproduce`: runs published rows, compares, and writes the page."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from clbench.errors import ClbenchError, ConfigError

HELP = """\
clbench-reproduce: published tables held against our own runs.

usage: clbench-reproduce [key=value ...]

  experiments=NAMES  which, several separated by commas, * for any letters (default: all that have a published number)
  seeds=N            seeds of each (default: what the experiment says)
  train=true|false   whether to train what is not there yet (default: true); false only judges
  results_dir=DIR    where records go (default: results/reproduction)
  page=FILE          the page to write (default: results/reproduction.md)
  workers=N          processes side by side (default: auto)
  gpu=true|false     whether to run rows that take hours on a CPU (default: if there is a GPU)
  config_dir=DIR     your own experiments, in DIR/experiment, instead of the suite's

  clbench-reproduce experiments='mammoth/s_mnist_*'
  clbench-reproduce train=false"""

DEFAULTS = {
    "experiments": "*",
    "seeds": "",
    "train": "true",
    "results_dir": "results/reproduction",
    "page": "results/reproduction.md",
    "workers": "auto",
    "gpu": "auto",
    "config_dir": "",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; leave with status 0, 1 if a run failed or an argument is wrong, 130 after an interrupt.

    Args:
        arguments: `key=value` words; None takes those of the process.
    """
    try:
        status = run(sys.argv[1:] if arguments is None else arguments)
    except ClbenchError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"clbench-reproduce: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        from clbench.runner.sweep import INTERRUPTED, interrupted

        print(interrupted(), file=sys.stderr)
        status = INTERRUPTED
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Train and judge what `arguments` ask for; return the exit status.

    The page shows every experiment there is, so that judging a few again loses none of the others.

    Raises:
        ClbenchError: an argument that means nothing, an experiment that cannot be used, a folder that cannot be written.
    """
    if any(word in ("--help", "-h") for word in arguments):
        print(HELP)
        return 0
    options = parse(arguments)
    from clbench.api import quoted
    from clbench.config.hydra_compose import conf_dir, new_composer
    from clbench.reproduction.experiments import find, rows
    from clbench.reproduction.page import line, render
    from clbench.runner.sweep import alone, run_jobs, write_text

    own = [Path(options["config_dir"])] if options["config_dir"] else []
    composer, folder = new_composer(own), own[0] if own else conf_dir()
    overrides = [f"results_dir={quoted(options['results_dir'])}", *([f"seeds={options['seeds']}"] if options["seeds"] else [])]
    chosen = find(composer, folder, options["experiments"].split(","))
    every = {name: rows(composer, name, overrides) for name in find(composer, folder)}
    wanted = [row for name in chosen for row in every[name]]
    failed = 0
    if options["train"] == "true":
        jobs = [row.job for row in wanted if not row.claim.gpu or _gpu(options["gpu"])]
        workers = options["workers"] if options["workers"] == "auto" else int(options["workers"])
        failed = run_jobs(jobs, workers=workers).failed if jobs else 0
    page = Path(options["page"])
    page.parent.mkdir(parents=True, exist_ok=True)
    with alone(page.parent):
        write_text(page, render([row for made in every.values() for row in made]))
    for row in wanted:
        print(line(row))
    print(f"page: {page}")
    return 1 if failed else 0


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """Return the options of `key=value` words.

    Raises:
        ConfigError: a word of another form, an unknown key, or a value that cannot be used.
    """
    options = dict(DEFAULTS)
    for word in arguments:
        key, equals, value = word.partition("=")
        if not equals or key not in DEFAULTS:
            near = difflib.get_close_matches(key.lstrip("-"), list(DEFAULTS), n=1)
            hint = f"did you mean {near[0]}=...? " if near else ""
            raise ConfigError(f"unknown argument {word}", f"{hint}it takes: {', '.join(f'{k}=...' for k in DEFAULTS)}, --help")
        if not value:
            raise ConfigError(f"{key}= has no value", f"give {key}=VALUE or leave it out")
        options[key] = value
    for key, allowed in (("train", ("true", "false")), ("gpu", ("true", "false", "auto"))):
        if options[key] not in allowed:
            raise ConfigError(f"{key}={options[key]}", f"{key} is one of {', '.join(allowed)}")
    if options["workers"] != "auto" and not options["workers"].isdigit():
        raise ConfigError(f"workers={options['workers']}", "give a number of processes, or auto")
    return options


def _gpu(wanted: str) -> bool:
    if wanted != "auto":
        return wanted == "true"
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    main()
