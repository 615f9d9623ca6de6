"""A lock on a folder: one process at a time writes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from clbench.utils.one_time import one_time

NAME = ".lock"
"""The lock's file in the folder; it stays there."""

SILENT = 1.0
"""Seconds to wait for a lock without a word."""
LOCKS = Path("/proc/locks")
"""Linux lists all locks here."""


def holder(path: Path) -> str:
    """Return the name of the process that has locked a file, for people; another machine's processes are not known."""
    with suppress(OSError, ValueError, IndexError):
        inode = path.stat().st_ino
        for line in LOCKS.read_text().splitlines():
            words = line.split()  # 1: FLOCK ADVISORY WRITE 4711 fd:00:123456 0 EOF
            if "->" not in words and words[5].rpartition(":")[2] == str(inode) and int(words[4]) > 0:
                command = Path(f"/proc/{words[4]}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"process {words[4]} ({command[:60]})" if command else f"process {words[4]}"
    return "another process"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Wait until no other process has the lock of `folder`, and hold it; the system frees it however the process ends.

    There is no lock in a folder that cannot be written, and on a file system without locks. Files are complete without it;
    two processes may then do the same work.
    """
    lock = FileLock(folder / NAME, mode=0o664)  # a group may share the folder
    with suppress(OSError, NotImplementedError):
        try:
            lock.acquire(timeout=SILENT)
        except Timeout:
            what = f"waiting for {folder / NAME}, which {holder(folder / NAME)} has locked"
            with one_time(what, unit="s") as advance:
                while not lock.is_locked:
                    with suppress(Timeout):
                        lock.acquire(timeout=SILENT)
                    advance(int(SILENT))
    try:
        yield
    finally:
        lock.release()
