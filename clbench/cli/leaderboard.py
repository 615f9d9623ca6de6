"""The command `clbench-leaderboard`: reads a folder of records, trains nothing, needs no torch."""

from __future__ import annotations

if __name__ == "__main__":
    from clbench.cli.start import leaderboard as start

    start()
    raise SystemExit

import sys
from collections.abc import Sequence
from pathlib import Path

from clbench.cli.key_values import Command, filtered
from clbench.leaderboard.entries import load_entries
from clbench.leaderboard.rows import Row, rows
from clbench.leaderboard.tables import FORMATS, print_table, render
from clbench.store.failures import load_failures

HELP = """\
clbench-leaderboard: the leaderboard of a folder of results.

usage: clbench-leaderboard [key=value ...]

  results_dir=DIR   folder that clbench wrote its records to (default: runs)
  format=FORMAT     table (default on a terminal), markdown (default elsewhere), csv, json, latex
  scenario=NAME     only these scenarios, setting, methods; several are separated by commas
  setting=NAME
  method=NAME

Accuracies are in percent; *_ci95 is half the width of the 95 % Student-t interval over seeds.
n of N: N - n seeds failed; such rows stand below all complete rows (n_failed in json and csv).
format=json prints one array and nothing else. The exit status is 1 if a record could not be read."""

KEYS = {"results_dir": "runs", "format": None, "scenario": None, "setting": None, "method": None}
COMMAND = Command("clbench-leaderboard", HELP, KEYS, {"format": ("table", *FORMATS)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with status 0, or 1 if a record could not be read."""
    COMMAND.main(run, arguments)


def run(arguments: Sequence[str]) -> int:
    """Print the leaderboard; return the exit status.

    Raises:
        ConfigError: an invalid argument.
        StoreError: the folder cannot be read.
    """
    options = COMMAND.parse(arguments)
    good, errors = load_entries(Path(options["results_dir"]))
    failures, damaged = load_failures(Path(options["results_dir"]))
    errors += damaged
    for error in errors:
        COMMAND.say(f"left out: {error.line}")
    shown = rows(good, failures)
    if not shown and not errors:
        COMMAND.say(f"no records in results_dir={options['results_dir']} yet; run clbench to make some")
    shown = filtered(shown, options, lambda what, present: COMMAND.say(f"{what}; {present}"))
    _show(shown, options.get("format"))
    return 1 if errors else 0


def _show(shown: list[Row], format: str | None) -> None:
    if format is None:
        format = "table" if sys.stdout.isatty() else "markdown"
    if format == "table":
        from rich.console import Console

        print_table(shown, Console())
    else:
        print(render(shown, format))
