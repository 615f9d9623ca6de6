"""The result store: one JSON file per run, named by the hash of the run's identity.

Nothing here needs torch, and reading never executes code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clbench.errors import StoreError
from clbench.utils import atomic

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
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


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
    remedy = "free space or choose another results_dir; the checkpoint is kept: start the same command again"
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
        content = json.dumps(body, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
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
        StoreError: the file cannot be read, is not JSON, has another format, or its name or content was changed.
    """
    try:
        body = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise StoreError(
            f"the {noun} {path} cannot be read: {error.strerror or error}", "check the file's permissions"
        ) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, cut short, NaN
        raise StoreError(f"the {noun} {path} is damaged (not valid JSON: {error})", again) from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        found = body.get("format") if isinstance(body, dict) else None
        raise StoreError(f"{path} is not a clbench {noun} of format {FORMAT} (found format: {found})", other)
    parts = [body.get(name) for name in names]
    if not all(isinstance(part, dict) for part in parts) or not isinstance(body["identity"].get("seed"), int):
        raise StoreError(f"{path} lacks a part of a {noun} (identity with a seed, {', '.join(names[1:])})", other)
    run, digest = identity_hash(body["identity"]), _digest(parts)
    if body.get("id") != run:
        raise StoreError(
            f"{path}: the identity was changed after the {noun} was written (id {body.get('id')}, content says {run})", other
        )
    if body.get("sha256") != digest:
        raise StoreError(
            f"{path}: its content was changed after it was written (sha256 of the content is "
            f"{digest[:12]}, the file declares {str(body.get('sha256'))[:12]})",
            again,
        )
    if Path(path).stem != run:  # a copy next to the original would count one seed twice
        raise StoreError(
            f"{path}: the file was renamed or copied (the {noun} is {run})",
            f"name it {run}.json, or move it out of the results folder if that file is there too",
        )
    return parts  # type: ignore[return-value]


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.sha256(canonical(list(parts)).encode()).hexdigest()


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
    for path in record_files(results_dir):
        try:
            records.append(read(path))
        except StoreError as error:
            errors.append(error)
    return records, errors


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, leaf) of nested dictionaries; lists are leaves."""
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{path}.")
        else:
            yield path, value
