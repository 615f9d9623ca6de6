"""The program that lets runs hang finds what it looks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.safety import limits
from tools.safety.hanging_method import WAYS
from tools.safety.limits import MARK, Case, check, marked


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """A command that ends at once."""
    made = Case(tmp_path, "main", ("--version",))
    assert made.end(120)[0] == 0
    return made


def test_every_rule_has_its_violation(case: Case) -> None:
    assert check(case, 0, "fine", (0,)) == []
    assert check(case, None, "", (0,)) == ["did not end in time"]
    assert check(case, 1, "oh", (0, 143)) == ["exit status 1 instead of 0 or 143: oh"]
    assert check(case, 0, "x Traceback (most", (0,)) == ["a traceback: Traceback (most"]


def test_a_process_that_is_left_is_found_and_ended(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRACE", 0.0)
    code = "import time; print('ready', flush=True); time.sleep(600)"
    environment = {MARK: case.mark}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as left:
        assert left.stdout is not None
        assert left.stdout.readline()
        assert marked(case.mark) == [left.pid]
        assert check(case, 0, "", (0,)) == [f"process {left.pid} is left"]
    assert marked(case.mark) == []


def test_there_are_a_dozen_ways_to_hang() -> None:
    assert len(WAYS) >= 12
    assert set(limits.SHORT) <= set(WAYS)
