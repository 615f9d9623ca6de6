"""Runs that differ in the source of their classes alone: how they are told apart, and what is said of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clbench.records import Record, canonical, identity_hash, load_all, record_path
from clbench.sources.text import digest

KEY = "sources"
"""Key of the identity: {node: {module: digest}}. A run of classes of clbench alone has no such key."""
UNKNOWN = "unknown"
"""The mark of an older record of the same configuration: it does not name its source."""
MARK = 6
"""Digits of a mark."""


def mark(identity: Mapping[str, Any]) -> str:
    """Return a short name for the source of a run."""
    return digest(canonical(identity[KEY]))[:MARK] if identity.get(KEY) else UNKNOWN


def without(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity without its source."""
    return {key: value for key, value in identity.items() if key != KEY}


def without_node(identity: Mapping[str, Any], node: str) -> dict[str, Any]:
    """Return an identity without a node, and without the source of that node."""
    rest = {key: value for key, value in identity.items() if key not in (node, KEY)}
    others = {key: value for key, value in (identity.get(KEY) or {}).items() if key != node}
    return {**rest, KEY: others} if others else rest


def changed(identities: Iterable[Mapping[str, Any]], results_dir: Path) -> list[str]:
    """Return one line for each change of source since runs that are stored in a folder; nothing if no run is to be trained.

    Args:
        identities: of the runs of a command.
        results_dir: folder of their records.
    """
    wanted = [dict(each) for each in identities if each.get(KEY)]
    missing = [each for each in wanted if not record_path(results_dir, identity_hash(each)).exists()]
    if not missing or not results_dir.is_dir():
        return []
    earlier: dict[str, list[Record]] = defaultdict(list)
    for record in load_all(results_dir)[0]:
        earlier[canonical(without(record.identity))].append(record)
    counts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for identity in missing:
        found = earlier.get(canonical(without(identity)), [])
        if found:
            newest = max(found, key=lambda record: str(record.provenance.get("time")))
            counts[_what(identity, newest.identity), mark(identity)].update(record.id for record in found)
    return [_line(what, name, len(runs)) for (what, name), runs in counts.items()]


def _line(what: str, name: str, count: int) -> str:
    runs = "one finished run, whose record is" if count == 1 else f"{count} finished runs, whose records are"
    return f"{what} since {runs} kept; the source is now {name}"


def _what(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Return which modules differ, in words."""
    new, old = (dict(_modules(identity)) for identity in (now, before))
    if not old:
        return f"{', '.join(sorted(new))}: the source may have changed"
    names = sorted(module for module in {**old, **new} if old.get(module) != new.get(module))
    return f"{', '.join(_spoken(name) for name in names)} changed"


def _modules(identity: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for digests in (identity.get(KEY) or {}).values():
        yield from digests.items()


def _spoken(module: str) -> str:
    return "a class of this session" if module == "__main__" else f"the source of {module}"
