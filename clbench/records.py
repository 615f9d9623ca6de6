"""The result store: one JSON file per run, named by the hash of the run's identity.

Nothing here needs torch, and reading never executes code.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clbench.errors import StoreError
from clbench.utils import atomic, json_layout, safe_json
from clbench.utils.regular_files import read_bytes
from clbench.utils.safe_json import brief, escaped

FORMAT = 1
"""Version of the record's layout; files of another version are refused."""
PARTS = ("identity", "result", "cost", "provenance")
"""Parts of a record."""


@dataclass
class Record:
    """One finished run: one configuration with one seed.

    Args:
        identity: everything that determines the result: the resolved configuration without runner, logger, paths and device; the
            seed; the sha256 of the data, and of the data for general ability, if it is measured.
        result: columns, events, matrix of integers, curves, diagnostics. Equal bit for bit when repeated.
        cost: seconds, samples per second, peak memory, bytes of method state, parameters.
        provenance: git commit, versions, device, time, and the name of the variant.
    """

    identity: dict[str, Any]
    result: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Name of this run: hash of its identity."""
        return identity_hash(self.identity)

    @property
    def config_id(self) -> str:
        """Name of its configuration: hash of its identity without the seed."""
        return config_hash(self.identity)

    @property
    def digest(self) -> str:
        """The sha256 of the whole record; it reveals an edited number when the file is read."""
        return _digest([getattr(self, name) for name in PARTS])

    @property
    def seed(self) -> int:
        """The seed of this run."""
        return int(self.identity["seed"])


def identity_hash(identity: dict[str, Any]) -> str:
    """Return 32 hex digits that name `identity`; the order of keys does not matter."""
    return hashlib.sha256(canonical(identity).encode()).hexdigest()[:32]


def config_hash(identity: dict[str, Any]) -> str:
    """Return 16 hex digits that name all runs that differ from `identity` only in the seed."""
    rest = {key: value for key, value in identity.items() if key != "seed"}
    return hashlib.sha256(canonical(rest).encode()).hexdigest()[:16]


def canonical(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces; NaN and infinity are refused."""
    return _ENCODER.encode(value)


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def record_path(results_dir: Path, record_id: str) -> Path:
    """Return the path of the record with that id."""
    return Path(results_dir) / f"{record_id}.json"


def write(record: Record, results_dir: Path, replace: bool = False) -> Path:
    """Store `record` atomically and durably.

    Args:
        record: of a finished run.
        results_dir: folder of the records.
        replace: whether an existing record is replaced; otherwise it stays unchanged.

    Raises:
        StoreError: the folder cannot be written (no permission, disk full), or a part of the record is not plain finite
            JSON. No incomplete file remains.
    """
    remedy = "choose another results_dir; the checkpoint is kept: start the same command again"
    return write_file(Path(results_dir), {name: getattr(record, name) for name in PARTS}, "record", remedy, replace)


def read(path: Path) -> Record:
    """Read one record.

    Raises:
        StoreError: the file cannot be read, is not JSON, has another format, or its name or content was changed.
    """
    again = "move the file out of the results folder and start the same command again"
    other = "move the file out of the results folder, or read it with the version that wrote it"
    return Record(*load_file(path, PARTS, "record", again, other))


def write_file(folder: Path, parts: dict[str, Any], noun: str, remedy: str, replace: bool) -> Path:
    """Write a file about one run atomically: its identity, other parts, and their sha256. Return its path, `folder/ID.json`.

    Args:
        folder: is made if needed.
        parts: `identity` first, in the order in which `load_file` gets their names.
        noun: kind of the file, for messages.
        remedy: of a file that cannot be written.
        replace: whether an existing file is replaced.

    Raises:
        StoreError: the file cannot be written, or a part is not plain finite JSON. No incomplete file remains.
    """
    identity = parts["identity"]
    try:
        names: dict[str, Any] = {"format": FORMAT, "id": identity_hash(identity), "config_id": config_hash(identity)}
        path = record_path(folder, names["id"])
        body = {**names, **parts, "sha256": _digest(list(parts.values()))}
        content = f"{json_layout.dumps(body)}\n".encode()
        if len(content) > safe_json.LARGEST:
            content = f"{json.dumps(body, separators=(',', ':'), allow_nan=False, ensure_ascii=False)}\n".encode()
        safe_json.parse(content)  # a file that nobody can read is no record
        fault = _refusal(parts)
        if fault:
            raise ValueError(fault)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"a {noun} cannot be stored in {folder}: {error}",
            "configuration and diagnostics must be plain finite numbers, strings and lists",
        ) from error
    atomic.write(path, content, name=f"the {noun}", remedy=remedy, final=not replace)
    return path


def load_file(path: Path, names: Sequence[str], noun: str, again: str, other: str) -> list[dict[str, Any]]:
    """Return the parts of a file that `write_file` wrote, checked.

    Args:
        path: of the file, which has the run's id as its name.
        names: of the parts, `identity` first.
        noun: kind of the file, for messages.
        again: remedy for a damaged file.
        other: remedy for a file of another kind or version.

    Raises:
        StoreError: the file cannot be read, is no regular file, is too large, is not JSON, has another format, its name or
            content was changed, or it holds a value that no run writes.
    """
    shown = escaped(path)
    try:
        content = read_bytes(Path(path), safe_json.LARGEST)
        body = safe_json.parse(content)
    except OSError as error:
        remedy = "check the file's permissions" if error.errno in (errno.EACCES, errno.EPERM) else again
        raise StoreError(f"the {noun} {shown} cannot be read: {error.strerror or error}", remedy) from error
    except (ValueError, RecursionError, MemoryError) as error:  # not UTF-8, not JSON, cut short, NaN, nested without end
        raise StoreError(f"the {noun} {shown} is damaged ({_spoken(error)})", again) from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        found = body.get("format") if isinstance(body, dict) else None
        raise StoreError(f"{shown} is not a clbench {noun} of format {FORMAT} (found format: {brief(found)})", other)
    parts = {name: body.get(name) for name in names}
    if not all(isinstance(part, dict) for part in parts.values()) or not isinstance(body["identity"].get("seed"), int):
        raise StoreError(f"{shown} lacks a part of a {noun} (identity with a seed, {', '.join(names[1:])})", other)
    try:
        texts = [canonical(part).encode() for part in parts.values()]
        run, digest = _hex(texts[0])[:32], _hex(b"[" + b",".join(texts) + b"]")
        head = canonical({key: value for key, value in body.items() if key not in parts}).encode()
        plain = (
            safe_json.without_space(head) + sum(map(safe_json.without_space, texts)) + sum(len(f',"{name}":') for name in names)
        )
        if plain != safe_json.without_space(content):  # numbers or strings are spelt differently, or a key is repeated
            safe_json.refuse_repeated_keys(content)
    except (ValueError, RecursionError, MemoryError) as error:  # infinity (as 1e999), half a surrogate pair
        raise StoreError(f"the {noun} {shown} is damaged ({_spoken(error)})", again) from error
    if body.get("id") != run:
        raise StoreError(
            f"{shown}: the identity was changed after the {noun} was written (id {brief(body.get('id'))}, content says {run})",
            other,
        )
    if body.get("sha256") != digest:
        raise StoreError(
            f"{shown}: its content was changed after it was written (sha256 of the content is "
            f"{digest[:12]}, the file declares {brief(body.get('sha256'), 12)})",
            again,
        )
    if Path(path).stem != run:  # a copy next to the original would count one seed twice
        raise StoreError(
            f"{shown}: the file was renamed or copied (the {noun} is {run})",
            f"name it {run}.json, or move it out of the results folder if that file is there too",
        )
    fault = _refusal(parts)
    if fault:
        raise StoreError(f"the {noun} {shown} holds a value that no run writes: {fault}", again)
    return list(parts.values())  # type: ignore[arg-type]


def _digest(parts: Sequence[Any]) -> str:
    return _hex(canonical(list(parts)).encode())


def _hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _refusal(parts: dict[str, Any]) -> str | None:
    """Return what is wrong with the values of a file, or None."""
    from clbench.store.schema import refusal  # pydantic: a tenth of a second that `clbench --help` does not need

    return refusal(parts)


def _spoken(error: BaseException) -> str:
    """Return why a text is no record, in words."""
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, RecursionError):
        return "too many lists or objects within each other"
    if isinstance(error, UnicodeEncodeError):
        return "half a surrogate pair in a string"
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
        return f"not valid JSON: {escaped(error)}"
    return "a number that is not finite" if "Out of range float" in str(error) else escaped(error)


def record_files(results_dir: Path) -> list[Path]:
    """Return the JSON files of a results folder, sorted by name.

    Raises:
        StoreError: the folder does not exist or cannot be listed.
    """
    try:
        paths = sorted(Path(results_dir).iterdir())
    except OSError as error:
        raise StoreError(
            f"the results folder results_dir={results_dir} cannot be read: {error.strerror or error}",
            "name a folder that clbench has written to, or check its permissions",
        ) from error
    return [path for path in paths if path.suffix == ".json" and not path.name.startswith(".")]


def load_all(results_dir: Path) -> tuple[list[Record], list[StoreError]]:
    """Return all readable records of a folder, and an error for each unreadable one."""
    records: list[Record] = []
    errors: list[StoreError] = []
    with _no_collection():
        for path in record_files(results_dir):
            try:
                records.append(read(path))
            except StoreError as error:
                errors.append(error)
    return records, errors


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the search for unreachable cycles: JSON has none, and the search takes a tenth of the time of reading."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, leaf) of nested dictionaries; lists are leaves."""
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{path}.")
        else:
            yield path, value
