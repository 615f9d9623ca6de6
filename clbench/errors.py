"""Errors for users: the fault, its place, and the remedy."""

from __future__ import annotations

import re
from typing import Any

LONGEST_WORD, LONGEST_TEXT = 300, 1500
"""Characters of a message that are shown: of a part without spaces, and of the whole fault."""


def shown(value: Any, longest: int = 200) -> str:
    """Return a value for a message: shortened, with control characters escaped."""
    try:
        text = repr(value)
    except ValueError:  # Python spells no integer of more than 4,300 digits
        text = "a number with thousands of digits"
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"


def tidy(text: str) -> str:
    """Return a text without control characters other than line breaks, with very long words and very long texts shortened."""
    text = re.sub(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]", lambda found: repr(found[0])[1:-1], text)
    text = re.sub(rf"\S{{{LONGEST_WORD},}}", lambda found: f"{found[0][:80]}… ({len(found[0])} characters)", text)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… ({len(text)} characters)"


class ClbenchError(Exception):
    """An error whose message is complete by itself; the command line prints it without a traceback.

    Args:
        what: the fault, with field and value.
        remedy: what the user can do.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what, self.remedy = what, remedy = tidy(what), tidy(remedy)
        super().__init__(f"{what}\n  -> {remedy}" if remedy else what)

    @property
    def line(self) -> str:
        """Fault and remedy in one line."""
        return " -> ".join(" ".join(part.split()) for part in (self.what, self.remedy) if part)


class ConfigError(ClbenchError):
    """A configuration value that cannot be used."""


class DataError(ClbenchError):
    """A data file that is missing, damaged, or has another layout than declared."""


class RefusedError(ClbenchError):
    """A combination without a meaning, for example a method in a setting that it does not declare."""


class StoreError(ClbenchError):
    """The result store cannot be read or written; stored records stay unchanged."""


class UnwritableError(StoreError):
    """The results folder takes no more files: its disk is full or read-only, or the folder is gone. No run could be stored."""


class DivergedError(ClbenchError):
    """Training produced a loss that is not finite."""
