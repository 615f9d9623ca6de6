"""A mutation: one error in the source that tests must notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One change of the source.

    Args:
        name: name in the report and on the command line.
        file: path below the root of the tree.
        old: text that occurs in the file exactly once.
        new: text in its place.
        tests: arguments for pytest; one of the tests must fail. Few and quick.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
