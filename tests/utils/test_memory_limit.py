"""A limit of memory refuses what is larger, and ends with its context."""

from __future__ import annotations

import sys

import pytest

from clbench.utils import memory_limit as module
from clbench.utils.memory_limit import memory_limit

resource = pytest.importorskip("resource", reason="no limits on this system")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
FREE = 200 << 20


@pytest.fixture(autouse=True)
def _free(monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda: FREE)


def test_a_large_request_fails_and_a_small_one_does_not():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory_limit(0.5):
        assert len(bytearray(FREE // 8)) == FREE // 8
        with pytest.raises(MemoryError):
            bytearray(FREE)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert len(bytearray(FREE)) == FREE


def test_the_limit_ends_with_an_error():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(ValueError, match="broken"), memory_limit(0.5):
        raise ValueError("broken")
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_lower_limit_of_the_user_holds():
    with memory_limit(0.25):
        lower = resource.getrlimit(resource.RLIMIT_DATA)
        with memory_limit(1.0):
            assert resource.getrlimit(resource.RLIMIT_DATA) == lower


def test_nothing_changes_where_the_free_memory_is_unknown(monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda: None)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory_limit(0.5):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before
