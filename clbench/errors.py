"""Errors for users: the fault, its place, and the remedy."""

from __future__ import annotations


class ClbenchError(Exception):
    """An error whose message is complete by itself; the command line prints it without a traceback.

    Args:
        what: the fault, with field and value.
        remedy: what the user can do.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what, self.remedy = what, remedy
        super().__init__(f"{what}\n  -> {remedy}" if remedy else what)


class ConfigError(ClbenchError):
    """A configuration value that cannot be used."""


class DataError(ClbenchError):
    """A data file that is missing, damaged, or has another layout than declared."""


class RefusedError(ClbenchError):
    """A combination without a meaning, for example a method in a setting that it does not declare."""


class StoreError(ClbenchError):
    """The result store cannot be read or written; stored records stay unchanged."""


class DivergedError(ClbenchError):
    """Training produced a loss that is not finite."""
