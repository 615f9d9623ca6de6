"""Commands with arguments `key=value`: parsing, help, errors, exit status."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from clbench.errors import ClbenchError, ConfigError
from clbench.leaderboard.rows import Row

FILTERS = ("scenario", "setting", "method")
"""Keys that select rows of the leaderboard."""


@dataclass(frozen=True)
class Command:
    """A command with arguments `key=value`.

    Args:
        name: of the command.
        help: text of `--help`.
        keys: every key with its default; None: no default.
        choices: allowed values of some keys.
    """

    name: str
    help: str
    keys: Mapping[str, str | None]
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def main(self, run: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None) -> NoReturn:
        """Call `run` and leave with the status it returns, 1 after an error, 130 after an interrupt.

        Args:
            run: does the work.
            arguments: words `key=value`; None: those of the process.
        """
        words = sys.argv[1:] if arguments is None else arguments
        try:
            if {"--help", "-h"} & set(words):
                print(self.help)
                status = 0
            else:
                status = run(words)
            sys.stdout.flush()
        except ClbenchError as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            self.say(error)
            status = 1
        except BrokenPipeError:  # the reader (head, a pager) has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        except KeyboardInterrupt:
            from clbench.runner.sweep import INTERRUPTED, interrupted

            print(interrupted(), file=sys.stderr)
            status = INTERRUPTED
        sys.exit(status)

    def parse(self, words: Sequence[str]) -> dict[str, str]:
        """Return the values of `key=value` words and the defaults of other keys.

        The last value of a repeated key counts. Quotes around a value are dropped.

        Raises:
            ConfigError: a word of another form, an unknown key, an empty value, or a value that is not allowed.
        """
        options = {key: default for key, default in self.keys.items() if default is not None}
        for word in words:
            key, equals, value = word.partition("=")
            if not equals or key not in self.keys:
                near = difflib.get_close_matches(key.lstrip("-"), list(self.keys), n=1)
                hint = f"did you mean {near[0]}=...? " if near else ""
                raise ConfigError(
                    f"unknown argument {word}", f"{hint}it takes: {', '.join(f'{k}=...' for k in self.keys)}, --help"
                )
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            if not value:
                raise ConfigError(f"{key}= has no value", f"give {key}=VALUE or leave it out")
            if value not in self.choices.get(key, (value,)):
                raise ConfigError(f"unknown {key}={value}", f"choose one of {', '.join(self.choices[key])}")
            options[key] = value
        return options

    def say(self, message: object) -> None:
        """Print a message for people."""
        print(f"{self.name}: {message}", file=sys.stderr)


def filtered(shown: Sequence[Row], options: Mapping[str, str], absent: Callable[[str, str], object]) -> list[Row]:
    """Return the rows that `scenario=`, `setting=` and `method=` name; each takes several names, separated by commas.

    Args:
        shown: all rows.
        options: of the command.
        absent: gets two texts for a name that no row has: the name, and the names that there are.
    """
    found = list(shown)
    for key in FILTERS:
        if key in options:
            names = [name.strip() for name in options[key].strip("[]").split(",")]
            present = sorted({str(row[key]) for row in found})
            for name in names:
                if name not in present:
                    absent(f"no records with {key}={name}", f"there are: {', '.join(present) or 'none'}")
            found = [row for row in found if str(row[key]) in names]
    return found
