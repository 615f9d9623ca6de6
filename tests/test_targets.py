"""Names of classes that cannot be found: each error names the class and a place for it."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from clbench.errors import ConfigError
from clbench.instantiate import locate


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "session_without_file.Here",
            "module session_without_file has no Here\n  -> define Here in the module session_without_file",
        ),
        ("session_without_file.make.<locals>.Here", "is defined within a function.*\n  -> define it at the top level"),
    ],
)
def test_a_class_that_the_session_does_not_hold(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.setitem(sys.modules, "session_without_file", ModuleType("session_without_file"))
    with pytest.raises(ConfigError, match=message):
        locate(name, "method")
