"""Output that goes on when its file takes no more: a message that is lost must not cost a run."""

from __future__ import annotations

import sys
from typing import Any, TextIO, cast

_LOST: list[OSError] = []
"""Errors of `sys.stdout`, of which only the first is kept."""


def tolerant(stream: TextIO) -> TextIO:
    """Return a stream that passes everything on, and ignores errors of a disk. A closed pipe remains an error.

    Args:
        stream: the output of a process.
    """
    return cast(TextIO, _Tolerant(stream))


def complete() -> None:
    """Write out what the standard output holds.

    Raises:
        OSError: a part of the output was lost, now or before.
    """
    sys.stdout.flush()
    if _LOST:
        raise _LOST.pop()


class _Tolerant:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._note(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        if self._stream is sys.stdout and not _LOST:
            _LOST.append(error)

    def __getattr__(self, name: str) -> Any:
        """Take everything else (encoding, terminal, number of the file) from the stream."""
        return getattr(self._stream, name)
