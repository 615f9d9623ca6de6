"""JSON as people read it in a file: an object over several lines, a list of numbers on one line."""

from __future__ import annotations

import json
from typing import Any


def dumps(value: Any) -> str:
    """Return `value` as JSON.

    An object has a line per key. A list of lists or objects has a line per entry; another list is on one line. The accuracy
    matrix of T tasks thus has T lines and about 10 T² bytes, and not 28 T² as with a line per number.

    Raises:
        TypeError: a value or key is not plain JSON.
        ValueError: a number is not finite.
    """
    return _text(value, "")


def _text(value: Any, indent: str) -> str:
    deeper = f"{indent} "
    if isinstance(value, dict) and value:
        lines = [f"{_key(key)}: {_text(each, deeper)}" for key, each in value.items()]
        return f"{{\n{deeper}" + f",\n{deeper}".join(lines) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)) and any(isinstance(each, (dict, list, tuple)) for each in value):
        lines = [_text(each, deeper) if _deep(each) else _line(each) for each in value]
        return f"[\n{deeper}" + f",\n{deeper}".join(lines) + f"\n{indent}]"
    return _line(value)


def _deep(value: Any) -> bool:
    """Return whether an entry of a list needs several lines: objects inside, more than one level down."""
    if isinstance(value, dict):
        return any(isinstance(each, (dict, list, tuple)) and each for each in value.values())
    return isinstance(value, (list, tuple)) and any(isinstance(each, dict) or _deep(each) for each in value)


def _line(value: Any) -> str:
    separators = (",", ":") if isinstance(value, (list, tuple)) else (", ", ": ")
    return json.dumps(value, separators=separators, allow_nan=False, ensure_ascii=False)


def _key(key: Any) -> str:
    """Return a key as `json` writes it: a number or None becomes a string."""
    return _line(key) if isinstance(key, str) else json.dumps({key: 0}, allow_nan=False)[1:-4]
