"""What a client's own installation has: its settings, and the classes that its own configuration declares."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from clbench.config.hydra_compose import conf_dir, installed, new_composer
from clbench.config.job import execution
from clbench.errors import ConfigError
from clbench.execution import Execution

VARIABLE = "CLBENCH_CLIENT"
"""Environment variable with a client's settings: words of the command line of `clbench`, `--config-dir FOLDER` included."""
GROUPS = (
    "method",
    "scenario",
    "scenario/dataset",
    "model",
    "optimizer",
    "trainer",
    "trainer/schedule",
    "federated",
    "federated/server",
    "federated/secure",
    "ability",
)
"""Groups of configuration files that declare classes."""
OTHER = ("protocol", "tuned", "experiment", "sweep")
"""Groups of files that give values to keys of those groups."""
SETTINGS = ("device", "data", "runner")
"""Keys that a client's settings may change."""


@dataclass(frozen=True)
class Installation:
    """A client's own settings.

    Args:
        execution: device, threads, data folders, limits.
        folders: further folders of configuration, as `--config-dir` gives them to the command.
        nodes: further nodes, from the program that starts the clients and not from a message, as JSON; the declared classes and
            texts of a simulation include those of its own run.
    """

    execution: Execution
    folders: tuple[str, ...] = ()
    nodes: str = "{}"

    @property
    def search(self) -> list[Path]:
        """The folders with the client's data."""
        return [Path(folder) for folder in self.execution.search]

    @property
    def declared(self) -> Declared:
        """What the configuration declares."""
        return declared(self.folders, self.nodes)


@dataclass
class Declared:
    """What a client's configuration declares.

    Args:
        classes: for each group the `_target_`s at the top of its files (`method`), and those within them (`method.*`).
        texts: for each key the texts that any file gives to it.
        keys: for each key whose value is a mapping the keys of the mapping.
        largest: for each key the largest number that any file gives to it.
    """

    classes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    texts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    largest: dict[str, float] = field(default_factory=dict)

    def add(self, group: str, node: Any, key: str = "", top: bool = True) -> None:
        """Add a node of a file: its classes to those of `group` (none if empty), and all its texts and numbers."""
        if isinstance(node, Mapping):
            target = node.get("_target_")
            if group and isinstance(target, str):
                self.classes[group if top else f"{group}.*"].add(target)
            self.keys[key] |= {str(name) for name in node}
            for name, value in node.items():
                self.add(group, value, str(name), False)
        elif isinstance(node, list):
            for each in node:
                self.add(group, each, key, False)
        elif isinstance(node, str):
            self.texts[key].add(node)
        elif isinstance(node, (int, float)) and not isinstance(node, bool):
            self.largest[key] = max(self.largest.get(key, 0), abs(node))

    def allowed(self, *groups: str) -> set[str]:
        """Return the classes of groups."""
        return {target for group in groups for target in self.classes.get(group, ())}


@cache
def declared(folders: tuple[str, ...] = (), nodes: str = "{}") -> Declared:
    """Return what clbench's configuration declares, that of installed plug-ins, of `folders`, and `nodes` (JSON)."""
    found = Declared()
    for place in (conf_dir(), *installed().values(), *(Path(folder) for folder in folders)):
        for group in (*GROUPS, *OTHER):
            for node in _files(place / group, nested=group in OTHER):
                found.add("" if group in OTHER else group, node)
    found.texts["tokenizer"].add("bytes")
    for path, node in _nodes(json.loads(nodes)):
        found.add(path, node)
    return found


def _nodes(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the nodes of a run's configuration with their groups."""
    for name, node in config.items():
        yield name, node
        for key, value in node.items() if isinstance(node, Mapping) else ():
            if f"{name}/{key}" in GROUPS:
                yield f"{name}/{key}", value
            elif name == "eval" and key == "ability":
                yield from (("ability", each) for each in value.values())


def _files(folder: Path, nested: bool) -> Iterator[Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in sorted(folder.glob("**/*.yaml" if nested else "*.yaml")):
        try:
            yield yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
        except (OSError, ValueError, yaml.YAMLError):
            continue  # a broken file declares nothing; composing it says what is wrong


@cache
def own() -> Installation:
    """Return the installation of this process, with the settings of the environment variable `CLBENCH_CLIENT`.

    Folders of `--config-dir` become importable, as by the command.

    Raises:
        ConfigError: an unknown or invalid setting.
    """
    words, folders = _without_folders(split_words(os.environ.get(VARIABLE, ""), VARIABLE))
    for word in words:
        name = word.lstrip("+").split("=")[0].split(".")[0]
        if name not in SETTINGS or "=" not in word:
            raise ConfigError(
                f"{VARIABLE} has {word!r}",
                f"a client's settings are device=…, data.…, runner.… and --config-dir FOLDER; remove {word!r}",
            )
    sys.path.extend(folder for folder in folders if folder not in sys.path)
    composed = new_composer(folders)(words)
    return Installation(execution(composed.config), tuple(folders))


def split_words(text: str, where: str) -> list[str]:
    """Return the words of a command line.

    Args:
        text: the command line.
        where: name of the text, for the message.

    Raises:
        ConfigError: a quotation mark has no partner.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{where}={text!r}: {error}", "close every quotation mark") from error


def _without_folders(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words without `--config-dir FOLDER`, and these folders as absolute paths."""
    rest, folders, waiting = [], [], False
    for word in words:
        name, equals, folder = word.partition("=")
        if waiting or (name in ("--config-dir", "-cd") and equals):
            folders.append(word if waiting else folder)
            waiting = False
        elif name in ("--config-dir", "-cd"):
            waiting = True
        else:
            rest.append(word)
    missing = [folder for folder in folders if not Path(folder).is_dir()]
    if missing or waiting:
        raise ConfigError(f"{VARIABLE}: --config-dir {''.join(missing)} is no folder", "give --config-dir FOLDER")
    return rest, [os.path.abspath(folder) for folder in folders]
