"""Jobs that differ in plain values alone: their configuration is a copy of one composition with other leaves.

Copying Hydra's configuration and setting a value in it takes 20 times as long. Only overrides are served whose effect is certain;
for all others Hydra does the work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+|[A-Za-z_][A-Za-z0-9_]*")
"""Keys without indices and escapes."""


@dataclass(frozen=True)
class Base:
    """A composition of groups alone.

    Args:
        config: in plain values.
        choices: of the groups.
        mentioned: words of all interpolations; a key with one of them may have an effect elsewhere.
    """

    config: dict[str, Any]
    choices: dict[str, Any]
    mentioned: frozenset[str]


def mentioned(loaded: DictConfig) -> frozenset[str]:
    """Return the words of all interpolations outside the node `hydra`."""
    raw = {
        str(key): OmegaConf.to_container(node, resolve=False) for key in loaded if OmegaConf.is_config(node := _raw(loaded, key))
    }
    rest = {str(key): str(_raw(loaded, key)) for key in loaded if not OmegaConf.is_config(_raw(loaded, key))}
    return frozenset(word for text in _interpolations([raw, rest]) for word in re.findall(r"\w+", text))


def _raw(loaded: DictConfig, key: Any) -> Any:
    """Return a node as it is written; an empty text for the node of Hydra."""
    return "" if key == "hydra" else loaded._get_node(key)


def _interpolations(tree: Any) -> Iterable[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _interpolations(value)
            yield from _interpolations(key)
    elif isinstance(tree, list):
        for value in tree:
            yield from _interpolations(value)
    elif isinstance(tree, str) and "${" in tree:
        yield tree


def with_values(base: Base, changes: Sequence[tuple[str, Any]]) -> dict[str, Any] | None:
    """Return a copy of the base's values with other values of keys that exist; None if Hydra has to set one of them.

    Args:
        base: the composition.
        changes: (dotted key, value), in order.
    """
    config: dict[str, Any] = copied(base.config)
    for name, value in changes:
        plain = value is None or (isinstance(value, (bool, int, float, str)) and not _special(value))
        if not plain or not KEY.fullmatch(name):
            return None
        *parents, last = name.split(".")
        if base.mentioned & {*parents, last}:
            return None
        node: Any = config
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node or isinstance(node[last], (dict, list)):
            return None
        node[last] = str(value) if isinstance(value, str) else value
    return config


def _special(value: object) -> bool:
    """Return whether OmegaConf reads a value in another way than it is: an interpolation, an escape, a missing value."""
    return isinstance(value, str) and ("$" in value or "\\" in value or value == "???")


def copied(tree: Any) -> Any:
    """Return a copy of nested dictionaries and lists."""
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    return [copied(value) for value in tree] if isinstance(tree, list) else tree
