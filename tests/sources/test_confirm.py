"""A run never gets the name of a source that it was not made by."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

import pytest

from clbench.errors import ConfigError, StoreError
from clbench.sources.confirm import confirm
from clbench.sources.trace import Sources, sources


def later(path: Path, text: str) -> None:
    """Write a file with a time after all imports so far."""
    path.write_text(text)
    os.utime(path, ns=(time.time_ns() + 10**9, time.time_ns() + 10**9))


def earlier(path: Path, text: str) -> None:
    path.write_text(text)


def now(name: str) -> Sources:
    return sources({"method": {"_target_": f"{name}.A"}})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_module_that_is_not_loaded_must_be_what_the_run_is_named_after(folder: Path) -> None:
    earlier(folder / "cf_a.py", "x = 1\n")
    named = now("cf_a")
    confirm(named)
    (folder / "cf_a.py").write_text("x = 2\n")
    with pytest.raises(ConfigError, match=r"cf_a.py was changed after this command had named its runs"):
        confirm(named)
    confirm(named, finished=True)  # the run never imported it
    confirm(now("cf_a"))


def test_an_edit_after_the_import_changes_nothing_for_the_runs_that_were_named_before(folder: Path) -> None:
    earlier(folder / "cf_b.py", "x = 1\n")
    named = now("cf_b")
    importlib.import_module("cf_b")
    confirm(named)
    later(folder / "cf_b.py", "x = 2\n")
    confirm(named)
    confirm(named, finished=True)
    edited = now("cf_b")
    with pytest.raises(ConfigError, match=r"cf_b.py was changed after this Python process imported it") as told:
        confirm(edited)
    assert "importlib.reload(sys.modules['cf_b'])" in str(told.value)


def test_a_module_that_was_edited_before_the_run_imported_it_late_leaves_no_result(folder: Path) -> None:
    earlier(folder / "cf_late.py", "x = 1\n")
    named = now("cf_late")
    confirm(named)
    earlier(folder / "cf_late.py", "x = 22\n")
    importlib.import_module("cf_late")
    with pytest.raises(StoreError, match=r"cf_late.py was changed after this command had named its runs"):
        confirm(named, finished=True)


def test_the_remedy_works(folder: Path) -> None:
    earlier(folder / "cf_c.py", "x = 1\n")
    importlib.import_module("cf_c")
    later(folder / "cf_c.py", "x = 2\n")
    with pytest.raises(ConfigError, match="imported it"):
        confirm(now("cf_c"))
    os.utime(folder / "cf_c.py", (0, 0))
    importlib.reload(sys.modules["cf_c"])
    confirm(now("cf_c"))


def test_a_module_with_parts_of_another_one_from_before_its_reload_is_refused(folder: Path) -> None:
    earlier(folder / "cf_help.py", "x = 1\n")
    earlier(folder / "cf_d.py", "from cf_help import x\n")
    importlib.import_module("cf_d")
    confirm(now("cf_d"))
    earlier(folder / "cf_help.py", "x = 22\n")
    importlib.reload(sys.modules["cf_help"])
    with pytest.raises(ConfigError, match="cf_help was loaded again, and cf_d still holds its earlier parts"):
        confirm(now("cf_d"))
    importlib.reload(sys.modules["cf_d"])
    confirm(now("cf_d"))
