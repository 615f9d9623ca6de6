"""The result store: one JSON file per run, named by the hash of the run's identity.

Nothing here needs torch, and reading never executes code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clbench.errors import StoreError
from clbench.utils import atomic

FORMAT = 1
"""Version of the record's layout; files of another version are refused."""


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
        return hashlib.sha256(canonical([self.identity, self.result, self.cost, self.provenance]).encode()).hexdigest()

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


def write(record: Record, results_dir: Path) -> Path:
    """Store `record` atomically and durably; an existing record stays unchanged.

    Raises:
        StoreError: the folder cannot be written (no permission, disk full), or a part of the record is not plain finite
            JSON. No incomplete file remains.
    """
    results_dir = Path(results_dir)
    try:
        path = record_path(results_dir, record.id)
        body = {
            "format": FORMAT,
            "id": record.id,
            "config_id": record.config_id,
            "identity": record.identity,
            "result": record.result,
            "cost": record.cost,
            "provenance": record.provenance,
            "sha256": record.digest,
        }
        content = json.dumps(body, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"a record cannot be stored in {results_dir}: {error}",
            "configuration and diagnostics must be plain finite numbers, strings and lists",
        ) from error
    atomic.write(
        path,
        content,
        name="the record",
        remedy="free space or choose another results_dir; the checkpoint is kept: start the same command again",
        final=True,
    )
    return path


def read(path: Path) -> Record:
    """Read one record.

    Raises:
        StoreError: the file cannot be read, is not JSON, has another format, or its name or content was changed.
    """
    try:
        body = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise StoreError(
            f"the record {path} cannot be read: {error.strerror or error}", "check the file's permissions"
        ) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, cut short, NaN
        raise StoreError(
            f"the record {path} is damaged (not valid JSON: {error})",
            "move the file out of the results folder and start the same command again",
        ) from error
    remedy = "move the file out of the results folder, or read it with the version that wrote it"
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        found = body.get("format") if isinstance(body, dict) else None
        raise StoreError(f"{path} is not a clbench record of format {FORMAT} (found format: {found})", remedy)
    parts = [body.get(name) for name in ("identity", "result", "cost", "provenance")]
    if not all(isinstance(part, dict) for part in parts) or not isinstance(body["identity"].get("seed"), int):
        raise StoreError(f"{path} lacks a part of a record (identity with a seed, result, cost, provenance)", remedy)
    record = Record(*parts)  # type: ignore[arg-type]
    if body.get("id") != record.id:
        raise StoreError(
            f"{path}: the identity was changed after the record was written (id {body.get('id')}, content says {record.id})",
            remedy,
        )
    if body.get("sha256") != record.digest:
        raise StoreError(
            f"{path}: its content was changed after it was written (sha256 of the content is "
            f"{record.digest[:12]}, the file declares {str(body.get('sha256'))[:12]})",
            "move the file out of the results folder and start the same command again",
        )
    if Path(path).stem != record.id:  # a copy next to the original would count one seed twice
        raise StoreError(
            f"{path}: the file was renamed or copied (the record is {record.id})",
            f"name it {record.id}.json, or move it out of the results folder if that file is there too",
        )
    return record


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
