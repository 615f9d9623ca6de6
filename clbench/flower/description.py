"""The description of a run in a message: what a client takes of it, and the checks before anything is imported or called.

A client takes the nodes of the objects (`NODES`), the seed, the digest of the data, and names for messages. All else is its own:
device, threads, data folders, downloads. It writes no record and has no logger.
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clbench.errors import RefusedError
from clbench.federated.reply_checks import one_line
from clbench.flower.installation import VARIABLE, Declared, Installation
from clbench.run_spec import RunSpec

NODES = ("method", "scenario", "model", "optimizer", "trainer", "eval", "federated")
"""Nodes of the configuration in a description; all must be there."""
FIELDS = ("config", "seed", "names", "data_sha256", "sources")
"""Fields of a description; all must be there."""

# Bounds; our choice. They are far beyond every shipped configuration, and a client's own configuration may go beyond them.
TEXT = 1 << 20
"""Characters of a description."""
DEPTH, PARTS = 40, 50_000
"""Levels of nested nodes, and number of values in all."""
WORDS = 20_000
"""Characters of one text."""
MODULES = 1_000
"""Modules from outside clbench that a node's classes reach."""
SEEDS = ("seed", "order_seed")
"""Keys of numbers that cost nothing however large they are."""
WHOLE, REAL = 1_000_000, 1e9
"""Largest magnitude of an integer and of another number."""
LARGEST = {
    "n_tasks": 10_000,
    "clients": 100_000,
    "layers": 1_000,
    "rank": 10_000,
    "num_hidden_layers": 1_000,
    "width": 1_000,
    "local_epochs": 10_000,
    "rounds": 100_000,
}
"""Smaller bounds of some keys."""

CODE = ("dataset", "network", "model_type")
"""Keys whose texts name classes of a library: only texts that the client's own configuration gives to the key."""
FREE = ("architecture", "overrides", "train_args", "test_args")
"""Keys of mappings that go to a library as arguments: only keys and texts that the client's own configuration has there."""
ALLOWED = (
    (r"method", ("method",)),
    (r"method\..+", ("method", "method.*")),
    (r"scenario", ("scenario",)),
    (r"scenario\.dataset", ("scenario/dataset",)),
    (r"scenario\..+", ("scenario/dataset", "scenario/dataset.*", "scenario.*")),
    (r"model", ("model",)),
    (r"model\..+", ("model.*",)),
    (r"optimizer", ("optimizer",)),
    (r"optimizer\..+", ("optimizer.*",)),
    (r"trainer", ("trainer",)),
    (r"trainer\.schedule", ("trainer/schedule",)),
    (r"trainer\..+", ("trainer/schedule.*", "trainer.*")),
    (r"federated", ("federated",)),
    (r"federated\.server", ("federated/server",)),
    (r"federated\.secure", ("federated/secure",)),
    (r"federated\..+", ("federated.*", "federated/server.*")),
    (r"eval\.ability\.[^.]+", ("ability", "scenario/dataset")),
    (r"eval\..+", ("ability.*", "scenario/dataset", "scenario/dataset.*")),
)
"""Groups whose classes may stand at a place of the configuration; the first pattern that fits counts."""


def describe(spec: RunSpec) -> str:
    """Return the description of a run as a message carries it: JSON."""
    config = {name: spec.config[name] for name in NODES if name in spec.config}
    identity = spec.identity
    return json.dumps(
        {
            "config": config,
            "seed": spec.seed,
            "names": spec.names,
            "data_sha256": identity["data_sha256"],
            "sources": identity.get("sources") or {},
        }
    )


def accepted(text: Any, client: Installation) -> RunSpec:
    """Return the run that a description describes, on the client's own terms.

    Nothing is imported or called, and no file is read, but for the client's own configuration.

    Args:
        text: from a message.
        client: the client's own installation.

    Raises:
        RefusedError: anything in it that the client does not take.
    """
    found = _parsed(text)
    _fields(found, FIELDS, "the description")
    config, seed, names, digest, sources = (found[name] for name in FIELDS)
    _fields(config, NODES, "the configuration")
    if not all(isinstance(config[name], dict) for name in NODES):
        raise _refused("a node of the configuration is no mapping", "send every node as a mapping")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 63:
        raise _refused(f"seed={one_line(seed, 40)}", "send an integer from 0 to 2^63 - 1")
    if not isinstance(digest, str) or len(digest) > 1000:
        raise _refused(f"data_sha256={one_line(digest, 40)}", "send the digest as text")
    plain = isinstance(names, dict) and len(names) < 20 and all(isinstance(name, str) for pair in names.items() for name in pair)
    if not plain or not {"method", "scenario"} <= names.keys():
        raise _refused("names are no texts by node", "send the names of method and scenario")
    checker = _Checker(client.declared, client.search)
    classes = checker.node(config, "", "")
    for name in ("method", "scenario", "model", "optimizer", "trainer", "federated"):
        if "_target_" not in config[name]:
            raise _refused(f"{name} names no class", f"send {name}._target_")
    _check_sources(sources)
    identity = {
        "seed": seed,
        "names": {key: one_line(name, 100) for key, name in names.items()},
        "data_sha256": digest,
        "sources": sources,
    }
    return RunSpec(classes, identity, results_dir=os.devnull, execution=client.execution)


def _parsed(text: Any) -> Any:
    if not isinstance(text, str) or len(text) > TEXT:
        size = f"{len(text)} characters" if isinstance(text, str) else f"a {type(text).__name__}"
        raise _refused(f"its description of the run is {size}", f"send text of up to {TEXT} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused(f"its description of the run is no JSON: {one_line(error, 100)}", "send JSON") from error


def _fields(found: Any, wanted: tuple[str, ...], what: str) -> None:
    if not isinstance(found, dict) or set(found) != set(wanted):
        has = ", ".join(one_line(key, 40) for key in sorted(found)[:20]) if isinstance(found, dict) else type(found).__name__
        raise _refused(
            f"{what} has the fields {has}", f"send {', '.join(wanted)}; server and clients need one version of clbench"
        )


def _check_sources(sources: Any) -> None:
    """Check digests of modules: names of nodes, of modules, and texts. They are only compared with modules of the client."""
    if not isinstance(sources, dict) or len(sources) > len(NODES):
        raise _refused("sources are no digests by node and module", "send the sources of the run's identity")
    for node in sources.values():
        if not isinstance(node, dict) or len(node) > MODULES:
            raise _refused("sources are no digests by node and module", "send the sources of the run's identity")
        for module, text in node.items():
            if not isinstance(text, str) or len(text) > 200 or not re.fullmatch(r"\w+(\.\w+){0,20}", module):
                raise _refused(f"sources hold the module {one_line(module, 80)}", "send the sources of the run's identity")


@dataclass
class _Checker:
    """Walks over a configuration and checks every class, key, text and number."""

    declared: Declared
    search: list[Path]

    def __post_init__(self) -> None:
        self.parts = 0

    def node(self, value: Any, path: str, key: str, depth: int = 0, free: bool = False) -> Any:
        """Return the value at a dotted `path`, with paths of files as the client's own.

        Args:
            value: of a message.
            path: of the value.
            key: nearest key of a mapping above.
            depth: number of levels above.
            free: whether the value goes to a library as an argument.
        """
        self.parts += 1
        if depth > DEPTH or self.parts > PARTS:
            raise _refused(
                f"the configuration has more than {DEPTH} levels or {PARTS} values", "send the configuration of one run"
            )
        if isinstance(value, dict):
            return self._mapping(value, path, key, depth, free)
        if isinstance(value, list):
            return [self.node(each, path, key, depth + 1, free) for each in value]
        if isinstance(value, str):
            return self._text(value, path, key, free)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self._number(value, path, key)
        return value

    def _mapping(self, value: dict[str, Any], path: str, key: str, depth: int, free: bool) -> dict[str, Any]:
        free = free or key in FREE
        if "_target_" in value:
            self._class(value["_target_"], path)
        found = {}
        for name, each in value.items():
            place = f"{path}.{name}" if path else name
            if free and name not in self.declared.keys.get(key, ()):
                raise _refused(
                    f"{one_line(place, 100)} is no argument that this client's configuration knows", self._remedy(path)
                )
            if name != "_target_":
                self._text(name, place, "")
            found[name] = each if name == "_target_" else self.node(each, place, name, depth + 1, free)
        return found

    def _class(self, target: Any, path: str) -> None:
        groups = next((groups for pattern, groups in ALLOWED if re.fullmatch(pattern, path)), ())
        if not isinstance(target, str) or target not in self.declared.allowed(*groups):
            place = one_line(path, 100) or "the configuration"
            raise _refused(
                f"{place}._target_={one_line(target, 100)}: this client's configuration declares no such class there",
                self._remedy(path),
            )

    def _text(self, value: str, path: str, key: str, free: bool = False) -> str:
        if len(value) > WORDS:
            raise _refused(f"{one_line(path, 100)} has {len(value)} characters", f"send up to {WORDS}")
        if value in self.declared.texts.get(key, ()):
            return value if key != "path" else self._place(value) or value
        if free or (key in CODE):
            raise _refused(
                f"{one_line(path, 100)}={one_line(value, 100)}: this client's configuration has no such value", self._remedy(path)
            )
        if key != "path" and not _leaves(value):
            return value
        found = self._place(value)
        if found is None:
            raise _refused(
                f"{one_line(path, 100)}={one_line(value, 100)} is no file or folder below the client's data folders",
                "put the data below a folder of data.root (or CLBENCH_DATA) at the client, and send its path below that folder",
            )
        return found

    def _place(self, value: str) -> str | None:
        """Return the absolute path of a file or folder below the client's data folders; None if there is none."""
        if "\0" in value or len(value) > 4096 or ".." in re.split(r"[/\\]", value) or value.startswith("~"):
            return None
        for folder in self.search:
            try:
                place = Path(os.path.normpath(folder / value))
                if place != folder and place.is_relative_to(os.path.normpath(folder)) and place.exists():
                    return str(place)
            except (OSError, ValueError):
                continue
        return None

    def _number(self, value: float, path: str, key: str) -> None:
        whole = isinstance(value, int)
        if whole and key in SEEDS:
            most: float = (1 << 63) - 1
        else:
            most = max(LARGEST.get(key, WHOLE if whole else REAL), self.declared.largest.get(key, 0))
        if not (whole or math.isfinite(value)) or abs(value) > most:
            raise _refused(f"{one_line(path, 100)}={one_line(value, 60)}", f"send a number up to {most:g}")

    def _remedy(self, path: str) -> str:
        top = path.split(".")[0] or "configuration"
        group = one_line(top, 40)
        return f"give the client a file of the group {group} that declares it: --config-dir in {VARIABLE} (docs/flower.md)"


def _leaves(value: str) -> bool:
    """Return whether a text, taken as a path, may lead out of a folder, or names an address."""
    rooted = value.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:[\\/]", value) is not None
    return rooted or "\0" in value or "://" in value or ".." in re.split(r"[/\\]", value)


def _refused(what: str, remedy: str) -> RefusedError:
    return RefusedError(f"the message is refused: {what}", remedy)
