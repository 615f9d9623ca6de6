"""Messages for the user: the logger `clbench` of Python's logging, and the way from there to the display of a sweep.

Every file logs with `logging.getLogger(__name__)`. Nothing is configured at import: without `redirect`, Python's own rules
apply, by which warnings go to the standard error stream.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LOG = logging.getLogger("clbench")
_current: ContextVar[logging.Handler | None] = ContextVar("current", default=None)


def say(text: str) -> None:
    """Tell the user that something takes place: to the display of a sweep, or without one on the standard error stream."""
    if _current.get() is not None:
        LOG.info(text)
    else:
        print(text, file=sys.stderr, flush=True)


class _Handler(logging.Handler):
    """Hands messages to a listener, while it is the innermost handler of its thread."""

    def __init__(self, listener: Callable[[str], None]) -> None:
        super().__init__()
        self.listener = listener

    def emit(self, record: logging.LogRecord) -> None:
        if _current.get() is self:
            self.listener(self.format(record))


@contextmanager
def redirect(listener: Callable[[str], None]) -> Iterator[None]:
    """Hand messages of level INFO and above to `listener` within the block, for example to the display of a sweep.

    A level that the user has set for the logger `clbench` is respected.
    """
    handler = _Handler(listener)
    level = LOG.level
    token = _current.set(handler)
    LOG.addHandler(handler)
    if level == logging.NOTSET:
        LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.setLevel(level)
        LOG.removeHandler(handler)
        _current.reset(token)
