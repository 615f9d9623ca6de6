"""A few real kills: nothing is lost, nothing repeated."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.kill_sweep import kill_sweeps


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("at_once", [1, 2])
def test_a_few_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, at_once: int) -> None:
    words = ("method=naive,er", "scenario=split_digits", "seeds=2", "trainer.epochs=2")
    report = kill_sweeps(tmp_path / "sweeps", 4, words, at_once, seed=at_once)
    assert report.violations == []
    assert sum(report.kills.values()) == 4
