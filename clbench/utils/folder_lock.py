"""A lock on a folder: one process at a time writes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

NAME = ".lock"
"""The lock's file in the folder; it stays there."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Wait until no other process has the lock of `folder`, and hold it; the system frees it however the process ends.

    There is no lock in a folder that cannot be written, and on a file system without locks. Files are complete without it;
    two processes may then do the same work.
    """
    lock = FileLock(folder / NAME, mode=0o664)  # a group may share the folder
    with suppress(OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
