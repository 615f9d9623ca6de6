"""The known name that someone probably meant: for the suggestions of all commands."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], slips: int | None = None) -> str:
    """Return the known name that is most similar to `name`; empty if none is similar.

    Upper case, and `-` in place of `_`, make no difference. A name of up to five letters may have one slip, a longer one
    more: see `distance`. Without such a name, one that begins with `name` is taken, then one that has it as a part.

    Args:
        name: as typed.
        known: all names.
        slips: how many there may be at most; only then is nothing but their number looked at. None: a third of the letters.

    >>> nearest("gmp", ["sgp", "gpm"]), nearest("Split-MNIST", ["split_mnist"]), nearest("mnist", ["split_mnist"])
    ('gpm', 'split_mnist', 'split_mnist')
    >>> nearest("nonsense", ["gpm"])
    ''
    """
    names, typed = list(dict.fromkeys(known)), _plain(name)
    if not typed:
        return ""
    scored = [(distance(typed, _plain(each)), _plain(each)[:1] != typed[:1], index) for index, each in enumerate(names)]
    close = [
        score for score in scored if score[0] <= (max(1, len(typed) // 3) if slips is None else slips) and score[0] < len(typed)
    ]
    parts = [each for each in names if sorted(_plain(each).split("_")) == sorted(typed.split("_"))]
    if parts:
        return parts[0]
    if close:
        return names[min(close)[2]]
    if slips is not None:
        return ""
    if len(typed) > 1:
        begins = [each for each in names if _plain(each).startswith(typed)]
        has = [each for each in names if typed in _plain(each).replace(".", "_").replace("/", "_").split("_")]
        for found in (begins, has):
            if found:
                return min(found, key=len)
    similar = difflib.get_close_matches(typed, [_plain(each) for each in names], n=1)
    return next((each for each in names if similar and _plain(each) == similar[0]), "")


def distance(first: str, second: str) -> int:
    """Return how many slips lie between two words: a missing, a further or a wrong letter, or two letters exchanged.

    Source: Damerau, "A technique for computer detection and correction of spelling errors", CACM 7(3), 1964; here each
    letter takes part in one slip at most (optimal string alignment).

    >>> distance("gmp", "gpm"), distance("gmp", "sgp"), distance("er", "er")
    (1, 2, 0)
    """
    before: list[int] = []
    last = list(range(len(second) + 1))
    for i, letter in enumerate(first):
        row = [i + 1]
        for j, other in enumerate(second):
            row.append(min(last[j + 1] + 1, row[j] + 1, last[j] + (letter != other)))
            if i and j and letter == second[j - 1] and first[i - 1] == other:
                row[-1] = min(row[-1], before[j - 1] + 1)
        before, last = last, row
    return last[-1]


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")
