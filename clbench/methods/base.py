"""The earlier place of the contract. Its place today is `clbench.method`."""

from typing import Any

from clbench import method
from clbench.method import Method as Method


def __getattr__(name: str) -> Any:
    """Return what else stood here."""
    return getattr(method, name)
