"""An index of a results folder: what was worked out from each file, kept as long as the file stays the same.

The index is an SQLite database. It saves time and nothing else. It may be deleted at any time. If anything is wrong with it, the
files are read instead. An entry belongs to a file's name, size, inode, and times of the last change (of the content and of the
inode). A copied folder has other inodes and other times, so an index that somebody sends along is not believed.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from urllib.parse import quote

NAME = ".index.sqlite"
"""Name of the file in the results folder."""
WORTHWHILE = 200
"""Smallest number of files for which an index is written: fewer files are read in a tenth of a second."""
SETTLED = 2_000_000_000
"""Nanoseconds since the last change of a file before its content is kept. A file may change twice within one tick of the clock of
its file system; the coarsest tick is that of FAT, two seconds."""
PATIENCE = 0.2
"""Seconds to wait for another process that writes the index."""
LARGEST = 2**31
"""Bytes; a larger file is not opened."""
COMPANIONS = ("-journal", "-wal", "-shm")
"""Endings of the files that SQLite opens beside a database."""
CONTENT = {
    "about": "CREATE TABLE about (version TEXT)",
    "entries": "CREATE TABLE entries (name TEXT PRIMARY KEY, fingerprint TEXT, entry TEXT, digest BLOB)",
    "texts": "CREATE TABLE texts (key TEXT PRIMARY KEY, content TEXT)",
}
"""The tables. A file with other ones is not an index of this version."""

Fingerprint = str


@dataclass(frozen=True)
class Fresh:
    """What was worked out from a file.

    Args:
        fingerprint: of the file, taken before it was read.
        entry: the text to keep.
        key: name of a further text that several files may share.
        content: the further text.
    """

    fingerprint: Fingerprint
    entry: str
    key: str
    content: str


def fingerprint(path: str | os.PathLike[str]) -> Fingerprint | None:
    """Return what changes whenever the file at `path` changes; None if that cannot be told (yet)."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    newest = max(found.st_mtime_ns, found.st_ctime_ns)
    if not stat.S_ISREG(found.st_mode) or newest > time_ns() - SETTLED:
        return None
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


def entries(folder: Path, version: str) -> dict[str, tuple[Fingerprint, str]]:
    """Return {name of a file: (its fingerprint, the kept text)}; empty without a usable index.

    Args:
        folder: of the results.
        version: of the program that works the texts out; those of another version are not returned.
    """
    found: dict[str, tuple[Fingerprint, str]] = {}
    with suppress(sqlite3.Error, OSError, TypeError, ValueError, MemoryError), closing(_open(folder / NAME, "ro")) as base:
        if _version(base) == version:
            for name, mark, entry, digest in base.execute("SELECT name, fingerprint, entry, digest FROM entries"):
                if digest == _digest(name, mark, entry):
                    found[name] = (mark, entry)
        return found
    return {}


def texts(folder: Path, check: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Yield (key, further text) of the index as far as it can be read.

    Args:
        folder: of the results.
        check: returns the right key of a text; a text with another key is left out.
    """
    with suppress(sqlite3.Error, OSError, TypeError, ValueError, MemoryError), closing(_open(folder / NAME, "ro")) as base:
        for key, content in base.execute("SELECT key, content FROM texts"):
            if check(content) == key:
                yield key, content


def update(folder: Path, version: str, fresh: Mapping[str, Fresh], gone: Iterable[str]) -> None:
    """Keep the texts in `fresh`, by the name of their file, and forget the files in `gone`. Without success nothing changes.

    Args:
        folder: of the results.
        version: of the program; an index of another version is replaced.
        fresh: texts to keep.
        gone: names to forget.
    """
    path = folder / NAME
    with suppress(sqlite3.Error, OSError, TypeError, ValueError):
        if os.path.lexists(path) and not _ours(path, version):
            os.unlink(path)
        with closing(_open(path, "rwc")) as base:
            base.execute("BEGIN IMMEDIATE")
            found = _version(base)
            if found not in (None, version):  # another version of the program has made an index meanwhile
                return
            if found is None:
                for statement in CONTENT.values():
                    base.execute(statement)
                base.execute("INSERT INTO about VALUES (?)", (version,))
            base.executemany("DELETE FROM entries WHERE name = ?", ((name,) for name in gone))
            base.executemany(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)",
                (
                    (name, each.fingerprint, each.entry, _digest(name, each.fingerprint, each.entry))
                    for name, each in fresh.items()
                ),
            )
            base.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", ((each.key, each.content) for each in fresh.values()))
            base.execute("COMMIT")


def _ours(path: Path, version: str) -> bool:
    """Return whether a file is an index of this version, or may be one.

    Raises:
        OSError: it is no regular file.
        sqlite3.Error: another process is writing it.
    """
    try:
        with closing(_open(path, "rw")) as base:
            return _version(base) == version
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:  # another kind of file, or a damaged one
        return False


def _open(path: Path, mode: str) -> sqlite3.Connection:
    """Open the database; what is no regular file is refused.

    Raises:
        OSError: there is no such file, or it is no regular file, or it is too large.
        sqlite3.Error: it is locked or no database.
    """
    if mode != "rwc" or os.path.lexists(path):
        about = os.lstat(path)
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
            raise OSError(f"{path} is no index")
    for ending in COMPANIONS:
        beside = path.with_name(path.name + ending)
        if os.path.lexists(beside) and not stat.S_ISREG(os.lstat(beside).st_mode):  # SQLite would wait for ever for a FIFO
            raise OSError(f"{beside} is no part of an index")
    where = f"file:{quote(os.fspath(path.absolute()))}?mode={mode}"
    base = sqlite3.connect(where, uri=True, timeout=PATIENCE, isolation_level=None)
    base.execute("PRAGMA trusted_schema = OFF")
    return base


def _version(base: sqlite3.Connection) -> str | None:
    """Return the version of an index; None for an empty database, an empty text for another one."""
    tables = dict(base.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    if not tables:
        return None
    if tables != CONTENT:
        return ""
    found = base.execute("SELECT version FROM about").fetchall()
    return found[0][0] if len(found) == 1 and isinstance(found[0][0], str) else ""


def _digest(name: str, mark: str, entry: str) -> bytes:
    return hashlib.sha256("\0".join((name, mark, entry)).encode()).digest()
