"""When a module was imported: Python itself does not keep that."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_STARTED = time.time_ns()
_BEFORE = frozenset(sys.modules)
_TIMES: dict[str, list[int]] = {}


class Clock(MetaPathFinder):
    """Notes the time at which Python looks for a module, and finds nothing itself."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Note the time."""
        _TIMES.setdefault(name, []).append(time.time_ns())
        return None


def install() -> None:
    """Note the time of every later import."""
    if not any(isinstance(finder, Clock) for finder in sys.meta_path):
        sys.meta_path.insert(0, Clock())


def last(name: str) -> int:
    """Return when a loaded module was last imported, in nanoseconds since the epoch; not later than now.

    For a module that was imported before clbench, the time at which clbench was imported.
    """
    return _TIMES[name][-1] if name in _TIMES else _STARTED


def was_noted(name: str) -> bool:
    """Return whether an import of this module was noted, or came before clbench. Finders of other programs hide imports."""
    return name in _TIMES or name in _BEFORE


def times(name: str) -> int:
    """Return how often a module was imported: more than once after a reload."""
    return len(_TIMES.get(name, ())) + (name in _BEFORE)
