"""Failed runs: one small JSON file each in `results_dir/failed`, so that the seeds that ended are not taken for all seeds.

A finished record always wins: the file of a failure counts only while the run has no record.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from clbench.errors import StoreError
from clbench.records import config_hash, identity_hash, load_file, record_path, write_file
from clbench.utils.own_code import source_sha256
from clbench.utils.safe_json import escaped

FOLDER = "failed"
"""Folder within the results folder."""
NOUN = "failure record"
REMEDY = "delete the file; the same command then trains the run again"
LONGEST = 20_000
"""Characters of a reason or a remedy."""


class Kind(StrEnum):
    """Why a run failed."""

    DIVERGED = "diverged"
    """The loss was not finite."""
    ERROR = "error"
    """An exception in training."""
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    """`runner.time_limit` was over."""
    KILLED = "killed"
    """The process ended."""
    SYSTEM = "system"
    """A file or an installed package was missing or could not be read."""


OF_THE_CODE = (Kind.DIVERGED, Kind.ERROR)
"""Kinds that the same code repeats on any machine. The other kinds depend on the machine."""


@dataclass
class Failure:
    """One failed run: one configuration with one seed.

    Args:
        identity: as in `clbench.records.Record.identity`.
        failure: `kind` (`Kind`), `reason`, `remedy`; the `task` that was learned, the `step` within it and the number of measured
            `events`, each None if unknown; `setting`, `access` and `goal` of the stream, None if it was not built yet.
        provenance: time, version, commit and source of clbench, and the name of the variant.
    """

    identity: dict[str, Any]
    failure: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Name of the run: hash of its identity."""
        return identity_hash(self.identity)

    @property
    def config_id(self) -> str:
        """Name of its configuration: hash of its identity without the seed."""
        return config_hash(self.identity)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.identity["seed"])

    @property
    def kind(self) -> str:
        """Why the run failed; a later version of clbench may know more than `Kind`."""
        return str(self.failure["kind"])

    @property
    def reason(self) -> str:
        """What went wrong, in one line."""
        return str(self.failure["reason"])

    @property
    def remedy(self) -> str:
        """What the user can do; may be empty."""
        return str(self.failure.get("remedy") or "")

    @property
    def of_the_code(self) -> bool:
        """Whether the same code would fail again on any machine."""
        return self.kind in OF_THE_CODE

    @property
    def same_code(self) -> bool:
        """Whether the package's source is still the one that failed."""
        return self.provenance.get("source") == source_sha256()


def failure_path(results_dir: Path, run: str) -> Path:
    """Return the path of the failure of the run with that id."""
    return Path(results_dir) / FOLDER / f"{run}.json"


def write_failure(failure: Failure, results_dir: Path) -> Path:
    """Store `failure` atomically; an earlier failure of the same run is replaced.

    The reason of a foreign exception may be of any length, and may hold bytes of file names that are not text. It is cut after
    `LONGEST` characters, and such bytes are escaped.

    Raises:
        StoreError: the folder cannot be written, or a part is not plain finite JSON.
    """
    texts = {key: _text(value) for key, value in failure.failure.items() if key in ("reason", "remedy") and value}
    parts = {"identity": failure.identity, "failure": {**failure.failure, **texts}, "provenance": failure.provenance}
    return write_file(Path(results_dir) / FOLDER, parts, NOUN, "choose another results_dir", replace=True)


def read_failure(path: Path) -> Failure:
    """Read one failure.

    Raises:
        StoreError: the file cannot be read, is not JSON, has another format, or its name or content was changed.
    """
    failure = Failure(*load_file(path, ("identity", "failure", "provenance"), NOUN, REMEDY, REMEDY))
    names = failure.identity.get("names")
    named = isinstance(names, dict) and all(isinstance(names.get(key), str) for key in ("scenario", "model", "method"))
    if not named or not all(isinstance(failure.failure.get(key), str) for key in ("kind", "reason")):
        raise StoreError(f"{escaped(path)} lacks a part of a {NOUN} (names of scenario, model and method, kind, reason)", REMEDY)
    return failure


def load_failures(results_dir: Path) -> tuple[list[Failure], list[StoreError]]:
    """Return the failures of a results folder whose runs have no record, and an error for each unreadable one."""
    found: list[Failure] = []
    errors: list[StoreError] = []
    for path in failure_files(results_dir):
        if os.path.lexists(record_path(results_dir, path.stem)):
            continue
        try:
            found.append(read_failure(path))
        except StoreError as error:
            errors.append(error)
    return found, errors


def failure_files(results_dir: Path) -> list[Path]:
    """Return the JSON files of failures, sorted by name; none if there is no folder of failures or if it cannot be listed."""
    try:
        names = sorted(os.listdir(Path(results_dir) / FOLDER))
    except OSError:
        return []
    return [Path(results_dir) / FOLDER / name for name in names if name.endswith(".json") and not name.startswith(".")]


def remove_failure(results_dir: Path, run: str) -> None:
    """Remove the failure of a run that has a record now."""
    with suppress(OSError):  # a folder of that name; it counts no more than a file, because the record wins
        failure_path(results_dir, run).unlink(missing_ok=True)


def _text(value: Any) -> str:
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
