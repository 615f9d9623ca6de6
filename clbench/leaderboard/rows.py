"""Leaderboard rows from records: one row per configuration, over its seeds."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clbench.errors import StoreError
from clbench.leaderboard.incomplete import mark, reasons
from clbench.metrics import unlearning
from clbench.metrics.matrix import decode, summary
from clbench.metrics.statistics import half_width, mean
from clbench.records import Record, canonical, flatten
from clbench.sources.changes import mark as source_mark
from clbench.sources.changes import without, without_node
from clbench.store.failures import Failure

Row = dict[str, Any]

NAMES = ("scenario", "setting", "model", "method", "server", "variant")
"""The part of a row's identity that a reader sees. `rows` makes sure that it differs between any two rows."""

UNLEARNING = (*unlearning.OVERALL[1:], *unlearning.GAPS)
"""Metrics of streams with requests to forget, besides `acc`, which is the accuracy on retained data there."""

KEYS = (
    *NAMES,
    "access",
    "config_id",
    "n_seeds",
    "seeds",
    "acc",
    "acc_ci95",
    "forgetting",
    "forgetting_ci95",
    "learning_accuracy",
    "learning_accuracy_ci95",
    "bwt",
    "bwt_ci95",
    "fwt",
    "fwt_ci95",
    "seconds",
    "samples_per_second",
    "method_state_bytes",
    "parameters",
    "goal",
    "claim",
    *(f"{metric}{ending}" for metric in UNLEARNING for ending in ("", "_ci95")),
    "inference_ms",
    "n_failed",
    "failed_seeds",
    "failure",
    "incomplete",
)
"""Keys of a row, in order."""

METRICS = ("acc", "forgetting", "learning_accuracy", "bwt", "fwt")
COSTS = ("seconds", "samples_per_second", "method_state_bytes", "parameters")


def rows(records: Iterable[Record], failures: Iterable[Failure] = ()) -> list[Row]:
    """Return one row per configuration, sorted by scenario, setting, then accuracy (best first). Rows with failed seeds are last.

    Args:
        records: of runs. Records with one `config_id` are the seeds of one row.
        failures: of runs without a record.

    Returns:
        Dictionaries with the keys `KEYS`. Metrics are in percent. `*_ci95` is the half width of the 95 % Student-t interval over
        seeds. Costs are means per seed. A value is None if undefined. For streams with requests to forget, `goal` is their
        goal. `claim` is True if the model of every seed knew the data to forget well enough; otherwise only `acc` is shown.
        `n_seeds` seeds ended, and `n_failed` failed, for the reasons in `failure`. `incomplete` is the row's mark
        (`clbench.leaderboard.incomplete`); None for a complete row.

    Raises:
        StoreError: a record holds no matrix or no names (`usable` removes such records).
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.config_id].append(record)
    failed: dict[str, list[Failure]] = defaultdict(list)
    done = {record.id for group in groups.values() for record in group}
    for failure in failures:
        if failure.id not in done:
            failed[failure.config_id].append(failure)
    retrained = _retrained(record for group in groups.values() for record in group)
    found = [_row(sorted(group, key=lambda record: record.seed), retrained) for group in groups.values()]
    found += [_without_records(group[0]) for config_id, group in failed.items() if config_id not in groups]
    for row in found:
        _add_failures(row, sorted(failed[row["config_id"]], key=lambda failure: failure.seed))
    identities = {config_id: group[0].identity for config_id, group in failed.items() if group}
    _complete_variants(found, identities | {config_id: group[0].identity for config_id, group in groups.items()})
    mark(found)
    return sorted(found, key=_order)


def _without_records(failure: Failure) -> Row:
    """Return the row of a configuration without any record."""
    row: Row = dict.fromkeys(KEYS)
    row.update(_names(failure), n_seeds=0, seeds=[], config_id=failure.config_id)
    row.update({key: failure.failure.get(key) for key in ("setting", "access", "goal")})
    row["variant"] = str(failure.provenance.get("variant") or "")
    return row


def _add_failures(row: Row, failures: Sequence[Failure]) -> None:
    """Add the failed seeds of a row, in place."""
    row.update(
        n_failed=len(failures),
        failed_seeds=[failure.seed for failure in failures],
        failure=reasons(failures) or None,
    )


def usable(records: Iterable[Record]) -> tuple[list[Record], list[StoreError]]:
    """Return (the records that `rows` can read, one error for each other record)."""
    good: list[Record] = []
    errors: list[StoreError] = []
    for record in records:
        try:
            _names(record)
            decode(record.result)
            _summary(record, {})
            good.append(record)
        except StoreError as error:
            errors.append(StoreError(f"the record {record.id} cannot be shown: {error.what}", error.remedy))
    return good, errors


def _retrained(records: Iterable[Record]) -> dict[str, Record]:
    """Return the records of retraining in streams with requests to forget, by `_without_method`."""
    retrain = "clbench.methods.retrain.Retrain"
    return {
        _without_method(record): record
        for record in records
        if unlearning.goal(record.result) == "retrain" and record.identity["method"].get("_target_") == retrain
    }


def _without_method(record: Record) -> str:
    """Return a key that is equal for all runs that differ only in the method."""
    rest = without_node(record.identity, "method")
    return canonical({**rest, "names": {**record.identity["names"], "method": None}})


def _summary(record: Record, retrained: Mapping[str, Record]) -> dict[str, float | None]:
    """Return every metric of one record that a row shows.

    Raises:
        StoreError: the record holds no readable matrix or no readable requests.
    """
    result = record.result
    goal = unlearning.goal(result)
    if goal is None:
        return summary(result)
    try:
        found: dict[str, float | None] = dict.fromkeys((*METRICS, *UNLEARNING))
        overall = unlearning.overall(result)
        if not unlearning.claims(result):
            return found | {"acc": overall["acc"]}
        reference = retrained.get(_without_method(record))
        gaps = {} if goal != "retrain" or reference is None else unlearning.gaps(result, reference.result)
        return found | overall | gaps
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise StoreError(
            f"the result holds no readable requests ({type(error).__name__}: {error})",
            "move the record out of the results folder",
        ) from error


def _row(group: Sequence[Record], retrained: Mapping[str, Record]) -> Row:
    """Return the row of one configuration. Its variant may still be ambiguous."""
    first = group[0]
    row: Row = dict.fromkeys(KEYS)
    row.update(_names(first))
    variants = {str(record.provenance.get("variant") or "") for record in group}
    row.update(
        setting=first.result.get("setting"),
        access=first.result.get("access"),
        config_id=first.config_id,
        variant=min(variants, key=lambda text: (len(text), text)),
        n_seeds=len(group),
        seeds=[record.seed for record in group],
    )
    summaries = [_summary(record, retrained) for record in group]
    row["goal"] = unlearning.goal(first.result)
    if row["goal"] is not None:
        row["claim"] = all(unlearning.claims(record.result) for record in group)
    for metric in (*METRICS, *UNLEARNING):
        values = [value for each in summaries if (value := each.get(metric)) is not None]
        if len(values) == len(group):
            row[metric], row[f"{metric}_ci95"] = mean(values), half_width(values)
    for cost in COSTS:
        amounts = [value for record in group if isinstance(value := record.cost.get(cost), (int, float))]
        if len(amounts) == len(group):
            whole = all(isinstance(value, int) for value in amounts)
            row[cost] = round(mean(amounts)) if whole else mean(amounts)
    inference = [each[-1] for record in group if isinstance(each := record.cost.get("inference_ms"), list) and each]
    row["inference_ms"] = mean(inference) if len(inference) == len(group) else None
    return row


def _names(record: Record | Failure) -> dict[str, Any]:
    """Return the names of the record's configuration."""
    names = record.identity.get("names")
    needed = ("scenario", "model", "method")
    if not isinstance(names, dict) or not all(isinstance(names.get(key), str) for key in needed):
        raise StoreError(f"its identity does not name {', '.join(needed)}", "move it out of the results folder")
    return {key: names.get(key) for key in (*needed, "server")}


def _complete_variants(found: Sequence[Row], identities: dict[str, dict[str, Any]]) -> None:
    """Complete the variants of rows that would look the same, in place."""
    for alike in _alike(found):
        configurations = [_flat(identities[row["config_id"]]) for row in alike]
        for row, suffix in zip(alike, distinguishing(configurations)):
            row["variant"] = " ".join(part for part in (row["variant"], suffix) if part)
    for alike in _alike(found):  # no short text separates them: use the configuration's hash
        for row in alike:
            row["variant"] = " ".join(part for part in (row["variant"], f"config_id={row['config_id']}") if part)


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """Return the leaves of a configuration's identity, with a short mark in place of its source."""
    return dict(flatten({**without(identity), "seed": None, "source": source_mark(identity)}))


def distinguishing(configurations: Sequence[dict[str, Any]]) -> list[str]:
    """Return for each flat configuration the shortest text that separates it from the others: `key=value,key=value`.

    The text names as few keys as possible; of equally many, those with the shortest text. It leaves out a key that the
    configuration does not have, and the prefix `method.` of keys, as every variant does.
    """
    every = {key for each in configurations for key in each}
    keys = sorted(key for key in every if len({_spell(each.get(key, _ABSENT)) for each in configurations}) > 1)
    for size in range(1, len(keys) + 1):
        best: list[str] | None = None
        for named in itertools.islice(itertools.combinations(keys, size), _TRIED):
            texts = [_text(each, named) for each in configurations]
            if len(set(texts)) == len(texts) and (best is None or sum(map(len, texts)) < sum(map(len, best))):
                best = texts
        if best is not None:
            return best
    return ["" for _ in configurations]


_ABSENT = object()
_TRIED = 20_000  # most combinations of keys per size, to bound the time; real sweeps need far fewer
_LONGEST = 24  # most characters of a value: a sha256 or a list of thresholds would fill the table


def _text(configuration: dict[str, Any], keys: Iterable[str]) -> str:
    parts = []
    for key in keys:
        if key in configuration:
            value = _spell(configuration[key])
            short = value if len(value) <= _LONGEST else f"{value[: _LONGEST // 2]}…"
            parts.append(f"{key.removeprefix('method.')}={short}")
    return ",".join(parts)


def _spell(value: Any) -> str:
    """Return a value as one writes it on the command line."""
    if value is _ABSENT:
        return ""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True, default=str)


def _alike(found: Sequence[Row]) -> list[list[Row]]:
    """Return the groups of two or more rows with equal names."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in found:
        groups[tuple(row[name] for name in NAMES)].append(row)
    return [group for group in groups.values() if len(group) > 1]


def _order(row: Row) -> tuple[Any, ...]:
    accuracy = row["acc"]
    names = (row["method"], row["variant"], row["config_id"])
    rank = (row["n_failed"] > 0, accuracy is None, -(accuracy or 0.0))
    return (row["scenario"], str(row["setting"]), row["goal"] or "", *rank, *names)
