"""Keys that a sweep does not vary: a sweep's jobs differ in what a record's identity has."""

from __future__ import annotations

import re

from clbench.errors import ConfigError

ONE_FOLDER = "results_dir"
NEVER = ("runner", "logger", "device", "rerun", "save_models", "data", "neutral")
"""Keys and nodes that change no result: the second job would find the records of the first."""


def refuse_sweep(text: str, key: str, values: str) -> None:
    """Refuse several values of a key that a sweep does not vary.

    Args:
        text: the override, for the message.
        key: its key or group.
        values: as given (`42,43`, `range(1,3)`).

    Raises:
        ConfigError: the key is one of these.
    """
    if key == ONE_FOLDER:
        raise ConfigError(
            f"{text} gives a sweep several folders, and all its runs are stored in one",
            "give one folder, in which runs of different configurations keep apart; or start a command for each",
        )
    if key == "seeds":
        raise ConfigError(
            f"{text} gives a sweep several counts of seeds; every job has all its seeds",
            f"write {listed(values)} for these seeds, or one count: seeds=5 means 0 to 4",
        )
    if key.partition("/")[0].partition(".")[0] == "hydra":
        raise ConfigError(f"{text} gives several values for a part of Hydra", "give one value; or start a command for each")
    if key.partition("/")[0].partition(".")[0] in NEVER:
        name = text.lstrip("+").partition("=")[0]
        first = re.sub(r"^\w+\(", "", values).split(",")[0].strip(" ()[]'\"")
        what = "where data is found" if key.startswith("data") else "how runs are executed or shown"
        raise ConfigError(
            f"{text} gives several values for {what}, which changes no result: the second job would repeat the first",
            f"give one value, for example {name}={first}" + ("; folders are separated by :" if key == "data.root" else ""),
        )


def listed(values: str) -> str:
    """Return the seeds of a sweep as a list: `seeds=[42,43]` for `42,43`, `[42],[43]` and `choice(42,43)`.

    >>> listed("42,43"), listed("range(1,4)"), listed("[1,2],[3]")
    ('seeds=[42,43]', 'seeds=[1,2,3]', 'seeds=[1,2,3]')
    """
    bounds = re.fullmatch(r"range\((?:start=)?(-?\d+)(?:,(?:stop=)?(-?\d+))?(?:,(?:step=)?(-?\d+))?\)", values.replace(" ", ""))
    if bounds:
        start, stop, step = (int(each) if each else None for each in bounds.groups())
        numbers = range(start or 0, stop, step or 1) if stop is not None else range(start or 0)
        return f"seeds=[{','.join(map(str, numbers))}]"
    return f"seeds=[{','.join(dict.fromkeys(re.findall(r'-?[0-9]+', values)))}]"
