"""Who chose the values of a row, on what: the column `tuned by`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clbench.utils.markup import plain

LONGEST = 60
"""Characters of a text: a record may hold any."""
WORDS = {"tuned": "tuned by hand"}
"""What a table writes for a word of a record."""
MIXED = "mixed"
"""Seeds of one row whose values come from different places."""
NOTE = (
    "tuned by: the protocol that chose the values (docs/tuning.md). first_k: on validation splits of the first k tasks; "
    "transfer: of another stream; end: of all tasks, an upper bound. Their test stream was read by these runs alone. "
    "fixed: no search in this suite; published values and values given by hand may have been chosen on test samples."
)


def origin(identity: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """Return where the values of a run come from: `first_2 (20 trials)`, `fixed (defaults)`; empty if the record does not say.

    Args:
        identity: of the record; `tuning` is there if a search chose the values for this run.
        provenance: of the record; `tuned_by` says where other values come from.
    """
    for found in (identity.get("tuning"), provenance.get("tuned_by")):
        if isinstance(found, Mapping) and isinstance(found.get("protocol"), str):
            return plain(_text(found))[:LONGEST]
    return ""


def _text(found: Mapping[str, Any]) -> str:
    protocol, values, k, trials = (found.get(key) for key in ("protocol", "values", "k", "trials"))
    name = f"first_{k}" if protocol == "first_k" and isinstance(k, int) else str(protocol)
    if isinstance(trials, int):
        rest = ", rest" if found.get("report") == "rest" else ""
        other = f"from {found['tuned_on']}, " if isinstance(found.get("tuned_on"), str) else ""
        return f"{name} ({other}{trials} trials{rest})"
    return f"{name} ({WORDS.get(values, values)})" if isinstance(values, str) else name


def common(texts: Iterable[str]) -> str:
    """Return the text of a row from those of its seeds."""
    different = set(texts)
    return different.pop() if len(different) == 1 else MIXED
