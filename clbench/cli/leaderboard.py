"""The command `clbench-leaderboard`: reads a folder of records, trains nothing, needs no torch."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from clbench.errors import ClbenchError, ConfigError
from clbench.leaderboard.rows import Row, rows, usable
from clbench.leaderboard.tables import FORMATS, print_table, render
from clbench.records import load_all

HELP = """\
clbench-leaderboard: the leaderboard of a folder of results.

usage: clbench-leaderboard [key=value ...]

  results_dir=DIR   folder that clbench wrote its records to (default: runs)
  format=FORMAT     table (default on a terminal), markdown (default elsewhere), csv, json, latex
  scenario=NAME     only these scenarios, setting, methods; several are separated by commas
  setting=NAME
  method=NAME

Accuracies are in percent; *_ci95 is half the width of the 95 % Student-t interval over seeds.
format=json prints one array and nothing else. The exit status is 1 if a record could not be read."""

FILTERS = ("scenario", "setting", "method")
KEYS = ("results_dir", "format", *FILTERS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with status 0, or 1 if anything could not be read.

    Args:
        arguments: `key=value` words; None takes those of the process.
    """
    try:
        status = run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except ClbenchError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        _say(error)
        status = 1
    except BrokenPipeError:  # the reader (head, a pager) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Print what `arguments` ask for; return the exit status.

    Raises:
        ConfigError: an argument that means nothing.
        StoreError: the folder cannot be read.
    """
    if any(word in ("--help", "-h") for word in arguments):
        print(HELP)
        return 0
    options = parse(arguments)
    records, errors = load_all(Path(options["results_dir"]))
    good, unreadable = usable(records)
    errors += unreadable
    for error in errors:
        _say(error)
    shown = rows(good)
    if not shown and not errors:
        _say(f"no records in results_dir={options['results_dir']} yet; run clbench to make some")
    for key in FILTERS:
        shown = _filtered(shown, key, options.get(key))
    _show(shown, options.get("format"))
    return 1 if errors else 0


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """Return the options of `key=value` words; a repeated key takes its last value, quotes around a value are dropped.

    Raises:
        ConfigError: a word of another form, an unknown key or format, an empty value.
    """
    options = {"results_dir": "runs"}
    for word in arguments:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS:
            near = difflib.get_close_matches(key.lstrip("-"), KEYS, n=1)
            hint = f"did you mean {near[0]}=...? " if near else ""
            known = ", ".join(f"{key}=..." for key in KEYS)
            raise ConfigError(f"unknown argument {word}", f"{hint}it takes: {known}, --help")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if not value:
            raise ConfigError(f"{key}= has no value", f"give {key}=VALUE or leave it out")
        options[key] = value
    if options.get("format", "table") not in ("table", *FORMATS):
        raise ConfigError(f"unknown format={options['format']}", f"choose one of table, {', '.join(FORMATS)}")
    return options


def _filtered(shown: list[Row], key: str, wanted: str | None) -> list[Row]:
    """Return the rows whose `key` is one of the names in `wanted`; say which names there are if one is not."""
    if wanted is None:
        return shown
    names = [name.strip() for name in wanted.strip("[]").split(",")]
    present = sorted({str(row[key]) for row in shown})
    for name in names:
        if name not in present:
            _say(f"no records with {key}={name}; there are: {', '.join(present) or 'none'}")
    return [row for row in shown if row[key] in names]


def _show(shown: list[Row], format: str | None) -> None:
    if format is None:
        format = "table" if sys.stdout.isatty() else "markdown"
    if format == "table":
        from rich.console import Console

        print_table(shown, Console())
    else:
        print(render(shown, format))


def _say(message: object) -> None:
    print(f"clbench-leaderboard: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
