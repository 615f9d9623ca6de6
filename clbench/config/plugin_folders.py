"""Folders with plug-ins, as `--config-dir` and `hydra.searchpath` name them: checked, with whole paths."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clbench.errors import ConfigError
from clbench.utils.nearest import nearest

SEARCH_PATH = re.compile(r"\+{0,2}hydra\.searchpath=")


def config_dir(given: str) -> str:
    """Return the whole path of the folder given with `--config-dir`.

    Raises:
        ConfigError: there is no such folder, or no group lies in it.
    """
    return str(_folder(given, f"--config-dir {given}", "--config-dir {}"))


def search_path(overrides: Sequence[str], parse: Callable[[str], Any]) -> tuple[list[str], list[str], list[str]]:
    """Return the overrides without `hydra.searchpath`, the folders given there, and those of them that hold modules.

    Args:
        overrides: of the command line.
        parse: returns the value of one override.

    Raises:
        ConfigError: there is no such folder or package.
    """
    words, entries = list[str](), list[str]()
    for word in overrides:
        if SEARCH_PATH.match(word):
            value = parse(word.lstrip("+"))
            entries += [str(entry) for entry in (value if isinstance(value, list) else [value]) if entry]
        else:
            words.append(word)
    folders = [str(_package(entry) if entry.startswith("pkg://") else _file(entry)) for entry in entries]
    return words, folders, [folder for folder, entry in zip(folders, entries, strict=True) if not entry.startswith("pkg://")]


def as_override(folders: Sequence[str]) -> list[str]:
    """Return the override of `hydra.searchpath` for Hydra's own command line; none without folders."""
    quoted = [folder.replace("\\", "\\\\").replace("'", "\\'") for folder in folders]
    entries = ",".join(f"'file://{folder}'" for folder in quoted)
    return [f"hydra.searchpath=[{entries}]"] if folders else []


def extend_modules(folders: Iterable[str]) -> None:
    """Let Python find the modules in these folders.

    The folders go to the end of the module search path: a user's file with the name of an installed module hides nothing.
    """
    sys.path.extend(folder for folder in dict.fromkeys(folders) if folder not in sys.path)


def _file(given: str) -> Path:
    scheme, separator, rest = given.partition("://")
    if separator and scheme != "file":
        raise ConfigError(f"hydra.searchpath: {given} is of an unknown kind", "give file://FOLDER or pkg://PACKAGE.FOLDER")
    return _folder(rest if separator else given, f"hydra.searchpath: {given}", "'hydra.searchpath=[file://{}]'")


def _package(given: str) -> Path:
    top, *below = given.removeprefix("pkg://").replace("/", ".").split(".")
    try:
        spec = find_spec(top) if top else None
    except ValueError:
        spec = None
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        remedy = f"pip install {top or 'it'}, or give file://FOLDER"
        raise ConfigError(f"hydra.searchpath: {given}: no package {top} is installed", remedy)
    found = [Path(place, *below) for place in places if Path(place, *below).is_dir()]
    if not found:
        what = f"hydra.searchpath: {given}: the package {top} has no folder {'/'.join(below)}"
        raise ConfigError(what, f"it lies in {places[0]}: name a folder there")
    return found[0]


def _folder(given: str, what: str, shape: str) -> Path:
    path = Path(given).expanduser().absolute()
    if path.is_file():
        above = path.parent.parent if path.suffix in (".yaml", ".yml") else path.parent
        raise ConfigError(f"{what} is a file", f"give the folder with the folders of groups: {shape.format(above)}")
    if not path.is_dir():
        beside = [each.name for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
        near = nearest(path.name, beside)
        hint = f"did you mean {shape.format(path.parent / near)}? " if near else ""
        raise ConfigError(f"{what}: there is no such folder", f"{hint}give a folder with files such as method/NAME.yaml")
    if any(path.glob("*.yaml")) and not any(path.glob("*/**/*.yaml")) and not any(path.glob("*.py")):
        raise ConfigError(
            f"{what} has files only at its top, and a choice lies in the folder of its group (method/NAME.yaml)",
            f"give the folder above: {shape.format(path.parent)}, or move the files into folders",
        )
    return path
