"""Errors of files in words for people: which disk or folder refused, how much is free there, and what to do."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The disk or the user's share of the disk has no more room."""
REFUSED = (*FULL, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
"""Errors after which a folder takes no other file either."""
OF_THE_MACHINE = (*FULL, errno.EFBIG, errno.EROFS, errno.EIO)
"""Errors of a disk, for which no run and no file is at fault."""
LITTLE = 1 << 20
"""Bytes. A disk with less free space may be the one that an error without a file name is about."""


def explain(error: OSError, path: str | os.PathLike[str], otherwise: str = "") -> tuple[str, str]:
    """Return why a file cannot be written, and what the user can do.

    Args:
        error: of the system.
        path: of the file or folder, which may not exist.
        otherwise: another remedy that fits the file, for example another folder.

    Returns:
        Reason, with the disk and its free space where the disk is at fault; and remedy. Each is one line.
    """
    path = Path(os.path.abspath(path))
    disk = mount_point(path)
    reason = error.strerror or str(error)
    match error.errno:
        case errno.ENOSPC if _no_entries(disk):
            reason += f": the disk {disk} has room for no more files (no inode is free, {space(disk)})"
            cure = f"delete files on {disk}"
        case errno.ENOSPC:
            reason += f": the disk {disk} is full ({space(disk)})"
            cure = f"free space on {disk}"
        case errno.EDQUOT:
            reason += f": your quota on the disk {disk} is used up ({space(disk)})"
            cure = f"delete files of yours on {disk}"
        case errno.EFBIG:
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
            allowed = "" if limit == resource.RLIM_INFINITY else f" (limit of this process: {size(limit)})"
            reason += f": a file on the disk {disk} may not be so large{allowed}"
            cure = "raise the limit (ulimit -f unlimited)" if allowed else "use a disk for larger files"
        case errno.EROFS:
            reason += f": the disk {disk} can only be read"
            cure = f"mount {disk} for writing"
        case errno.EIO:
            reason += f": the disk {disk} has a fault"
            cure = f"check {disk} (the system's log has the reason)"
        case errno.EACCES | errno.EPERM:
            reason, cure = f"{reason} in {_nearest(path)}", f"check the permissions of {_nearest(path)}"
        case errno.EEXIST:
            target = error.filename or path
            reason = f"{target} is a link that leads nowhere" if os.path.islink(target) else f"{target} is a file"
            cure = "remove it"
        case errno.ENOTDIR if (taken := _file_above(path)) is not None:
            reason, cure = f"{taken} is a file", "remove it"
        case errno.ENAMETOOLONG:
            cure = "give a shorter name"
        case _:
            cure = f"check {_nearest(path)}"
    return reason, f"{cure}, or {otherwise}" if otherwise else cure


def unnamed(error: OSError, places: Sequence[str | os.PathLike[str]]) -> tuple[str, str]:
    """Return reason and remedy of an error without a file name: the disks of `places` that are full are named.

    Args:
        error: of the system.
        places: folders in which files may have been written.
    """
    disks = [
        disk for disk in dict.fromkeys(mount_point(Path(place)) for place in places) if _free(disk) < LITTLE or _no_entries(disk)
    ]
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC and disks:
        return (
            f"{reason}: {', '.join(f'{disk} ({space(disk)})' for disk in disks)}",
            f"free space on {', '.join(map(str, disks))}",
        )
    return reason, "free space on the disks of results, data and temporary files" if error.errno in FULL else ""


def of_the_machine(error: BaseException | None) -> bool:
    """Return whether an exception, or one that it was raised from, is an error of a disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            return True
        error = error.__cause__
    return False


def mount_point(path: Path) -> Path:
    """Return the folder at which the disk with `path` is mounted."""
    place = Path(os.path.realpath(_nearest(Path(os.path.abspath(path)))))
    while not os.path.ismount(place) and place != place.parent:
        place = place.parent
    return place


def space(folder: Path) -> str:
    """Return the free space of a disk for this user and its size, for example `0 B of 1.0 MiB free`."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return "free space unknown"
    return f"{size(found.f_bavail * found.f_frsize)} of {size(found.f_blocks * found.f_frsize)} free"


def size(count: float) -> str:
    """Return a number of bytes with its unit.

    >>> size(0), size(1536), size(3 << 30)
    ('0 B', '1.5 KiB', '3.0 GiB')
    """
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"


def _nearest(path: Path) -> Path:
    """Return the nearest folder above `path`, or `path` itself, that can be seen."""
    while not os.path.exists(path) and path != path.parent:
        path = path.parent
    return path if os.path.isdir(path) else path.parent


def _file_above(path: Path) -> Path | None:
    """Return the file that stands where `path` needs a folder."""
    return next((place for place in (path, *path.parents) if os.path.exists(place) and not os.path.isdir(place)), None)


def _free(folder: Path) -> float:
    with suppress(OSError):
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize
    return float("inf")


def _no_entries(folder: Path) -> bool:
    with suppress(OSError):
        found = os.statvfs(folder)
        return found.f_files > 0 and found.f_favail == 0
    return False
