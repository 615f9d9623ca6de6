"""Commands with arguments `key=value`: parsing, help, errors, exit status."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from clbench.errors import ClbenchError, ConfigError, StoreError
from clbench.leaderboard.rows import Row
from clbench.utils import interrupts
from clbench.utils.disk import explain, unnamed
from clbench.utils.folders import typed
from clbench.utils.markup import terminal
from clbench.utils.nearest import nearest
from clbench.utils.plain_output import plain_output
from clbench.utils.tolerant import complete

FILTERS = ("scenario", "setting", "method")
"""Keys that select rows of the leaderboard."""


FOLDERS = ("results_dir", "out", "page", "config_dir")
"""Keys whose values are folders or files."""


@dataclass(frozen=True)
class Command:
    """A command with arguments `key=value`.

    Args:
        name: of the command.
        help: text of `--help`.
        keys: every key with its default; None: no default.
        choices: allowed values of some keys.
        trains: whether the command trains runs.
    """

    name: str
    help: str
    keys: Mapping[str, str | None]
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    trains: bool = False

    def main(self, run: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None) -> NoReturn:
        """Call `run` and leave with the status it returns, 1 after an error, 130 after Ctrl-C, 143 after SIGTERM.

        Args:
            run: does the work.
            arguments: words `key=value`; None: those of the process.
        """
        plain_output()
        try:
            with interrupts.raised(self.trains):
                status = self._status(run, sys.argv[1:] if arguments is None else arguments)
        except KeyboardInterrupt as stop:
            interrupts.leave(stop, self.trains)
        sys.exit(status)

    def _status(self, run: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
        """Call `run`, and return the exit status."""
        try:
            if {"--help", "-h"} & set(words):
                print(self.help)
                status = 0
            else:
                status = run(words)
            complete()
        except ClbenchError as error:
            interrupts.check()
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            self.say(error)
            status = 1
        except BrokenPipeError:  # the reader (head, a pager) has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        except OSError as error:
            interrupts.check()
            self.say(StoreError(*unwritten(error)))
            status = 1
        return status

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
                takes = f"it takes: {', '.join(f'{k}=...' for k in self.keys)}, --help"
                raise ConfigError(f"unknown argument {word}", f"{self._meant(word, words)}{takes}")
            if key in FOLDERS and value.strip("'\""):
                options[key] = typed(value, key)
                continue
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            if not value:
                raise ConfigError(f"{key}= has no value", f"give {key}=VALUE or leave it out")
            if value not in self.choices.get(key, (value,)):
                near = nearest(value, self.choices[key])
                hint = f"did you mean {key}={near}? " if near else ""
                raise ConfigError(f"unknown {key}={value}", f"{hint}choose one of {', '.join(self.choices[key])}")
            options[key] = value
        return options

    def _meant(self, word: str, words: Sequence[str]) -> str:
        """Return a question with the spelling of a word that is no `key=value`; empty if nothing is similar to it."""
        plain = re.sub(r"^[\s–—−-]+", "", word)
        if plain in ("h", "help"):
            return "did you mean --help? "
        if os.path.isdir(word) and "results_dir" in self.keys:
            return f"did you mean results_dir={word}? "
        key, _, value = ([*re.split(r"(=|:)", plain, maxsplit=1), "", ""])[:3]
        after = [each for each in words[list(words).index(word) + 1 :] if each != "="]
        value = value or next((each.lstrip("=") for each in after[:1] if "=" not in each.lstrip("=")), "")
        near = nearest(key, self.keys)
        return f"did you mean {near}=...? " + (f"Write {near}={value}. " if value else "") if near else ""

    def say(self, message: object) -> None:
        """Print a message for people."""
        print(terminal(f"{self.name}: {message}"), file=sys.stderr)


def unwritten(error: OSError) -> tuple[str, str]:
    """Return reason and remedy of an error of the system; one without a file name is about the output of the command.

    What Python has not written yet is dropped: at its end it would fail once more.
    """
    if isinstance(error.filename, (str, os.PathLike)):
        reason, remedy = explain(error, error.filename)
        return f"{error.filename}: {reason}", remedy
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    reason, remedy = unnamed(error, [os.curdir])
    return f"the output cannot be written: {reason}", remedy or "write it to another file"


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
                    near = nearest(name, present)
                    hint = f"did you mean {key}={near}? " if near else ""
                    absent(f"no records with {key}={name}", f"{hint}there are: {', '.join(present) or 'none'}")
            found = [row for row in found if str(row[key]) in names]
    return found
