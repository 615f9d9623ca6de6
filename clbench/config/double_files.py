"""Files of configuration that two folders have under one name. Hydra would read the first and ignore the other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from clbench.errors import ConfigError

FOLLOWING = ("protocol", "tuned")
"""Groups whose choice follows from the scenario and the method."""


class DoubleFileError(ConfigError):
    """A chosen file has the name of another one."""


def refuse_double(name: str, places: Sequence[str]) -> None:
    """Refuse a file that two folders have.

    Args:
        name: of the file (`method/er`), as a defaults list or a choice names it.
        places: its paths, the one that Hydra would read first.

    Raises:
        DoubleFileError: there are two different files.
    """
    files = list(dict.fromkeys(os.path.realpath(place) for place in places))
    if len(files) < 2:
        return
    group, _, choice = name.removesuffix(".yaml").rpartition("/")
    new = f"my_{choice}"
    if group.startswith("experiment/"):  # folders within this group are part of the choice
        group, _, folders = group.partition("/")
        choice, chosen = f"{folders}/{choice}", f"{folders}/{new}"
    else:
        chosen = new
    what = f"{group}={choice}" if group else f"{choice}.yaml"
    if not group or group.split("/")[0] in FOLLOWING:
        remedy = (
            f"rename {files[1]}; give its values on the command line, or in a file EXPERIMENT.yaml in a folder `experiment` "
            "next to your other files, with the first line `# @package _global_`: +experiment=EXPERIMENT"
        )
    else:
        remedy = f"rename {files[1]}, for example to {new}.yaml, and choose {group}={chosen}"
    raise DoubleFileError(f"{what} stands for two files, {files[0]} and {files[1]}", remedy)


def double_files(folders: Iterable[str | Path]) -> dict[str, list[str]]:
    """Return the files that several folders have: {`method/er`: its paths}.

    Args:
        folders: of configuration, in the order in which Hydra searches them.
    """
    found: dict[str, list[str]] = {}
    for folder in dict.fromkeys(os.path.realpath(folder) for folder in folders):
        for path in sorted(Path(folder).rglob("*.yaml")):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(str(path))
    return {name: paths for name, paths in found.items() if len(paths) > 1}
