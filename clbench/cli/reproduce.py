"""The command `clbench-reproduce`: runs published rows, compares, and writes the page."""

from __future__ import annotations

if __name__ == "__main__":
    from clbench.cli.start import reproduce as start

    start()
    raise SystemExit

from collections.abc import Sequence
from pathlib import Path

from clbench.cli.key_values import Command
from clbench.errors import ConfigError

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

KEYS = {
    "experiments": "*",
    "seeds": None,
    "train": "true",
    "results_dir": "results/reproduction",
    "page": "results/reproduction.md",
    "workers": "auto",
    "gpu": "auto",
    "config_dir": None,
}


COMMAND = Command("clbench-reproduce", HELP, KEYS, {"train": ("true", "false"), "gpu": ("true", "false", "auto")}, True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with status 0, 1 if a run failed or an argument is invalid, 130 after an interrupt."""
    COMMAND.main(run, arguments)


def run(arguments: Sequence[str]) -> int:
    """Train and judge the experiments; return the exit status.

    The page always shows all experiments; judging a few again keeps the others.

    Raises:
        ClbenchError: an invalid argument or experiment, or a folder that cannot be written.
    """
    options = COMMAND.parse(arguments)
    if options["workers"] != "auto" and not options["workers"].isdigit():
        raise ConfigError(f"workers={options['workers']}", "give a number of processes, or auto")
    from clbench.config.hydra_compose import conf_dir, new_composer
    from clbench.config.quoting import quoted
    from clbench.reproduction.experiments import find, rows
    from clbench.reproduction.page import line, render
    from clbench.runner.sweep import run_jobs
    from clbench.utils import atomic
    from clbench.utils.folder_lock import folder_lock
    from clbench.utils.markup import plain

    own = [Path(options["config_dir"])] if "config_dir" in options else []
    composer, folder = new_composer(own), own[0] if own else conf_dir()
    overrides = [f"results_dir={quoted(options['results_dir'])}", *([f"seeds={options['seeds']}"] if "seeds" in options else [])]
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
    with folder_lock(page.parent):
        atomic.write(page, render([row for made in every.values() for row in made]), shared=False)
    for row in wanted:
        print(line(row))
    print(plain(f"page: {page}"))
    unreadable = {error.line: None for made in every.values() for row in made for error in row.unreadable()}
    for text in unreadable:
        COMMAND.say(f"left out: {text}")
    return 1 if failed or unreadable else 0


def _gpu(wanted: str) -> bool:
    if wanted != "auto":
        return wanted == "true"
    import torch

    return torch.cuda.is_available()
