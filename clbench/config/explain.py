"""Hydra's errors in words that need no knowledge of Hydra: the key, the value, a remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from clbench.errors import ClbenchError, ConfigError
from clbench.execution import OTHER_KEYS as EXECUTION_KEYS

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)
"""Errors that Hydra and OmegaConf raise; `explain` turns them into errors of clbench."""


def explain(
    error: Exception,
    overrides: Sequence[str],
    keys: Callable[[Sequence[str]], Sequence[str]],
    is_group: Callable[[str], bool],
) -> ClbenchError:
    """Return the error of clbench that explains an error of Hydra.

    Args:
        error: raised while composing.
        overrides: of the configuration.
        keys: returns all keys and groups under given overrides, for suggestions.
        is_group: tells whether a name is a group.
    """
    if isinstance(error, ClbenchError):
        return error
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return ConfigError(
            f"there is no {group}={choice}",
            f"{_near(choice, error.options, group)}choose one of: {', '.join(error.options)}",
        )
    if isinstance(error, OverrideParseException):
        return ConfigError(
            f"{error.override!r} cannot be read as an override: {error.message.splitlines()[0]}",
            "write key=value; a value with special characters in double quotes: 'key=\"a b\"'",
        )
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        key = unknown[1].split("@")[0]
        if "/" in key and is_group(key):
            above = key.rpartition("/")[0]
            return ConfigError(
                f"{key}=... chooses a part of {above}, and the chosen {above} has no such part",
                f"choose one that has it: {above}=NAME, or +{above}=NAME if none is chosen yet (`clbench --help` lists them)",
            )
        group = key.partition(".")[0]
        several = [given for given in overrides if re.match(rf"\+?({group}|experiment)=[^\[{{(]*,", given)]
        if several:  # Hydra looks for the key before it tries the values
            return ConfigError(
                f"{key} is unknown until one of the values of {several[0].partition('=')[0]} is chosen",
                f"write '{key}=choice(VALUE)', in quotes",
            )
        return ConfigError(f"unknown key {key}", f"{_near(key, keys(overrides))}`clbench --cfg job` shows every key")
    ambiguous = re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", text)
    if ambiguous:
        key, _, value = ambiguous[1].partition("=")
        return ConfigError(
            f"{ambiguous[1]} names several values",
            f"add --multirun to run one after the other, or write {key}=[{value}] for a list",
        )
    cause = f": {error.__cause__}" if error.__cause__ is not None and str(error.__cause__) not in text else ""
    lines = [line.strip() for line in (text + cause).splitlines() if line.strip() and "object_type=" not in line]
    where = f" (composing {' '.join(overrides)})" if overrides else ""
    return ConfigError(("; ".join(lines) or type(error).__name__) + where, "HYDRA_FULL_ERROR=1 shows where this comes from")


def _near(name: str, known: Sequence[str], group: str = "") -> str:
    """Return a question with the known name that ends alike, or with the most similar one; empty if there is none."""
    last = name.rpartition(".")[2]
    same = [EXECUTION_KEYS[last]] if last in EXECUTION_KEYS else [key for key in known if key.rpartition(".")[2] == last]
    found = (not group and same[:1]) or difflib.get_close_matches(name, known, n=1)
    return f"did you mean {group}{'=' if group else ''}{found[0]}? " if found else ""
