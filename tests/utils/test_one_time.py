"""Progress of work that is done once."""

from __future__ import annotations

import threading

import pytest

from clbench.utils import one_time as module
from clbench.utils.one_time import listening, long_call, one_time, size_of
from clbench.utils.signs_of_life import reading


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; a test moves it."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_a_listener_gets_the_progress_and_the_end(clock: list[float]) -> None:
    said: list[str] = []
    with listening(said.append), one_time("features of tiny", 50_000) as advance:
        for _ in range(4):
            advance(6_000)
            clock[0] += module.EVERY / 2
    assert said == ["features of tiny: 18,000/50,000", ""]


def test_short_work_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    with listening(said.append), one_time("short", 2) as advance:
        advance(2)
    with one_time("short", 2) as advance:
        clock[0] += module.LINES / 2
        advance(2)
    assert said == []
    assert capsys.readouterr().err == ""


def test_without_a_listener_there_is_a_line_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with one_time("decoding", unit="images") as advance:
        for _ in range(25):
            clock[0] += 1
            advance(1)
    assert capsys.readouterr().err == "decoding: 10 images\ndecoding: 20 images\n"


def test_the_innermost_work_speaks(clock: list[float]) -> None:
    said: list[str] = []
    with listening(said.append), one_time("outer", 2) as outer, one_time("inner", 2) as inner:
        clock[0] += 10
        outer(1)
        inner(1)
    assert said == ["inner: 1/2", ""]


def test_every_part_is_a_sign_of_life() -> None:
    before = reading()
    with one_time("work") as advance:
        advance(1)
        assert reading() != before


@pytest.mark.parametrize(("total", "expected"), [(None, "download: 3 MB"), (7, "download: 3/7 MB")])
def test_a_call_of_a_library_is_measured_from_outside(monkeypatch: pytest.MonkeyPatch, total: int | None, expected: str) -> None:
    said: list[str] = []
    told = threading.Event()

    def listener(text: str) -> None:
        said.append(text)
        told.set()

    monkeypatch.setattr(module, "EVERY", 0.001)
    with listening(listener), long_call("download", lambda: 3, total, "MB"):
        assert told.wait(60)
    assert said[0] == expected
    assert said[-1] == ""


def test_a_file_that_was_closed_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed() -> int:
        raise ValueError("I/O operation on closed file")

    told = threading.Event()
    monkeypatch.setattr(module, "EVERY", 0.001)
    with listening(lambda text: told.set()), long_call("checksum", closed):
        assert told.wait(60)


def test_the_size_of_a_folder_is_in_megabytes(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(bytes(2_500_000))
    assert size_of(tmp_path) == 2
    assert size_of(tmp_path / "absent") == 0
