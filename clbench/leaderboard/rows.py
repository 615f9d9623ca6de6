"""Leaderboard rows from records: one row per configuration, over its seeds."""

from __future__ import annotations

import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clbench.leaderboard.entries import Entry, entry, gaps, identities
from clbench.leaderboard.incomplete import mark, reasons
from clbench.leaderboard.tuned_by import common, origin
from clbench.metrics import unlearning
from clbench.metrics.statistics import half_width, mean
from clbench.records import Record, flatten
from clbench.sources.changes import mark as source_mark
from clbench.sources.changes import without
from clbench.store.failures import Failure

Row = dict[str, Any]

NAMES = ("scenario", "setting", "split", "model", "method", "server", "variant", "tuned_by")
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


def rows(records: Iterable[Record | Entry], failures: Iterable[Failure] = ()) -> list[Row]:
    """Return one row per configuration, sorted by scenario, setting, then accuracy (best first). Rows with failed seeds are last.

    Args:
        records: of runs, or what `clbench.leaderboard.entries` knows of them. Those with one `config_id` are a row's seeds.
        failures: of runs without a record.

    Returns:
        Dictionaries with the keys `KEYS`. Metrics are in percent. `*_ci95` is the half width of the 95 % Student-t interval over
        seeds. Costs are means per seed. A value is None if undefined. For streams with requests to forget, `goal` is their
        goal. `claim` is True if the model of every seed knew the data to forget well enough; otherwise only `acc` is shown.
        `n_seeds` seeds ended, and `n_failed` failed, for the reasons in `failure`. `incomplete` is the row's mark
        (`clbench.leaderboard.incomplete`); None for a complete row.

    Raises:
        StoreError: a record holds no matrix or no names (`clbench.leaderboard.entries.load_entries` leaves such records out).
    """
    groups: dict[str, list[Entry]] = defaultdict(list)
    for each in records:
        known = entry(each) if isinstance(each, Record) else each
        groups[known.config_id].append(known)
    failed: dict[str, list[Failure]] = defaultdict(list)
    done = {each.id for group in groups.values() for each in group}
    for failure in failures:
        if failure.id not in done:
            failed[failure.config_id].append(failure)
    retrained = {each.peers: each for group in groups.values() for each in group if each.retrains}
    found = [_row(sorted(group, key=lambda each: each.seed), retrained) for group in groups.values()]
    both = [[each for each in group if each.valid] for group in groups.values()]
    found += [_validation_row(sorted(group, key=lambda each: each.seed), retrained) for group in both if group]
    found += [_without_records(group[0]) for config_id, group in failed.items() if config_id not in groups]
    for row in found:
        _add_failures(row, sorted(failed[row["config_id"]], key=lambda failure: failure.seed))
    examples: dict[str, Entry | Failure] = {config_id: group[0] for config_id, group in failed.items() if group}
    _complete_variants(found, examples | {config_id: group[0] for config_id, group in groups.items()})
    mark(found)
    return sorted(found, key=_order)


def _without_records(failure: Failure) -> Row:
    """Return the row of a configuration without any record."""
    row: Row = dict.fromkeys(KEYS)
    row.update(_names(failure.identity["names"]), n_seeds=0, seeds=[], config_id=failure.config_id)
    row.update({key: failure.failure.get(key) for key in ("setting", "access", "goal")})
    row["variant"] = str(failure.provenance.get("variant") or "")
    evaluation = failure.identity.get("eval")
    measured = evaluation.get("split") if isinstance(evaluation, dict) else None
    row.update(split="valid" if measured == "valid" else "test", tuned_by=origin(failure.identity, failure.provenance))
    return row


def _add_failures(row: Row, failures: Sequence[Failure]) -> None:
    """Add the failed seeds of a row, in place."""
    row.update(
        n_failed=len(failures),
        failed_seeds=[failure.seed for failure in failures],
        failure=reasons(failures) or None,
    )


def _summary(own: Entry, retrained: Mapping[str, Entry]) -> dict[str, float | None]:
    """Return every metric of one record that a row shows.

    Args:
        own: of the record.
        retrained: records of retraining, by `Entry.peers`.

    Raises:
        StoreError: a record that has to be compared with retraining cannot be read.
    """
    if own.goal is None:
        return own.metrics
    found: dict[str, float | None] = dict.fromkeys((*METRICS, *UNLEARNING))
    if not own.claim:
        return found | {"acc": own.overall["acc"]}
    reference = retrained.get(own.peers) if own.goal == "retrain" else None
    return found | own.overall | ({} if reference is None else gaps(own, reference))


def _row(group: Sequence[Entry], retrained: Mapping[str, Entry]) -> Row:
    """Return the row of one configuration. Its variant may still be ambiguous."""
    first = group[0]
    row: Row = dict.fromkeys(KEYS)
    row.update(_names(first.names))
    row.update(
        setting=first.setting,
        split=first.split,
        tuned_by=common(each.tuned_by for each in group),
        access=first.access,
        config_id=first.config_id,
        variant=min({each.variant for each in group}, key=lambda text: (len(text), text)),
        n_seeds=len(group),
        seeds=[each.seed for each in group],
    )
    summaries = [_summary(each, retrained) for each in group]
    row["goal"] = first.goal
    if row["goal"] is not None:
        row["claim"] = all(each.claim for each in group)
    for metric in (*METRICS, *UNLEARNING):
        values = [value for each in summaries if (value := each.get(metric)) is not None]
        if len(values) == len(group):
            row[metric], row[f"{metric}_ci95"] = mean(values), half_width(values)
    for cost in COSTS:
        amounts = [value for each in group if isinstance(value := each.cost.get(cost), (int, float))]
        if len(amounts) == len(group):
            whole = all(isinstance(value, int) for value in amounts)
            row[cost] = round(mean(amounts)) if whole else mean(amounts)
    inference = [times[-1] for each in group if isinstance(times := each.cost.get("inference_ms"), list) and times]
    row["inference_ms"] = mean(inference) if len(inference) == len(group) else None
    return row


def _validation_row(group: Sequence[Entry], retrained: Mapping[str, Entry]) -> Row:
    """Return the row of the validation splits of runs that have measured both."""
    return _row([replace(each, split="valid", metrics=each.valid) for each in group], retrained)


def _names(names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of a configuration that a row shows."""
    return {key: names.get(key) for key in ("scenario", "model", "method", "server")}


def _complete_variants(found: Sequence[Row], examples: Mapping[str, Entry | Failure]) -> None:
    """Complete the variants of rows that would look the same, in place.

    Args:
        found: all rows.
        examples: a run of each row, by its config_id.
    """
    groups = _alike(found)
    flat = _differences([[examples[row["config_id"]] for row in alike] for alike in groups])
    for alike in groups:
        for row, suffix in zip(alike, distinguishing([flat[row["config_id"]] for row in alike])):
            row["variant"] = " ".join(part for part in (row["variant"], suffix) if part)
    for alike in _alike(found):  # no short text separates them: use the configuration's hash
        for row in alike:
            row["variant"] = " ".join(part for part in (row["variant"], f"config_id={row['config_id']}") if part)


def _differences(groups: Sequence[Sequence[Entry | Failure]]) -> dict[str, dict[str, Any]]:
    """Return {config_id: flat identity} of runs, without the leaves that all runs of a group share.

    Whole identities of many configurations would take much memory. So each is compared at once with the first of its group.
    """
    place = {run.config_id: number for number, group in enumerate(groups) for run in group}
    runs = [run for group in groups for run in group]
    entries = [run for run in runs if isinstance(run, Entry)]
    failures = ((run.config_id, run.identity) for run in runs if isinstance(run, Failure))
    first: dict[int, dict[str, Any]] = {}
    other: dict[str, dict[str, Any]] = {}
    for config_id, identity in itertools.chain(identities(entries), failures):
        flat, base = _flat(identity), first.get(place[config_id])
        if base is None:
            first[place[config_id]] = base = flat
        different = {sys.intern(key): value for key, value in flat.items() if _differ(value, base.get(key, _ABSENT))}
        other[config_id] = different | {key: _ABSENT for key in base if key not in flat}
    keys: list[set[str]] = [set() for _ in groups]
    for config_id, different in other.items():
        keys[place[config_id]].update(different)
    whole = {
        config_id: {key: different.get(key, first[place[config_id]].get(key, _ABSENT)) for key in keys[place[config_id]]}
        for config_id, different in other.items()
    }
    return {name: {key: value for key, value in flat.items() if value is not _ABSENT} for name, flat in whole.items()}


def _differ(one: Any, other: Any) -> bool:
    return other is _ABSENT or (one is not other and _spell(one) != _spell(other))


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
    for size in range(1, min(len(keys), _KEYS) + 1):
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
_KEYS = 8  # most keys that a text names; no reader compares more, and hostile records could have any number
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
    return (row["scenario"], str(row["setting"]), row["split"] == "valid", row["goal"] or "", *rank, *names)
