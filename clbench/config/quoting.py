"""Words of the command line that a shell's user would write and Hydra's grammar refuses or takes for something else."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

HOME = re.compile(r"(\+*[\w./@]+=)(~[^'\"\[\]{}(),]*)")
"""A value that begins with the home folder. In Hydra's grammar no value begins with `~`."""
VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}")
"""An environment variable as shells write it. Keys of the configuration have small letters."""


def quote_places(words: Sequence[str]) -> list[str]:
    """Return overrides in which `KEY=~/FOLDER` has quotes, and `${NAME}` is `$NAME`; `clbench.utils.folders` expands both.

    >>> quote_places(["results_dir=~/runs", "results_dir=${HOME}/runs"])
    ['results_dir="~/runs"', 'results_dir=$HOME/runs']
    """
    return [_quoted(VARIABLE.sub(r"$\1", word)) for word in words]


def expand_config_dir(words: Sequence[str]) -> list[str]:
    """Return the words of a command line in which the folder of `--config-dir` begins with the whole path of the home folder."""
    flags, made = ("--config-dir", "-cd"), list(words)
    for number, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if equals and flag in flags:
            made[number] = f"{flag}={_whole(value)}"
        elif number and words[number - 1] in flags:
            made[number] = _whole(word)
    return made


def _whole(path: str) -> str:
    return os.path.expanduser(os.path.expandvars(path))


def _quoted(word: str) -> str:
    found = HOME.fullmatch(word)
    return f'{found[1]}"{found[2]}"' if found else word


def quoted(text: str) -> str:
    """Return `text` in quotes for Hydra's grammar."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
