"""Telling people what takes long before a trial has begun: to whoever listens, else to the standard error stream."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def tell(text: str) -> None:
    """Pass on a line of text."""
    listener = _listener.get()
    if listener is None:
        print(text, file=sys.stderr, flush=True)
    else:
        listener(text)


@contextmanager
def redirect(listener: Callable[[str], None]) -> Iterator[None]:
    """Let `listener` have what is told within the context: a trial in a worker passes it on to the command's terminal."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
