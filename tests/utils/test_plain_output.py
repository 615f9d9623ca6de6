"""Text that an encoding lacks is replaced, and nothing fails."""

from __future__ import annotations

import io
import sys

import pytest

from clbench.utils.plain_output import PLAIN, plain_output


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_every_character_finds_a_stand_in(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    plain_output()
    sys.stdout.write("n of N † ‡ × ± 漢 \ud800\n")
    sys.stdout.flush()
    text = written.getvalue().decode(encoding)
    assert text.startswith("n of N ")
    assert text.endswith(" ? ?\n")
    assert all(stand_in.isascii() for stand_in in PLAIN.values())


def test_a_terminal_that_shows_all_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8"))
    plain_output()
    sys.stdout.write("†")
    sys.stdout.flush()
    assert written.getvalue() == "†".encode()
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    plain_output()
