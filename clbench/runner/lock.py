"""Who is at a run, and what a killed process left of it: one lock per run, which the system frees however its holder ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from clbench.errors import StoreError
from clbench.records import record_path
from clbench.run_spec import RunSpec

ATTEMPTS = 100
"""How often a folder may vanish between making it and opening the lock in it; once per process that just ended there."""
SOMEONE = "another process"


@contextmanager
def claim(spec: RunSpec) -> Iterator[str | None]:
    """Try to be the one process that is at `spec`, until the block ends or the process does.

    Yields:
        None if it is ours; else who is at it, for people.

    Raises:
        StoreError: the results folder cannot be written.
    """
    path = spec.checkpoints / "lock"
    try:
        with _opened(path) as (file, ours):
            if not ours:
                file.seek(0)
                yield file.read().strip() or SOMEONE
                return
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield None
    except _LockError as error:
        cause = error.cause
        raise StoreError(
            f"{path.parent} cannot be written: {cause.strerror or cause}",
            "free space, check permissions, or choose another results_dir",
        ) from cause


class _LockError(Exception):
    def __init__(self, cause: OSError) -> None:
        self.cause = cause


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[str], bool]]:
    """Open the lock file, and tell whether the lock is ours.

    Whoever ends a run removes its folder, lock and all: the file that we get hold of must still be the one in place.
    """
    for attempt in range(ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (closed below)
        except FileNotFoundError as error:
            if attempt + 1 == ATTEMPTS:
                raise _LockError(error) from error
            continue
        except OSError as error:
            raise _LockError(error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield file, False
                return
            if _in_place(file, path):
                yield file, True
                return
    raise _LockError(FileNotFoundError(2, "the lock is taken away as soon as it is made"))


def _in_place(file: IO[str], path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def available(spec: RunSpec) -> bool:
    """Return whether it is worth trying a run again that another process was at: it is stored, or nobody is at it."""
    if record_path(Path(spec.results_dir), spec.id).exists():
        return True
    with claim(spec) as other:
        return other is None


def clear(spec: RunSpec) -> None:
    """Remove what was kept of a run in progress, and halves of its record; it must be ours, and its record stored."""
    for half in Path(spec.results_dir).glob(f".{spec.id}.*.tmp"):
        half.unlink(missing_ok=True)
    shutil.rmtree(spec.checkpoints, ignore_errors=True)  # who opened the lock meanwhile finds the record


def tidy(specs: Collection[RunSpec]) -> None:
    """Remove what processes left that were killed between storing a record and clearing up; `specs` are stored, all of them."""
    by_folder: dict[str, list[RunSpec]] = {}
    for spec in specs:
        by_folder.setdefault(spec.results_dir, []).append(spec)
    for folder, stored in by_folder.items():
        left = {path.name.split(".")[1] for path in Path(folder).glob(".*.tmp")}
        left |= {path.name for path in Path(folder, ".checkpoints").glob("*")}
        for spec in stored:
            if spec.id in left:
                with suppress(StoreError, OSError), claim(spec) as other:  # a folder that may only be read is fine
                    if other is None:
                        clear(spec)
