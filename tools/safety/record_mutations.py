"""Random changes of records, and everything that a command does with a record that it accepts."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clbench.errors import StoreError
from clbench.leaderboard.entries import Entry, all_usable
from clbench.leaderboard.results import Results
from clbench.leaderboard.rows import rows
from clbench.leaderboard.tables import FORMATS, render
from clbench.records import PARTS, Record, canonical, config_hash, identity_hash, read
from clbench.runner.device_memory import recorded_peak
from clbench.sources.changes import mark, without, without_node

Body = dict[str, Any]
"""The content of a record's file."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3.5, -0.0, 10**9, 2**63, 10**20, 10**400, 1e-300, 1e300, -1e308, math.inf, -math.inf),
    *("", "x", "\n", "\x1b[31m", "\u202e", "\ud800", "a" * 1000, "=1+1", "|", "\\input{x}", "<script>", "[link](http://x)"),
    *([], {}, [[]], [{}], {"": ""}, [1, 2], ["1 2", "3"], {"claim": True}, {"a": {"b": [1]}}, [[1, 2], [3]], [None]),
    *([0] * 50, {str(i): i for i in range(30)}),
)
"""Values that take the place of others."""
LONGEST = 2000
"""Characters of a refusal."""


def mutated(body: Body, rng: random.Random) -> Body:
    """Return a copy of a record's content with one to three random changes in its parts."""
    found: Body = _copy(body)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(found, rng)
    return found


def _change(body: Body, rng: random.Random) -> None:
    holder: Any = body
    key: Any = rng.choice(PARTS)
    while isinstance(holder[key], (dict, list)) and holder[key] and rng.random() < 0.85:
        holder = holder[key]
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    match rng.randrange(8):
        case 0 if holder is not body:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, _copy(rng.choice(holder)))
        case 2 if isinstance(holder, dict):
            holder[rng.choice(("acc", "id", "names", "conclusion", "losses", "unlearning", "stacked", "x" * 400, "\n"))] = (
                rng.choice(VALUES)
            )
        case 3 if type(holder[key]) in (int, float) and abs(holder[key]) < 1e300:
            holder[key] = rng.choice((-holder[key], holder[key] + 1, holder[key] * 10**6, float(holder[key]), str(holder[key])))
        case 4:
            other = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            holder[key], holder[other] = holder[other], holder[key]
        case 5:
            holder[key] = [holder[key]]
        case 6:
            value = holder[key]
            for _ in range(rng.choice((2, 30, 63, 70, 200))):
                value = [value]
            holder[key] = value
        case _:
            holder[key] = _copy(rng.choice(VALUES))


def _copy(value: Any) -> Any:
    """Return a copy of a value of JSON; the module copy could not copy deep ones."""
    return json.loads(json.dumps(value))


def sealed(body: Body, names: Sequence[str] = PARTS) -> Body:
    """Return a file's content with the ids and the sha256 of its parts, as far as these have any.

    Args:
        body: of a record or a failure.
        names: of its parts.
    """
    try:
        identity = body["identity"]
        digest = hashlib.sha256(canonical([body[name] for name in names]).encode()).hexdigest()
        return {**body, "id": identity_hash(identity), "config_id": config_hash(identity), "sha256": digest}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return body  # infinity or half a surrogate pair has no hash


def store(body: Body, folder: Path) -> Path:
    """Write a record's content under the name that it gives, with `1e999` for infinity, and return the file."""
    path = folder / f"{str(body.get('id'))[:64]}.json"
    text = json.dumps(body).replace("-Infinity", "-1e999").replace("Infinity", "1e999")
    path.write_text(text, encoding="utf-8")
    return path


def use(record: Record, beside: Sequence[Record] = ()) -> None:
    """Do with a record, and with records beside it, what the commands do, except for drawing. Any exception is a fault.

    Args:
        record: was read from a file.
        beside: other records, which are usable.
    """
    good, errors = all_usable([record])
    if not all(error.line.isprintable() and len(error.line) <= LONGEST for error in errors):
        raise ValueError(f"not in one short line: {errors[0].line!r}")
    recorded_peak(record)
    mark(record.identity)
    canonical(without_node(without(record.identity), "method"))
    if not good:
        return
    every: list[Record | Entry] = [*good, *beside]
    table = rows(every)
    for format in FORMATS:
        render(table, format)
    results = Results(every)
    results.to_frame()
    results.matrix(0)
    if {row["config_id"] for row in table} != {each.config_id for each in every}:
        raise ValueError("a configuration without a row")


def draw(record: Record) -> int:
    """Draw every kind of picture of a record that can be drawn, and return how many there were. Any exception is a fault."""
    from clbench.cli.plot import _discard, _drawn
    from clbench.plots import plot_clients, plot_curves, plot_drift, plot_matrix, plot_subspaces, style

    if not all_usable([record])[0]:
        return 0
    (row,) = rows([record])
    kinds: list[tuple[Any, Any]] = [
        (plot_matrix.draw, lambda _: True),
        (plot_curves.draw, plot_curves.measured),
        (plot_subspaces.draw, plot_subspaces.sizes),
        (plot_drift.draw, plot_drift.reported),
        (plot_clients.draw, plot_clients.reported),
    ]
    drawn = 0
    with style.context():
        for drawer, needs in kinds:
            if needs(record):
                drawn += _drawn(drawer, _discard, row, [record], Path("x.png"))[0]
    return drawn


def accepted(path: Path) -> Record | None:
    """Return the record of a file, or None if it is refused in one line with a remedy. Any other exception is a fault."""
    try:
        return read(path)
    except StoreError as error:
        refusal = error
    if not refusal.remedy or not refusal.line.isprintable() or len(refusal.line) > LONGEST:
        raise ValueError(f"a refusal without a remedy, or not in one short line: {refusal.line!r}")
    return None
