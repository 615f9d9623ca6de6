"""Where data files are found, and whether they are what was declared. Nothing here needs torch or a network."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from clbench.errors import ConfigError, DataError

CACHE = "~/.cache/clbench"
"""The user's own folder for data: last on the search path, and where downloads go."""
MAKING_OF_FEATURES = ("network", "files", "size", "input_mean", "input_std")
"""Keys of `clbench.data.sources.Features` that its content depends on, beside the data set it is made of."""
NOT_MAKING_OF_TEXTS = ("path", "name", "_target_", "layout", "mean", "std", "crop", "flip", "image")
"""Keys of a `clbench.data.sources.Text` that its content does not depend on."""


def search_path(root: str | None) -> list[Path]:
    """Return the folders to look for data in, first to last, as absolute paths that need not exist.

    Args:
        root: the configuration's `data.root`: folders joined by `os.pathsep`; None or empty: those of the environment
            variable CLBENCH_DATA, then the user's cache folder.
    """
    folders = (root or os.environ.get("CLBENCH_DATA", "")).split(os.pathsep)
    if not root:
        folders.append(CACHE)
    return [Path(folder.strip()).expanduser().absolute() for folder in folders if folder.strip()]


def find(search: Sequence[Path], relative: str, name: str, how_to_get: str) -> Path:
    """Return the first existing `folder / relative` (a file or a folder; an absolute path stands for itself).

    Args:
        search: folders, first to last.
        relative: what to look for in each.
        name: of the data set, for the message.
        how_to_get: the remedy of the message.

    Raises:
        DataError: it is in none of them.
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
        algorithm: `sha256`, or `md5` where that is all its source publishes.
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
    """Check a file against the (verified) archive it was unpacked from, where no digest of the file is published.

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
    """Return a sha256 over the names and contents of all files below `folder`; hidden ones do not count.

    Raises:
        DataError: a file cannot be read.
    """
    total = hashlib.sha256()
    for path in visible_files(folder):
        total.update(f"{path.relative_to(folder).as_posix()}\0{digest(path)}\n".encode())
    return total.hexdigest()


def visible_files(folder: Path) -> list[Path]:
    """Return all files below `folder`, sorted by relative path; names that start with a dot are passed over."""
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def data_sha256(dataset: Mapping[str, Any], search: Sequence[Path]) -> str:
    """Return the digest that stands for a data set in the identity of a trial.

    In this order: the declared `content_sha256`; for data that is generated a digest over the settings of its generator,
    whose version `generated` names; for features of another data set (`of`) a digest over that one's, the network, its weights
    and the preprocessing; a digest over the declared sums of all files (`files`: sha256, `md5`) or of whole folders (`folders`:
    see `folder_digest`); for one's own data the digest, taken now, of the file or folder at `path`, or of the files that are read
    there (`pattern`). Declared sums are checked when the data is loaded. For texts (`tokenizer`) a digest over that and all
    that makes tokens of them.

    Args:
        dataset: the data set's configuration node, or the fields of the source made from it.
        search: folders to look for `path` in, after the working folder.

    Raises:
        ConfigError: nothing is declared and no `path` is given.
        DataError: what `path` names, or a tokenizer's folder, is missing or cannot be read.
    """
    if dataset.get("tokenizer") is None:
        return _content(dataset, search)
    from clbench.data.tokenizers import tokenizer_sha256

    making: dict[str, Any] = {key: value for key, value in dataset.items() if key not in NOT_MAKING_OF_TEXTS}
    making |= {"content": _content(dataset, search), "tokenizer": tokenizer_sha256(str(dataset["tokenizer"]), search)}
    return hashlib.sha256(json.dumps(making, sort_keys=True, default=str).encode()).hexdigest()


def _content(dataset: Mapping[str, Any], search: Sequence[Path]) -> str:
    """Return the digest of what a data set's files hold, as `data_sha256` describes."""
    if dataset.get("content_sha256"):
        return str(dataset["content_sha256"])
    if dataset.get("generated"):
        settings = {key: value for key, value in dataset.items() if key not in ("_target_", "name")}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    if dataset.get("of") is not None:
        inner = dataset["of"] if isinstance(dataset["of"], Mapping) else vars(dataset["of"])
        recipe = {key: dataset.get(key) for key in MAKING_OF_FEATURES} | {"of": data_sha256(inner, search)}
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    declared = {key: dict(dataset[key]) for key in ("files", "md5", "folders") if dataset.get(key)}
    if declared:
        return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()
    if "path" not in dataset:
        raise ConfigError(
            f"data set {dataset.get('name')}: nothing says what its content is",
            "declare content_sha256, or files (sha256 by relative path), or md5, or folders, or give it a path",
        )
    if dataset.get("pattern"):
        read = matching(str(dataset["path"]), str(dataset["pattern"]), search, str(dataset.get("name")))
        return hashlib.sha256("\n".join(digest(path) for path in read).encode()).hexdigest()
    path = find_own(dataset.get("path"), search, str(dataset.get("name", "the data set")), str(dataset.get("layout") or ""))
    return folder_digest(path) if path.is_dir() else digest(path)


def matching(path: str, pattern: str, search: Sequence[Path], name: str) -> list[Path]:
    """Return the file at `path`, or the files `pattern` of the folder there, sorted by name: in the first place that has any.

    Arguments and errors as for `find`.
    """
    for folder in search:
        place = folder / path
        if place.is_file():
            return [place]
        if place.is_dir() and (found := sorted(place.glob(pattern))):
            return found
    places = ", ".join(str(folder / path) for folder in search)
    raise DataError(
        f"data set {name}: no text at {places}", f"put a file there, or a folder with some of the names {pattern} (docs/data.md)"
    )


def find_own(path: Any, search: Sequence[Path], name: str, layout: str = "") -> Path:
    """Return where the file or folder of one's own data is: relative to the working folder, then to the search path.

    Args:
        path: as configured.
        search: folders to look in.
        name: of the data set, for the message.
        layout: what has to be there, for the message.

    Raises:
        ConfigError: no path was given.
        DataError: nothing is there.
    """
    if not path or not isinstance(path, str):
        raise ConfigError(
            f"data set {name}: path={path!r} names no file or folder",
            "give scenario.dataset.path=PATH, absolute, or relative to the working folder or to the search path for data",
        )
    return find(
        [Path.cwd(), *search],
        os.path.expanduser(path),
        name,
        f"put it there: {layout} (docs/data.md)"
        if layout
        else "correct scenario.dataset.path, or put it there (docs/data.md describes each layout)",
    )


def writable(search: Sequence[Path], folder: str, name: str) -> Path:
    """Return the last folder of the search path in whose subfolder `folder`, made if need be, a file can be made.

    Raises:
        DataError: there is none; `name` is the data set's, for the message.
    """
    for place in reversed(search):
        try:
            (place / folder).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place / folder).close()
        except OSError:
            continue
        return place
    raise DataError(
        f"data set {name}: no folder of the search path can be written, and its {folder} have to be kept somewhere",
        "give a folder that can: data.root=FOLDER, after those that hold the data, separated as in PATH",
    )


@contextmanager
def lock(place: Path) -> Iterator[None]:
    """Let one process at a time write into the folder `place`; the lock ends with the process, however that ends."""
    try:
        import fcntl
    except ImportError:  # a system without it: each process works for itself, the result is the same
        yield
        return
    with open(place / ".download.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file does: its size in bytes and the time of its last change in nanoseconds."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


@functools.cache
def _file_digest(path: Path, algorithm: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@functools.cache
def _unpacked_digest(archive: Path, member: str, size: int, changed: int) -> str:
    if not member:
        with gzip.open(archive) as plain:
            return hashlib.file_digest(cast(Any, plain), "sha256").hexdigest()
    with zipfile.ZipFile(archive) as zipped, zipped.open(member) as packed, gzip.open(packed) as plain:
        return hashlib.file_digest(cast(Any, plain), "sha256").hexdigest()
