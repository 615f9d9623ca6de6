"""Functions that can be called through a stand-in, which holds no reference to them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_functions: dict[int, Callable[..., Any]] = {}
"""The functions by number, within their blocks."""
_numbers = itertools.count()


class Detached:
    """Calls the function of a number. After its block, a call does nothing."""

    def __init__(self, number: int) -> None:
        """Keep the number alone."""
        self.number = number

    def __call__(self, *arguments: Any) -> None:
        """Call the function."""
        if self.number in _functions:
            _functions[self.number](*arguments)


@contextmanager
def detached(function: Callable[..., Any]) -> Iterator[Detached]:
    """Provide a stand-in for `function` within the block: calls reach it, attributes and closures do not.

    A training loop keeps the callbacks of its run, and a method can reach the loop. The run has the test data.
    """
    number = next(_numbers)
    _functions[number] = function
    try:
        yield Detached(number)
    finally:
        del _functions[number]
