"""Finds data files and checks them against declared digests. Needs neither torch nor a network."""

from __future__ import annotations

import functools
import gzip
import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

from clbench.errors import ConfigError, DataError
from clbench.utils.folders import expanded
from clbench.utils.one_time import long_call

LARGE = 100_000_000
"""Bytes that are read in less than a second."""
CACHE = "~/.cache/clbench"
"""The user's data folder: last on the search path; downloads go there."""


def search_path(root: str | None) -> list[Path]:
    """Return the folders to search for data, in order, as absolute paths. A folder need not exist.

    Args:
        root: the configuration's `data.root`: folders joined by `os.pathsep`. None or empty: the folders of the environment
            variable CLBENCH_DATA, then the user's cache folder. `~` and environment variables are expanded.

    Raises:
        ConfigError: a value names no folder.
    """
    key = "data.root" if root else "CLBENCH_DATA"
    given = (root or os.environ.get("CLBENCH_DATA", "")).split(os.pathsep)
    folders = [expanded(folder.strip(), key, "FOLDER") for folder in given if folder.strip()]
    if not root and not os.path.expanduser(CACHE).startswith("~"):  # a user without a home folder has no cache
        folders.append(os.path.expanduser(CACHE))
    return [Path(folder).absolute() for folder in folders]


def find(search: Sequence[Path], relative: str, name: str, how_to_get: str) -> Path:
    """Return the first existing `folder / relative`, a file or a folder. An absolute path is returned itself.

    Args:
        search: folders, in order.
        relative: path below each folder.
        name: of the data set, for the message.
        how_to_get: the remedy of the message.

    Raises:
        DataError: no folder has it.
    """
    return find_all(search, [relative], name, how_to_get) / relative


def find_all(search: Sequence[Path], relatives: Iterable[str], name: str, how_to_get: str) -> Path:
    """Return the first folder of `search` that holds all of `relatives`; arguments and errors as for `find`."""
    wanted = list(relatives)
    lacking = {folder: [r for r in wanted if not os.path.exists(folder / r)] for folder in search}
    for folder, missing in lacking.items():
        if not missing:
            return folder
    if not lacking:
        raise DataError(f"{name}: the search path for data is empty", "give data.root=FOLDER, or set CLBENCH_DATA")
    nearest = min(lacking, key=lambda folder: len(lacking[folder]))
    if len(lacking[nearest]) == len(wanted):
        places = ", ".join(str(folder) for folder in lacking)
        raise DataError(f"{name}: {wanted[0]} was not found (looked in {places})", how_to_get)
    raise DataError(f"{name}: {lacking[nearest][0]} is missing in {nearest}, which holds other files of the data set", how_to_get)


def verify(path: Path, expected: str, algorithm: str = "sha256", how_to_get: str = "") -> None:
    """Check a file against its declared digest.

    Args:
        path: the file.
        expected: hexadecimal digest.
        algorithm: `sha256`, or `md5` if the source publishes no sha256.
        how_to_get: the remedy of the message.

    Raises:
        DataError: the file is missing, cannot be read, or is not the declared one.
    """
    found = digest(path, algorithm)
    if found != expected:
        size = os.path.getsize(path)
        raise DataError(
            f"{path} is damaged or another file: its {algorithm} is {found} ({size} bytes), expected {expected}",
            f"delete or replace {path}: {how_to_get}" if how_to_get else f"replace {path}",
        )


def verify_unpacked(path: Path, archive: Path, member: str, how_to_get: str = "") -> None:
    """Check an unpacked file, which has no published digest, against its verified archive.

    Args:
        path: the unpacked file.
        archive: a .gz file, or a .zip file whose members are .gz files.
        member: name within the .zip file; empty for a .gz file.
        how_to_get: the remedy of the message.

    Raises:
        DataError: a file is missing or cannot be read, or the two differ.
    """
    try:
        expected = _unpacked_digest(archive, member, *_stamp(archive))
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}", how_to_get) from error
    verify(path, expected, "sha256", how_to_get)


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file; an unchanged file is read once per process.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        return _file_digest(path, algorithm, *_stamp(path))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", "check that it exists, and its permissions"
        ) from error


def folder_digest(folder: Path) -> str:
    """Return a sha256 over the names and contents of all files below `folder`, without hidden files.

    Raises:
        DataError: a file cannot be read.
    """
    total = hashlib.sha256()
    for path in visible_files(folder):
        total.update(f"{path.relative_to(folder).as_posix()}\0{digest(path)}\n".encode())
    return total.hexdigest()


def visible_files(folder: Path) -> list[Path]:
    """Return all files below `folder`, sorted by relative path; names that start with a dot are skipped."""
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def matching(path: str, pattern: str, search: Sequence[Path], name: str) -> list[Path]:
    """Return the file at `path`, or the files `pattern` in the folder `path`, sorted by name. The first folder with any wins.

    Arguments and errors as for `find`.
    """
    path = expanded(path, "path", "FILE") if path else path
    for folder in search:
        place = folder / path
        if place.is_file():
            return [place]
        if place.is_dir() and (found := sorted(place.glob(pattern))):
            return found
    places = ", ".join(str(folder / path) for folder in search)
    raise DataError(
        f"data set {name}: no text at {places}", f"put a file there, or a folder with files named {pattern} (docs/data.md)"
    )


def find_own(path: Any, search: Sequence[Path], name: str, layout: str = "") -> Path:
    """Return the path of the user's own file or folder: relative to the working folder, then to the search path.

    Args:
        path: as configured.
        search: folders to look in.
        name: of the data set, for the message.
        layout: the required files, for the message.

    Raises:
        ConfigError: no path was given.
        DataError: the path does not exist.
    """
    if not path or not isinstance(path, str):
        raise ConfigError(
            f"data set {name}: path={path!r} names no file or folder",
            "give scenario.dataset.path=PATH, absolute, or relative to the working folder or to the search path for data",
        )
    return find(
        [Path.cwd(), *search],
        expanded(path, "path", "FILE"),
        name,
        f"put it there: {layout} (docs/data.md)"
        if layout
        else "correct scenario.dataset.path, or put it there (docs/data.md describes each layout)",
    )


def writable(search: Sequence[Path], folder: str, name: str) -> Path:
    """Return the last folder of the search path with a writable subfolder `folder`, which is created if missing.

    Raises:
        DataError: no folder is writable; `name` is the data set's, for the message.
    """
    for place in reversed(search):
        try:
            (place / folder).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place / folder).close()
        except OSError:
            continue
        return place
    raise DataError(
        f"data set {name}: its {folder} must be stored, and no folder of the search path is writable",
        "add a writable folder at the end of data.root, separated as in PATH: data.root=DATA_FOLDERS:FOLDER",
    )


def _stamp(path: Path) -> tuple[int, int]:
    """Return the size of a file in bytes and the time of its last change in nanoseconds."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


@functools.cache
def _file_digest(path: Path, algorithm: str, size: int, changed: int) -> str:
    with open(path, "rb") as file, _shown(path, file, size):
        return hashlib.file_digest(file, algorithm).hexdigest()


def _shown(path: Path, file: Any, size: int | None) -> AbstractContextManager[None]:
    """Show how far a file is read; a file below `LARGE` bytes is read in less than the time of a message."""
    if size is not None and size < LARGE:
        return nullcontext()
    total = None if size is None else size // 1_000_000
    return long_call(f"checksum of {path}", lambda: int(file.tell()) // 1_000_000, total, "MB")


@functools.cache
def _unpacked_digest(archive: Path, member: str, size: int, changed: int) -> str:
    if not member:
        with gzip.open(archive) as plain, _shown(archive, plain, None if size >= LARGE else size):
            return hashlib.file_digest(cast(Any, plain), "sha256").hexdigest()
    with zipfile.ZipFile(archive) as zipped, zipped.open(member) as packed, gzip.open(packed) as plain:
        return hashlib.file_digest(cast(Any, plain), "sha256").hexdigest()
