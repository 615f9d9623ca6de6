"""Messages reach the display of a sweep, and the user's own configuration of logging stays as it is."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from clbench.utils.notify import LOG, redirect

DEEP = logging.getLogger("clbench.models.pretraining")


def test_the_innermost_listener_gets_the_messages() -> None:
    outer: list[str] = []
    inner: list[str] = []
    with redirect(outer.append):
        DEEP.info("one")
        with redirect(inner.append):
            DEEP.warning("two %d", 2)
        DEEP.debug("not for users")
        LOG.info("three")
    DEEP.info("nobody listens")
    assert (outer, inner) == (["one", "three"], ["two 2"])


def test_nothing_stays_behind_and_a_level_of_the_user_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    before = (LOG.level, list(LOG.handlers))
    with pytest.raises(ZeroDivisionError), redirect(said.append):
        raise ZeroDivisionError
    assert (LOG.level, LOG.handlers) == before
    monkeypatch.setattr(LOG, "level", logging.ERROR)
    LOG.manager._clear_cache()  # type: ignore[attr-defined]
    with redirect(said.append):
        LOG.warning("too much")
        LOG.error("wanted")
    assert said == ["wanted"]


def test_without_a_listener_warnings_go_to_the_error_stream_and_imports_configure_nothing() -> None:
    code = (
        "import logging; import clbench.runner.sweep, clbench.utils.notify\n"
        "names = ['clbench', *[n for n in logging.root.manager.loggerDict if n.startswith('clbench')]]\n"
        "assert not logging.root.handlers\n"
        "assert all(not logging.getLogger(n).handlers and not logging.getLogger(n).level for n in names), names\n"
        "logging.getLogger('clbench.x').warning('heard')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "heard\n"
