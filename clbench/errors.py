"""The errors a user is meant to read: what is wrong, where, and the remedy."""

from __future__ import annotations


class ClbenchError(Exception):
    """An error whose message is complete by itself; the command line prints it without a traceback.

    Args:
        what: what is wrong, naming the field and the value.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what, self.remedy = what, remedy
        super().__init__(f"{what}\n  -> {remedy}" if remedy else what)


class ConfigError(ClbenchError):
    """A configuration value that cannot be used."""


class DataError(ClbenchError):
    """A data file that is missing, damaged, or not of the layout that was promised."""


class RefusedError(ClbenchError):
    """A combination that makes no sense, for example a method in a setting it does not declare."""


class StoreError(ClbenchError):
    """The result store cannot be read or written; what it already holds is left untouched."""


class DivergedError(ClbenchError):
    """Training produced a loss that is not finite."""
