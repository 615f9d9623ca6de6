"""Regular files opened without waiting: a pipe, a device or a folder of the same name is refused."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_CHUNK = 2**20


def open_regular(path: Path) -> BufferedReader:
    """Return a regular file, or the regular file that a link names, open for reading.

    Raises:
        OSError: the file cannot be opened, or is of another kind; `strerror` says so.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket cannot be opened
            raise _other_kind(path, os.stat(path).st_mode) from error
        raise
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise _other_kind(path, mode)
    return open(handle, "rb")


def _other_kind(path: Path, mode: int) -> OSError:
    kind = next((name for test, name in _KINDS if test(mode)), "of an unknown kind")
    return OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))


def read_bytes(path: Path, largest: int) -> bytes:
    """Return the content of a regular file of `largest` bytes at most.

    Raises:
        OSError: as `open_regular`, or the file is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) if size <= largest else b""
        while (
            size <= largest and len(content) <= largest and (more := file.read(_CHUNK))
        ):  # it grows, or has no size before it is read
            content += more
        if max(size, len(content)) > largest:
            raise OSError(errno.EFBIG, f"it is larger than {largest:,} bytes", str(path))
        return content
