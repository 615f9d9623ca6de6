"""Output to terminals and files whose encoding lacks some characters: others stand for them, and nothing fails."""

from __future__ import annotations

import codecs
import sys
from contextlib import suppress

PLAIN = {
    "†": "*", "‡": "**", "×": "x", "±": "+-", "–": "-", "—": "-", "−": "-", "…": "...", "·": "|", "→": "->", "≥": ">=",
    "≤": "<=", "─": "-", "━": "-", "│": "|", "░": "#", "▒": "#", "▓": "#", "█": "#", "•": "*", "°": "deg", "µ": "u",
}  # fmt: skip
"""Characters of clbench's output in ASCII. A character of a table's grid keeps its width."""
NAME = "clbench.plain"


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


def plain_output() -> None:
    """Let standard output and error write any text, whatever their encoding.

    A character that the encoding lacks is replaced. Its place in a table may move by a column.
    """
    codecs.register_error(NAME, _plain)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):  # a stream that is no file, or is closed
            if (stream.encoding or "").lower().replace("-", "") != "utf8":
                stream.reconfigure(errors=NAME)  # type: ignore[union-attr]
