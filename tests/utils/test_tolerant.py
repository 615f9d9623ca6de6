"""A full disk behind the output costs messages, and no run; the command tells of it at its end."""

from __future__ import annotations

import errno
import io
import os
import sys

import pytest

from clbench.utils.tolerant import complete, tolerant


class Refusing(io.StringIO):
    """Takes nothing.

    Args:
        number: of the error.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


def test_text_goes_through() -> None:
    stream = io.StringIO()
    print("all well", file=tolerant(stream), flush=True)
    assert stream.getvalue() == "all well\n"
    assert not tolerant(stream).isatty()


def test_a_full_disk_is_told_once_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Refusing(errno.ENOSPC)
    monkeypatch.setattr(sys, "stdout", stream)
    for _ in range(3):
        print("lost", file=tolerant(stream))
    with pytest.raises(OSError, match="No space left"):
        complete()
    complete()


def test_lost_errors_do_not_count_as_lost_output() -> None:
    print("lost", file=tolerant(Refusing(errno.ENOSPC)))
    complete()


def test_a_closed_pipe_remains_an_error() -> None:
    with pytest.raises(BrokenPipeError):
        print("lost", file=tolerant(Refusing(errno.EPIPE)))
