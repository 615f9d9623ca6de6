"""Files that are either complete or absent: the only place of the package that writes through a temporary file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from clbench.errors import ClbenchError, StoreError, UnwritableError
from clbench.utils.disk import REFUSED, explain

Content = str | bytes | memoryview | Callable[[BinaryIO], object]
"""Text (stored as UTF-8), bytes, or a function that writes to an open binary file."""


def write(
    path: Path,
    content: Content,
    *,
    name: str = "",
    remedy: str = "",
    error: type[ClbenchError] = StoreError,
    shared: bool = True,
    final: bool = False,
) -> None:
    """Write a temporary file in the folder of `path`, flush it to the disk, and rename it.

    The folder is made if needed. After a failure the previous file is unchanged and the temporary file is removed.

    Args:
        path: of the file.
        content: text, bytes, or a function that writes.
        name: kind of the file for the message, for example "the checkpoint".
        remedy: a further remedy, after the one that fits the cause.
        error: class of the exception.
        shared: whether several processes may write `path` at the same time. If not, the temporary file has a fixed name,
            and replaces the one that a killed process left.
        final: whether the file is never replaced: an existing file stays, and the new name survives a power failure.

    Raises:
        ClbenchError: of class `error`; the file cannot be written. The message names the disk and its free space. A StoreError is
            an UnwritableError if the folder takes no other file either.
    """
    token = f"{secrets.token_hex(8)}." if shared else ""
    temporary = path.with_name(f".{path.name}.{token}tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb" if shared else "wb") as file:  # the module tempfile would deny access to the group
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if final:
            _link(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError as problem:
        reason, cure = explain(problem, path, remedy)
        kind = UnwritableError if error is StoreError and problem.errno in REFUSED else error
        raise kind(f"{name} {path}".strip() + f" cannot be written: {reason}", cure) from problem
    finally:
        with suppress(OSError):
            temporary.unlink()


def _link(temporary: Path, path: Path) -> None:
    """Give the temporary file its second name, unless a file of that name exists."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not path.exists():
            os.replace(temporary, path)
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
