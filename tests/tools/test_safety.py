"""The programs that try to break clbench are started one after the other, and a missing one is a violation."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tools.safety import __main__ as safety
from tools.safety.disks import cases
from tools.safety.small_disks import Said, wrong


def test_the_short_form_of_disks_is_a_part_of_the_long_form() -> None:
    short, long = cases(False), cases(True)
    assert 0 < len(short) < len(long)
    assert set(short) < set(long)
    assert len({(case.kind, case.name) for case in long}) == len(long)


def test_a_missing_program_fails(capsys: pytest.CaptureFixture[str]) -> None:
    found = safety.run("ghosts", "tools.safety.ghosts", [])
    assert found.status != 0
    assert "VIOLATED" in safety.table([found])


def test_the_end_of_a_program_is_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = safety.run("platform", "platform", [])
    assert found.status == 0
    assert found.last in safety.table([found])


def test_the_disks_are_a_program() -> None:
    assert find_spec(safety.PROGRAMS["disks"]) is not None
    assert find_spec(safety.PROGRAMS["kills"]) is not None


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (Said(0, "", ""), "status 0"),
        (Said(1, "", "Traceback (most recent call last)"), "Traceback"),
        (Said(1, "", "no word about it"), "does not say 'full'"),
        (Said(1, "", "full\n" * 40), "40 lines"),
    ],
)
def test_a_bad_end_is_noticed(said: Said, text: str) -> None:
    assert wrong(Said(1, "", "the disk is full"), 1, "full") == []
    assert text in wrong(said, 1, "full")[0]
