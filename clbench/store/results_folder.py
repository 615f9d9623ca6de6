"""The results folder itself: made and tried out before training, and watched while runs are under way."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from clbench.errors import StoreError, UnwritableError
from clbench.utils.disk import explain

CHECKPOINTS = ".checkpoints"
"""Folder within the results folder for the checkpoints of unfinished runs."""
SAMPLE = 1 << 16
"""Bytes that are written to find out whether the disk takes files: more than a usual record."""
OTHER = "choose another results_dir"


def prepare(folder: Path) -> str:
    """Make a results folder if needed, and write a small file into it that vanishes again.

    Returns:
        A mark of the folder, for `require`.

    Raises:
        UnwritableError: the folder cannot be made, or takes no files.
    """
    try:
        for place in (folder, folder / CHECKPOINTS):
            place.mkdir(parents=True, exist_ok=True)
            _try_out(place)
        return _mark(folder)
    except OSError as error:
        reason, remedy = explain(error, folder, OTHER)
        raise UnwritableError(f"the results folder results_dir={folder} cannot be written: {reason}", remedy) from error


def examine(folder: Path) -> None:
    """Require that `folder` can be looked into, or does not exist yet.

    Raises:
        StoreError: a part of the path is no folder, or may not be entered.
    """
    try:
        os.stat(folder / CHECKPOINTS)
    except FileNotFoundError:
        return
    except OSError as error:
        reason, remedy = explain(error, folder, OTHER)
        raise StoreError(f"the results folder results_dir={folder} cannot be read: {reason}", remedy) from error


def require(folder: Path, mark: str) -> None:
    """Require that a results folder is still the one that `prepare` saw.

    A folder without `.checkpoints` may be the empty place of a disk that was unmounted. It passes only as the same folder.

    Args:
        folder: to check.
        mark: returned by `prepare`; empty: nothing is checked.

    Raises:
        UnwritableError: the folder was removed, renamed, unmounted or replaced.
    """
    if mark and not there(folder, mark):
        raise UnwritableError(
            f"the results folder results_dir={folder} is gone: it was removed, renamed or unmounted while runs were under way",
            "put the folder back and start the same command again; nothing is stored in a new folder of that name",
        )


def there(folder: Path, mark: str) -> bool:
    """Return whether a results folder is still the one that `prepare` saw; arguments as of `require`."""
    with suppress(OSError):
        return os.path.isdir(folder / CHECKPOINTS) or (os.path.isdir(folder) and _mark(folder) == mark)
    return False


def _mark(folder: Path) -> str:
    found = os.stat(folder)
    return f"{found.st_dev}:{found.st_ino}"


def _try_out(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:  # without a name: a kill leaves nothing
        file.write(bytes(SAMPLE))
