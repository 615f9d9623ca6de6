"""Folders and files as people write them: `~` and environment variables are expanded, and what names no folder is refused."""

from __future__ import annotations

import os
import re
from typing import Any

from clbench.errors import ConfigError

LONGEST_NAME = 255
"""Bytes of one part of a path; the limit of all usual file systems."""
LONGEST_PATH = 3800
"""Bytes of a path; Linux allows 4,096, and names of files follow."""
VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


def expanded(value: Any, key: str, example: str = "runs") -> str:
    """Return the path that `value` names, with `~`, `~user`, `$NAME` and `${NAME}` replaced.

    Args:
        value: as given by the user.
        key: name of the value, for messages.
        example: a value that works, for messages.

    Raises:
        ConfigError: the value is no text, is empty, has characters that no path should have, is too long, or names an unknown
            user or an environment variable that is not set.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        what = "a list" if isinstance(value, (list, tuple)) else type(value).__name__
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        remedy = f"for a folder with that name: {key}=./{value}" if number else f"give one path: {key}={example}"
        raise ConfigError(f"{key}={_shown(value)} is no path ({what})", remedy)
    if not value.strip():
        raise ConfigError(f"{key}={_shown(value)} is empty", f"give a path: {key}={example}")
    if value != value.strip():
        raise ConfigError(f"{key}={_shown(value)} begins or ends with a space", "leave the space out")
    if not value.isprintable():  # also the sign of bytes that are no UTF-8
        raise ConfigError(f"{key}={_shown(value)} has characters that cannot be printed", "name a path without them")
    found = os.path.expanduser(VARIABLE.sub(lambda match: _variable(match, key, value), value))
    if found.startswith("~"):
        user = found.split("/")[0]
        remedy = "set the environment variable HOME, or write the whole path" if user == "~" else "write the whole path"
        raise ConfigError(f"{key}={value}: {user} has no home folder", f"{remedy}; for a folder with that name: {key}=./{value}")
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in found.split("/")) or len(os.fsencode(found)) > LONGEST_PATH:
        shown = f"{found[:60]}..."
        raise ConfigError(
            f"{key}={shown} is too long ({len(os.fsencode(found))} bytes)",
            f"a name has at most {LONGEST_NAME} bytes, and a path {LONGEST_PATH}: give a shorter one",
        )
    return found


def results_dir(value: Any) -> str:
    """Return the path of a results folder, for every command and function that takes one.

    Raises:
        ConfigError: as of `expanded`.
    """
    return expanded(value, "results_dir")


def typed(word: str, key: str) -> str:
    """Return the path that a word `key=value` of a command line names; quotes around the value are dropped.

    Without quotes the value means what it means to `clbench`: a comma makes several values, brackets a list, null nothing.

    Raises:
        ConfigError: the value is not one path, or as of `expanded`.
    """
    text = word.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return expanded(text[1:-1], key)
    if text[:1] in ("[", "{") or "," in text or text.lower() in ("null", "???"):
        several = "several folders" if "," in text else "no folder"
        raise ConfigError(
            f"{key}={text} names {several}", f"give one: {key}=runs; a name with such characters in quotes: {key}=\"'a,b'\""
        )
    return expanded(text, key)


def _variable(match: re.Match[str], key: str, value: str) -> str:
    name = match[1] or match[2]
    if name not in os.environ:
        raise ConfigError(f"{key}={value}: the environment variable {name} is not set", f"set {name}, or write the whole path")
    return os.environ[name]


def _shown(value: Any) -> str:
    """Return a value in one line of ASCII, without quotes where none are needed."""
    return str(value) if value is None or isinstance(value, (int, float)) else ascii(value)[:120]
