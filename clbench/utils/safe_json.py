"""JSON that anyone may have changed: read in bounded memory, and refused with a reason."""

from __future__ import annotations

import json
from typing import Any

LARGEST = 64 * 2**20
"""Bytes of a file. The record of 500 tasks has 7 MB; that of 1,000 tasks has 28 MB."""
DEEPEST = 64
"""Levels of lists and objects within each other. Records of this package have 7; a method of methods adds two per level."""
MOST = {b"[": 3_000_000, b"{": 500_000, b",": 9_000_000}
"""Largest number of lists, objects and further values: an empty list takes 3 bytes of a file and 64 bytes of memory. The record
of 1,000 tasks has a million lists and three million values."""
LONGEST = 24
"""Digits of a whole number. 64 bits hold 19."""

_WORDS = {b"[": "lists", b"{": "objects", b",": "values"}
_SPACE = b" \n\r\t"
_STRUCTURE = b'[]{}"'
_REST = bytes(sorted({*range(256)} - {*_STRUCTURE}))
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)


def parse(content: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not UTF-8 or not JSON, holds NaN or a number of too many digits, or goes beyond `DEEPEST` or `MOST`.
        RecursionError: brackets do not match, thousands of them.
    """
    check_amount(content)
    if _depth(content) > DEEPEST:
        raise ValueError(f"more than {DEEPEST} lists or objects within each other")
    text = content.decode("utf-8")
    if b"0" * (LONGEST + 1) in content.translate(_DIGITS):  # perhaps: a float or a string may hold as many digits
        return json.loads(text, parse_constant=_no_constant, parse_int=_whole)
    return json.loads(text, parse_constant=_no_constant)


def check_amount(content: bytes) -> None:
    """Refuse a JSON text that would take too much memory.

    Raises:
        ValueError: it has more than `LARGEST` bytes, or more lists, objects or values than `MOST`.
    """
    if len(content) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} bytes")
    if len(content) <= min(MOST.values()):
        return
    for sign, most in MOST.items():
        if content.count(sign) > most:
            raise ValueError(f"more than {most:,} {_WORDS[sign]}")


def without_space(content: bytes) -> int:
    """Return the number of bytes that are not white space. JSON escapes line ends, so that only spaces count in strings."""
    lines = content.translate(None, _SPACE) if b"\n" in content else content
    return len(lines) - lines.count(b" ")


def refuse_repeated_keys(content: bytes) -> None:
    """Refuse an object with a repeated key, of a text that `parse` accepts.

    Raises:
        ValueError: which key is repeated.
    """
    json.loads(content, object_pairs_hook=_once)


def escaped(text: object) -> str:
    """Return a text for a message: one line, without signs that a terminal obeys or cannot print, such as those of file names."""
    if (plain := str(text)).isprintable():
        return plain
    shown = plain.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def brief(value: Any, most: int = 60) -> str:
    """Return a value of a file for a message: in one line, and cut after `most` characters."""
    if isinstance(value, (list, dict)):
        return f"a list of {len(value)}" if isinstance(value, list) else f"an object of {len(value)} keys"
    if isinstance(value, int) and abs(value) >= 10**most:
        return "a number of many digits"
    text = escaped(value[: most + 1]) if isinstance(value, str) else str(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _depth(content: bytes) -> int:
    """Return how many lists and objects lie within each other; more than `DEEPEST` if brackets do not match."""
    if b"\\" in content:
        content = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(content.translate(None, _REST).split(b'"')[::2])
    depth = 0
    while brackets and depth <= DEEPEST:
        inner = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(inner) == len(brackets):  # these do not match, and no parser accepts them
            return DEEPEST + 1 if len(brackets) > DEEPEST else depth
        brackets, depth = inner, depth + 1
    return depth


def _whole(digits: str) -> int:
    if len(digits) > LONGEST:
        raise ValueError(f"a whole number of {len(digits):,} digits")
    return int(digits)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        if key in found:
            raise ValueError(f"the key {brief(key)} occurs twice in an object")
        found[key] = value
    return found
