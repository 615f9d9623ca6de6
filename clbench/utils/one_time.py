"""Progress of work that is done once: features, pre-training, downloads, digests of data, waiting for a lock.

Whoever does the work calls `one_time`. A run's process sends the text to the display of the sweep (`listening`). Without a
listener, as while a command composes its configuration, a line goes to the standard error stream now and then.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from clbench.utils import signs_of_life

EVERY = 1.0
"""Seconds between two texts for a listener."""
LINES = 10.0
"""Seconds until the first line on the standard error stream, and between two lines."""
Advance = Callable[[int], None]
Listener = Callable[[str], None]


class _State:
    listener: Listener | None = None


_stack: list[_Work] = []
"""The works in progress; only the innermost tells how far it is."""


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block, hand texts to `listener`: progress such as `features of cifar10: 12,000/50,000`, or empty at its end."""
    before, _State.listener = _State.listener, listener
    try:
        yield
    finally:
        _State.listener = before


class _Work:
    """Work in progress."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, 0
        self.listener = _State.listener
        self.pause = LINES if self.listener is None else EVERY
        self.next = monotonic() + self.pause
        self.told = False
        _stack.append(self)

    def advance(self, count: int = 1) -> None:
        self.done += count
        signs_of_life.beat()
        if monotonic() >= self.next:
            self.tell()

    def reach(self, done: int) -> None:
        if done != self.done:
            self.advance(done - self.done)

    def tell(self) -> None:
        if _stack[-1] is not self:
            return
        self.next, self.told = monotonic() + self.pause, True
        text = self.text()
        if self.listener is not None:
            self.listener(text)
        else:
            with suppress(OSError, ValueError):
                print(text, file=sys.stderr, flush=True)

    def text(self) -> str:
        """Return what is done, and how much of it."""
        unit = f" {self.unit}" if self.unit else ""
        if self.total is not None:
            return f"{self.what}: {self.done:,}/{self.total:,}{unit}"
        return f"{self.what}: {self.done:,}{unit}" if self.done else self.what

    def end(self) -> None:
        _stack.remove(self)
        if self.told and self.listener is not None:
            self.listener("")


@contextmanager
def one_time(what: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
    """Show progress of work within the block, and count it as a sign of life.

    Work of less than a second shows nothing.

    Args:
        what: the work, for people.
        total: number of parts; None: unknown.
        unit: of the parts.

    Yields:
        A function that takes the number of parts done since the last call.
    """
    work = _Work(what, total, unit)
    try:
        yield work.advance
    finally:
        work.end()


@contextmanager
def long_call(what: str, measure: Callable[[], int] | None = None, total: int | None = None, unit: str = "") -> Iterator[None]:
    """Show that a call of a library within the block takes its time; the library tells nothing.

    Args:
        what: the work, for people.
        measure: returns how much is done, for example the bytes downloaded; called by another thread.
        total: the measure at the end; None: unknown.
        unit: of what is measured.
    """
    work, over = _Work(what, total, unit), threading.Event()

    def watch() -> None:
        while not over.wait(work.pause):
            if measure is not None:
                with suppress(OSError, ValueError):  # a file may have been closed
                    work.reach(measure())
            if monotonic() >= work.next:
                work.tell()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        work.end()


def size_of(folder: Path) -> int:
    """Return the megabytes of all files below `folder`; files that vanish meanwhile do not count."""
    total = 0
    with suppress(OSError):
        for path in folder.rglob("*"):
            with suppress(OSError):
                total += path.stat().st_size if path.is_file() else 0
    return total // 1_000_000
