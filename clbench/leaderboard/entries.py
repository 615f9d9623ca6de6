"""What tables need of each record, from the index of the results folder where possible."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clbench.errors import StoreError
from clbench.leaderboard.tuned_by import origin
from clbench.metrics import unlearning
from clbench.metrics.matrix import splits, summary
from clbench.records import Record, canonical, read, record_files
from clbench.sources.changes import without_node
from clbench.store import index
from clbench.utils.own_code import source_sha256

_NEEDED = ("setting", "columns", "events", "matrix")
"""Keys of a result that tables and pictures need."""
_NAMED = ("scenario", "model", "method")
"""Names that an identity needs."""
_TOGETHER = 500
"""Texts of the index that are parsed in one go: they share the texts of their keys in memory."""
RETRAIN = "clbench.methods.retrain.Retrain"


@dataclass(slots=True)
class Entry:
    """What tables need of one record.

    Args:
        id: name of the run.
        config_id: name of its configuration.
        seed: of the run.
        names: of method, scenario, model, optimizer and server.
        setting: of the stream.
        access: of the stream.
        variant: name of the configuration's difference from the defaults.
        split: what the metrics are measured on, `test` or `valid`.
        tuned_by: where the values come from (`clbench.leaderboard.tuned_by`).
        metrics: `clbench.metrics.matrix.summary`, in percent.
        valid: the same of the validation splits, if both were measured; else empty.
        cost: of the run.
        goal: of a stream with requests to forget; else None.
        overall: `clbench.metrics.unlearning.overall` for such a stream; else empty.
        claim: whether the model knew the data to forget well enough.
        peers: for the goal `retrain` a text that runs have in common if they differ in the method alone; else empty.
        retrains: whether the method is retraining.
        held: the record, or its file.
    """

    id: str
    config_id: str
    seed: int
    names: dict[str, Any]
    setting: Any
    access: Any
    variant: str
    split: str
    tuned_by: str
    metrics: dict[str, float | None]
    valid: dict[str, float | None]
    cost: dict[str, Any]
    goal: str | None
    overall: dict[str, float | None]
    claim: bool
    peers: str
    retrains: bool
    held: Record | Path

    @property
    def record(self) -> Record:
        """The record; it is read from its file if needed.

        Raises:
            StoreError: the file is not there any more, or was changed.
        """
        if isinstance(self.held, Record):
            return self.held
        record = read(self.held)
        if entry(record).text() != self.text():
            raise StoreError(f"the record {self.held} was replaced since the folder was read", "read the folder again")
        return record

    def text(self) -> str:
        """Return everything except the record as JSON."""
        return json.dumps([getattr(self, name) for name in _STORED], separators=(",", ":"), ensure_ascii=False)


_STORED = tuple(name for name in Entry.__slots__ if name != "held")


def entry(record: Record) -> Entry:
    """Return what tables need of `record`.

    Raises:
        StoreError: the record holds no names, no readable matrix, or no readable requests.
    """
    identity, result = record.identity, record.result
    names = identity.get("names")
    if not isinstance(names, dict) or not all(isinstance(names.get(key), str) for key in _NAMED):
        raise StoreError(f"its identity does not name {', '.join(_NAMED)}", "move it out of the results folder")
    metrics, goal = summary(result), unlearning.goal(result)
    measured = splits(result)
    valid = summary(result, "valid") if len(measured) > 1 else {}
    overall, claim = _requests(result)
    return Entry(
        id=record.id,
        config_id=record.config_id,
        seed=record.seed,
        names=names,
        setting=result.get("setting"),
        access=result.get("access"),
        variant=str(record.provenance.get("variant") or ""),
        split=measured[0],
        tuned_by=origin(identity, record.provenance),
        metrics=metrics,
        valid=valid,
        cost=record.cost,
        goal=goal,
        overall=overall,
        claim=claim,
        peers=_without_method(identity) if goal == "retrain" else "",
        retrains=goal == "retrain" and (identity.get("method") or {}).get("_target_") == RETRAIN,
        held=record,
    )


def _requests(result: dict[str, Any]) -> tuple[dict[str, float | None], bool]:
    """Return the metrics of requests to forget, and whether the model knew their data well enough."""
    if unlearning.goal(result) is None:
        return {}, False
    try:
        return unlearning.overall(result), unlearning.claims(result)
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise _no_requests(error) from error


def gaps(own: Entry, reference: Entry) -> dict[str, float | None]:
    """Return the metrics of requests to forget that compare a run with retraining; see `clbench.metrics.unlearning.gaps`.

    Raises:
        StoreError: a record cannot be read, or holds no readable requests.
    """
    try:
        return unlearning.gaps(own.record.result, reference.record.result)
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise _no_requests(error) from error


def _no_requests(error: Exception) -> StoreError:
    what = f"the result holds no readable requests ({type(error).__name__}: {error})"
    return StoreError(what, "move the record out of the results folder")


def _without_method(identity: dict[str, Any]) -> str:
    """Return a key that is equal for all runs that differ only in the method."""
    rest = without_node(identity, "method")
    return _hash(canonical({**rest, "names": {**identity["names"], "method": None}}))


def usable(record: Record) -> Entry:
    """Return what tables and pictures need of `record`.

    Raises:
        StoreError: the record lacks something that they need.
    """
    try:
        found = entry(record)
        missing = [key for key in _NEEDED if key not in record.result]
        if missing:
            raise StoreError(f"its result lacks {', '.join(missing)}", "move it out of the results folder")
        return found
    except StoreError as error:
        raise StoreError(f"the record {record.id} cannot be shown: {error.what}", error.remedy) from error


def all_usable(records: Iterable[Record]) -> tuple[list[Entry], list[StoreError]]:
    """Return (what tables and pictures need of the records, one error for each record that lacks something)."""
    good: list[Entry] = []
    errors: list[StoreError] = []
    for record in records:
        try:
            good.append(usable(record))
        except StoreError as error:
            errors.append(error)
    return good, errors


def load_entries(folder: Path) -> tuple[list[Entry], list[StoreError]]:
    """Return what tables need of all records of a folder, and an error for each record that cannot be read or shown.

    Files that have not changed since an earlier call are not read: `clbench.store.index` knows them.

    Raises:
        StoreError: the folder does not exist or cannot be listed.
    """
    version, paths = source_sha256(), record_files(folder)
    known = index.entries(folder, version) if len(paths) >= index.WORTHWHILE else {}
    marks = {path.name: index.fingerprint(path) for path in paths}
    same = [path for path in paths if marks[path.name] is not None and known.get(path.name, ("", ""))[0] == marks[path.name]]
    found = dict(_parsed([(path, known[path.name][1]) for path in same]))
    fresh: dict[str, index.Fresh] = {}
    errors: list[StoreError] = []
    for path in paths:
        if path.name in found:
            continue
        try:
            record = read(path)
            made = usable(record)
        except StoreError as error:
            errors.append(error)
            continue
        made.held = path
        found[path.name] = made
        mark = marks[path.name]
        if mark is not None:
            fresh[path.name] = index.Fresh(mark, made.text(), made.config_id, _configuration(record.identity))
    if len(paths) >= index.WORTHWHILE and (fresh or len(known) > len(paths)):
        index.update(folder, version, fresh, known.keys() - found.keys())
    return [found[path.name] for path in paths if path.name in found], errors


def _parsed(kept: Sequence[tuple[Path, str]]) -> Iterator[tuple[str, Entry]]:
    """Yield (name of the file, entry) of texts of the index. A text of another form is left out."""
    for start in range(0, len(kept), _TOGETHER):
        some = kept[start : start + _TOGETHER]
        try:
            values = json.loads(f"[{','.join(text for _, text in some)}]")
            made = [
                (path.name, Entry(**dict(zip(_STORED, value, strict=True)), held=path))
                for (path, _), value in zip(some, values, strict=True)
            ]
        except (ValueError, TypeError, RecursionError):
            continue
        yield from made


def identities(wanted: Iterable[Entry]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (config_id, identity without the seed) of the configurations of `wanted`, each once.

    Raises:
        StoreError: a record is needed and cannot be read.
    """
    left = {each.config_id: each for each in wanted}
    for config_id in [config_id for config_id, each in left.items() if isinstance(each.held, Record)]:
        record = left.pop(config_id).record
        yield config_id, {key: value for key, value in record.identity.items() if key != "seed"}
    for folder in {each.held.parent for each in left.values() if isinstance(each.held, Path)}:
        for config_id, content in index.texts(folder, lambda text: _hash(text)[:16]):
            if left.pop(config_id, None) is not None:
                yield config_id, json.loads(content)
    for config_id, each in left.items():
        yield config_id, json.loads(_configuration(each.record.identity))


def _configuration(identity: Mapping[str, Any]) -> str:
    """Return an identity without its seed as the text whose sha256 begins with the configuration's id."""
    return canonical({key: value for key, value in identity.items() if key != "seed"})


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
