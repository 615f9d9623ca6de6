"""Configuration keys with a new name: the old name still works, with a warning."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

RENAMED: dict[str, str] = {}
"""{old dotted key: new dotted key}."""


def rename_overrides(words: Sequence[str]) -> list[str]:
    """Return words of the command line with the new names of keys."""
    return [_rename(word) for word in words]


def rename_keys(config: dict[str, Any]) -> None:
    """Move the values of old keys of a configuration to the new keys, in place."""
    for old, new in RENAMED.items():
        *parents, last = old.split(".")
        node: Any = config
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if isinstance(node, dict) and last in node:
            value = node.pop(last)
            _warn(old, new)
            *parents, last = new.split(".")
            node = config
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = value


def _rename(word: str) -> str:
    for old, new in RENAMED.items():
        found = re.match(rf"([+~]*){re.escape(old)}(?=[.=@]|$)", word)
        if found:
            _warn(old, new)
            return found[1] + new + word[found.end() :]
    return word


def _warn(old: str, new: str) -> None:
    warnings.warn(f"the key {old} is now called {new}; the old name will stop working", FutureWarning, stacklevel=4)
