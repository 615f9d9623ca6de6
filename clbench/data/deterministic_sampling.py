"""Deterministic selection of texts: groups that belong together, the test part, and subsets."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence


def plain(text: str) -> str:
    """Return a text for comparison with others: case folded, single spaces."""
    return " ".join(text.split()).casefold()


def groups(*keys: Sequence[Hashable | None]) -> list[str]:
    """Return the group of each row. Rows that share a key of any kind, directly or through other rows, form one group.

    Args:
        keys: for each kind the key of every row; None shares nothing.

    Returns:
        A name for each row's group that does not depend on the order of the rows: the least of its keys, as text.
    """
    parent = list(range(len(keys[0])))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    names: dict[int, list[str]] = defaultdict(list)
    for kind in keys:
        first: dict[Hashable, int] = {}
        for row, key in enumerate(kind):
            if key is not None:
                parent[root(row)] = root(first.setdefault(key, row))
    for kind in keys:
        for row, key in enumerate(kind):
            if key is not None:
                names[root(row)].append(str(key))
    least = {row: min(known) for row, known in names.items()}
    return [least.get(root(row), f"row {row}") for row in range(len(parent))]


def held_out(group: str, share: float) -> bool:
    """Return whether a group belongs to the test part: its sha256 as a fraction of 1 is below `share`."""
    return _fraction(group) < share


def least(names: Sequence[str]) -> list[int]:
    """Return all rows, ordered by the sha256 of their names: a draw that depends only on the names."""
    return sorted(range(len(names)), key=lambda row: (_fraction(names[row]), names[row]))


def single_label(texts: Sequence[str], labels: Sequence[int]) -> list[int]:
    """Return the rows to keep: the first of equal texts, and none whose equal text has another label."""
    known: dict[str, set[int]] = defaultdict(set)
    for text, label in zip(texts, labels, strict=True):
        known[plain(text)].add(label)
    kept: dict[str, int] = {}
    for row, text in enumerate(texts):
        if len(known[plain(text)]) == 1:
            kept.setdefault(plain(text), row)
    return sorted(kept.values())


def few(texts: Sequence[str], labels: Sequence[int], per_class: int | None, total: int | None) -> list[int]:
    """Return the rows of at most `per_class` texts of each class, and of at most `total` in all, in the order of the file.

    The texts with the smallest sha256 are chosen, for any order of the file.
    """
    order = sorted(range(len(texts)), key=lambda row: (_fraction(f"{labels[row]}\0{texts[row]}"), row))
    taken: dict[int, int] = defaultdict(int)
    chosen = []
    for row in order:
        taken[labels[row]] += 1
        if per_class is None or taken[labels[row]] <= per_class:
            chosen.append(row)
    return sorted(chosen[:total])


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
