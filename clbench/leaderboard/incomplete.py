"""Rows that do not stand for all of their seeds: their mark, their order, and the lines that explain them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clbench.store.failures import Failure
from clbench.utils import markup

FAILED = "failed seeds"
"""Mark of a row with failed seeds: its means are over the other seeds, a selection by the outcome."""
FEWER = "fewer seeds"
"""Mark of a row with fewer finished seeds than another row of its table."""
SYMBOLS = {FAILED: "†", FEWER: "‡"}
LONG = 200
"""Characters of a reason in a table's note."""
LISTED = 12
"""Largest number of seeds that a note lists."""

Row = Mapping[str, Any]


def reasons(failures: Iterable[Failure]) -> str:
    """Return the reasons of failures in one line, a reason once: `diverged (seeds 1, 2): the loss became nan ...; ...`."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for failure in failures:
        reason = failure.reason if len(failure.reason) <= LONG else f"{failure.reason[:LONG]}..."
        seeds.setdefault((failure.kind.replace("_", " "), reason), []).append(failure.seed)
    return "; ".join(f"{kind} ({_listed(of_reason)}): {reason}" for (kind, reason), of_reason in seeds.items())


def _listed(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"seeds {', '.join(map(str, seeds[:LISTED]))}{', ...' if len(seeds) > LISTED else ''}"


def mark(rows: Iterable[dict[str, Any]]) -> None:
    """Set the key `incomplete` of each row to its mark, or None. Rows of one scenario, setting, split and goal form a table."""
    tables: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        tables.setdefault((row["scenario"], row["setting"], row["split"], row["goal"]), []).append(row)
    for table in tables.values():
        most = max(row["n_seeds"] for row in table)
        for row in table:
            row["incomplete"] = FAILED if row["n_failed"] else FEWER if row["n_seeds"] < most else None


def count(row: Row) -> str:
    """Return the number of seeds in a row: `5`, or `1 of 6` if seeds failed."""
    failed = row.get("n_failed") or 0
    return f"{row['n_seeds']} of {row['n_seeds'] + failed}" if failed else str(row["n_seeds"])


def symbol(row: Row) -> str:
    """Return the symbol of a row's mark; empty for a complete row."""
    return SYMBOLS.get(row.get("incomplete") or "", "")


def legend(rows: Sequence[Row]) -> list[str]:
    """Return the lines below a table that explain its symbols."""
    found = []
    if any(row.get("incomplete") == FAILED for row in rows):
        found.append(
            "† n of N: n seeds ended, and the others failed. The means are over these n, so the row stands below complete rows."
        )
    found += [
        f"† {_name(row)}: {row['n_failed']} of {row['n_seeds'] + row['n_failed']} seeds failed. {row['failure']}"
        for row in rows
        if row.get("n_failed")
    ]
    if any(row.get("incomplete") == FEWER for row in rows):
        found.append("‡ fewer seeds than other rows of this scenario and setting.")
    return found


def over(row: Row, n: int) -> str:
    """Return what a picture of `n` seeds of a row shows: `6 seeds`, `1 of 6 seeds (5 failed)`.

    Args:
        row: row of the leaderboard.
        n: number of seeds in the picture.
    """
    failed = row.get("n_failed") or 0
    whole = row["n_seeds"] + failed
    if n == whole:
        text = "1 seed" if n == 1 else f"{n} seeds"
    else:
        text = f"{n} of {whole} seeds" + (f" ({failed} failed)" if failed else "")
    return f"{text}, {FEWER} than other rows" if row.get("incomplete") == FEWER else text


def _name(row: Row) -> str:
    parts = [str(row["method"]), str(row.get("server") or ""), row["variant"] and f"({row['variant']})"]
    return " ".join(markup.name(part) for part in parts if part)
