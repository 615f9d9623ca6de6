"""One lock per run: a run is executed by one process at a time, and the system frees the lock however the process ends.

The package filelock does not serve here. Some of its versions empty the lock file at every attempt, so that the holder's name
is lost. On a system without `flock` it uses a file as a mark, which a killed process leaves. And a run's folder is removed
together with its lock by the process that holds the lock, which needs the check of `_in_place`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from clbench.errors import StoreError, UnwritableError
from clbench.run_spec import RunSpec
from clbench.store.failures import FOLDER, remove_failure
from clbench.store.results_folder import CHECKPOINTS, OTHER
from clbench.utils.disk import explain

ATTEMPTS = 100
"""How often the folder may vanish between its creation and the lock; once for each process that has just ended there."""
SOMEONE = "another process"


@contextmanager
def lock_run(spec: RunSpec) -> Iterator[str | None]:
    """Try to lock a run until the block or the process ends.

    Yields:
        None if this process has the lock; else the name of the process that has it, for people.

    Raises:
        UnwritableError: the results folder cannot be written, or is gone.
    """
    spec.require_folder()
    path = spec.checkpoints / "lock"
    try:
        with _opened(path) as (file, ours):
            if not ours:
                file.seek(0)
                yield file.read().strip() or SOMEONE
                return
            _sign(file)
            yield None
    except _LockError as error:
        reason, remedy = explain(error.cause, path.parent, OTHER)
        raise UnwritableError(f"{path.parent} cannot be written: {reason}", remedy) from error.cause


def _sign(file: IO[str]) -> None:
    """Write the name of this process into its lock file."""
    try:
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError as error:
        raise _LockError(error) from error


class _LockError(Exception):
    def __init__(self, cause: OSError) -> None:
        self.cause = cause


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[str], bool]]:
    """Open the lock file, and yield it with whether this process has the lock.

    A process that ends a run removes the folder with the lock file. The locked file must therefore still be in its place.
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
            except OSError as error:  # a file system without locks
                raise _LockError(error) from error
            if _in_place(file, path):
                yield file, True
                return
    raise _LockError(FileNotFoundError(2, "the lock file is removed as soon as it is made"))


def _in_place(file: IO[str], path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def available(spec: RunSpec) -> bool:
    """Return whether to try a run again that another process executed: its record is stored, or no process has its lock."""
    try:
        if spec.stored() is not None:
            return True
    except StoreError:  # damaged: the next try says so
        return True
    with lock_run(spec) as other:
        return other is None


def clear(spec: RunSpec) -> None:
    """Remove the checkpoints of a stored run, incomplete copies of its record, and the record of an earlier failure.

    This process must have the run's lock.
    """
    with suppress(OSError):  # what stays is removed by a later command
        remove_failure(Path(spec.results_dir), spec.id)
        for half in Path(spec.results_dir).glob(f".{spec.id}.*.tmp"):
            half.unlink(missing_ok=True)
    shutil.rmtree(spec.checkpoints, ignore_errors=True)  # a process that opened the lock meanwhile finds the record


def start_anew(specs: Collection[RunSpec]) -> None:
    """Remove the checkpoints of runs that are to be trained from their beginning, except of those in progress elsewhere."""
    for spec in specs:
        if spec.checkpoints.exists():
            with lock_run(spec) as other:
                if other is None:
                    shutil.rmtree(spec.checkpoints, ignore_errors=True)


def tidy(specs: Collection[RunSpec]) -> None:
    """Remove the files of processes that were killed after they stored a record; all of `specs` are stored."""
    by_folder: dict[str, list[RunSpec]] = {}
    for spec in specs:
        by_folder.setdefault(spec.results_dir, []).append(spec)
    for folder, stored in by_folder.items():
        left = {path.name.split(".")[1] for path in Path(folder).glob(".*.tmp")}
        left |= {path.name for path in Path(folder, CHECKPOINTS).glob("*")}
        left |= {path.stem for path in Path(folder, FOLDER).glob("*.json")}
        for spec in stored:
            if spec.id in left:
                with suppress(StoreError, OSError), lock_run(spec) as other:  # a read-only folder is no error
                    if other is None:
                        clear(spec)
