"""From records to leaderboard rows: one per configuration, over its seeds."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clbench.errors import StoreError
from clbench.metrics import unlearning
from clbench.metrics.matrix import decode, summary
from clbench.metrics.statistics import half_width, mean
from clbench.records import Record, canonical, flatten

Row = dict[str, Any]

NAMES = ("scenario", "setting", "model", "method", "server", "variant")
"""What a reader sees of a row's identity; `rows` makes sure that no two rows share all of it."""

UNLEARNING = (*unlearning.OVERALL[1:], *unlearning.GAPS)
"""Metrics of streams with requests to forget, beside `acc`, which is the accuracy on what is retained there."""

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
)
"""Keys of a row, in order."""

METRICS = ("acc", "forgetting", "learning_accuracy", "bwt", "fwt")
COSTS = ("seconds", "samples_per_second", "method_state_bytes", "parameters")


def rows(records: Iterable[Record]) -> list[Row]:
    """Return one row per configuration, sorted by scenario, setting, then accuracy (best first).

    Args:
        records: trials; those with the same `config_id` are the seeds of one row.

    Returns:
        Dictionaries with the keys `KEYS`. Metrics in percent, `*_ci95` the half width of the 95 % Student-t interval
        over seeds, costs as means per seed; None where undefined. With requests to forget `goal` is theirs, and `claim` says
        whether anything may be concluded: if not for every seed, only `acc` is shown.

    Raises:
        StoreError: a record holds no matrix or no names (`usable` sorts such records out).
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.config_id].append(record)
    standards = _standards(record for group in groups.values() for record in group)
    made = [_row(sorted(group, key=lambda record: record.seed), standards) for group in groups.values()]
    _tell_apart(made, {config_id: group[0].identity for config_id, group in groups.items()})
    return sorted(made, key=_order)


def usable(records: Iterable[Record]) -> tuple[list[Record], list[StoreError]]:
    """Return (the records that `rows` can read, one error for each other)."""
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


def _standards(records: Iterable[Record]) -> dict[str, Record]:
    """Return the records of retraining in streams with requests, by `_but_method`."""
    retrained = "clbench.methods.retrain.Retrain"
    return {
        _but_method(record): record
        for record in records
        if unlearning.goal(record.result) == "retrain" and record.identity["method"].get("_target_") == retrained
    }


def _but_method(record: Record) -> str:
    """Return what names all trials that differ from this one in the method alone."""
    rest = {key: value for key, value in record.identity.items() if key != "method"}
    return canonical({**rest, "names": {**record.identity["names"], "method": None}})


def _summary(record: Record, standards: Mapping[str, Record]) -> dict[str, float | None]:
    """Return every metric of one record that a row shows.

    Raises:
        StoreError: it lacks what it needs.
    """
    result = record.result
    goal = unlearning.goal(result)
    if goal is None:
        return summary(result)
    try:
        found: dict[str, float | None] = dict.fromkeys((*METRICS, *UNLEARNING))
        told = unlearning.overall(result)
        if not unlearning.claims(result):
            return found | {"acc": told["acc"]}
        standard = standards.get(_but_method(record))
        beside = {} if goal != "retrain" or standard is None else unlearning.gaps(result, standard.result)
        return found | told | beside
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise StoreError(
            f"the result holds no readable requests ({type(error).__name__}: {error})",
            "move the record out of the results folder",
        ) from error


def _row(group: Sequence[Record], standards: Mapping[str, Record]) -> Row:
    """Return the row of one configuration; its variant may still be ambiguous."""
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
    summaries = [_summary(record, standards) for record in group]
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


def _names(record: Record) -> dict[str, Any]:
    """Return what the record's configuration is called."""
    names = record.identity.get("names")
    needed = ("scenario", "model", "method")
    if not isinstance(names, dict) or not all(isinstance(names.get(key), str) for key in needed):
        raise StoreError(f"its identity does not name {', '.join(needed)}", "move it out of the results folder")
    return {key: names.get(key) for key in (*needed, "server")}


def _tell_apart(made: Sequence[Row], identities: dict[str, dict[str, Any]]) -> None:
    """Complete the variants of rows that would look the same, in place."""
    for alike in _alike(made):
        configurations = [dict(flatten({**identities[row["config_id"]], "seed": None})) for row in alike]
        for row, suffix in zip(alike, distinguishing(configurations)):
            row["variant"] = " ".join(part for part in (row["variant"], suffix) if part)
    for alike in _alike(made):  # nothing readable differs: the configuration's own name does
        for row in alike:
            row["variant"] = " ".join(part for part in (row["variant"], f"config_id={row['config_id']}") if part)


def distinguishing(configurations: Sequence[dict[str, Any]]) -> list[str]:
    """Return for each flat configuration the shortest text that sets it apart from the others: `key=value,key=value`.

    The fewest keys that suffice are named; among equally many, those that make the shortest text. A key that a
    configuration lacks is left out of its text; `method.` is left out of keys, as in every variant.
    """
    every = {key for each in configurations for key in each}
    keys = sorted(key for key in every if len({_spell(each.get(key, _ABSENT)) for each in configurations}) > 1)
    for size in range(1, len(keys) + 1):
        best: list[str] | None = None
        for chosen in itertools.islice(itertools.combinations(keys, size), _TRIED):
            texts = [_text(each, chosen) for each in configurations]
            if len(set(texts)) == len(texts) and (best is None or sum(map(len, texts)) < sum(map(len, best))):
                best = texts
        if best is not None:
            return best
    return ["" for _ in configurations]


_ABSENT = object()
_TRIED = 20_000  # combinations of keys looked at per size: a bound on time that no real sweep comes near
_LONGEST = 24  # characters of a value before it is cut: a sha256 or a list of thresholds would fill the table


def _text(configuration: dict[str, Any], keys: Iterable[str]) -> str:
    parts = []
    for key in keys:
        if key in configuration:
            value = _spell(configuration[key])
            short = value if len(value) <= _LONGEST else f"{value[: _LONGEST // 2]}…"
            parts.append(f"{key.removeprefix('method.')}={short}")
    return ",".join(parts)


def _spell(value: Any) -> str:
    """Return a leaf as it is written on the command line."""
    if value is _ABSENT:
        return ""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True, default=str)


def _alike(made: Sequence[Row]) -> list[list[Row]]:
    """Return the groups of two or more rows that share every name."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in made:
        groups[tuple(row[name] for name in NAMES)].append(row)
    return [group for group in groups.values() if len(group) > 1]


def _order(row: Row) -> tuple[Any, ...]:
    accuracy = row["acc"]
    names = (row["method"], row["variant"], row["config_id"])
    return (row["scenario"], str(row["setting"]), row["goal"] or "", accuracy is None, -(accuracy or 0.0), *names)
