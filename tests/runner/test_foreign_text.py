"""Names of plug-ins and messages of their errors, in the display of a sweep and in the files of failed runs."""

from __future__ import annotations

import io
import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clbench.errors import ClbenchError
from clbench.records import Record
from clbench.run_spec import RunSpec
from clbench.runner.execute import failed, failure_log, reason_and_remedy
from clbench.runner.outcome import Outcome, Status
from clbench.runner.progress import LiveDisplay, PlainDisplay
from clbench.runner.run_specs import run_specs
from clbench.runner.sweep import conclude
from clbench.runner.worker_messages import Report
from clbench.store.failures import failure_path, read_failure
from tests.runner.run_functions import make_spec
from tests.utils.test_markup import HOSTILE

EVIL = "\x1b[2J\x1b]8;;http://example.org\x1b\\[red]x[/wrong] :bug:\u202e\n\x07\x9b31m"


def hidden(text: str) -> list[str]:
    return [char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char != "\n"]


def named(folder: Path, text: str) -> RunSpec:
    spec = make_spec(folder)
    names = {**spec.identity["names"], "method": text, "scenario": text}
    identity = {**spec.identity, "names": names}
    return replace(spec, identity=identity, variant=text)


def raises(spec: RunSpec, report: Report) -> Record:
    """Fail as a plug-in whose message holds escape sequences."""
    raise ValueError(EVIL)


@pytest.mark.parametrize("text", [*HOSTILE[:-1], EVIL])
def test_the_live_display_shows_names_and_reasons_as_text(tmp_path: Path, text: str) -> None:
    file = io.StringIO()
    shown = LiveDisplay(Console(file=file, width=300, height=20, force_terminal=True, color_system=None))
    spec = named(tmp_path, text)
    shown.total = 2
    shown.event(spec, {"event": "begin"})
    with shown.console.capture() as drawn:
        shown.console.print(shown)
    shown.event(spec, {"event": "again", "text": f"{spec.label}: {text}"})
    shown.event(spec, {"event": "print", "text": text})
    shown.finished(Outcome(spec, Status.FAILED, text, text))
    shown.waiting([Outcome(spec, Status.BUSY, text)], None)
    assert not hidden(drawn.get())
    assert not hidden(file.getvalue())


@pytest.mark.parametrize("text", [*HOSTILE, EVIL])
def test_plain_lines_show_them_as_text(tmp_path: Path, text: str) -> None:
    file = io.StringIO()
    shown = PlainDisplay(Console(file=file, width=300))
    spec = named(tmp_path, text)
    shown.event(spec, {"event": "again", "text": text})
    shown.event(spec, {"event": "print", "text": text})
    shown.finished(Outcome(spec, Status.FAILED, text, text))
    assert not hidden(file.getvalue())


def test_markup_of_rich_in_a_name_is_neither_executed_nor_an_error(tmp_path: Path) -> None:
    shown = LiveDisplay(Console(file=io.StringIO(), width=300, height=20, force_terminal=True))
    shown.total = 1
    shown.event(named(tmp_path, "[red]x[/wrong] :bug:"), {"event": "begin"})
    with shown.console.capture() as drawn:
        shown.console.print(shown)
    assert drawn.get().count("[red]x[/wrong] :bug:") >= 2


def test_colours_of_a_loggers_text_are_shown(tmp_path: Path) -> None:
    file = io.StringIO()
    shown = PlainDisplay(Console(file=file, width=80, force_terminal=True, color_system="256"))
    shown.event(make_spec(tmp_path), {"event": "print", "text": "\x1b[31m 88\x1b[0m"})
    assert "\x1b[31m 88" in file.getvalue()


def test_reason_and_remedy_are_one_visible_line_each() -> None:
    for error in (ValueError(EVIL), ClbenchError(EVIL, EVIL), ClbenchError(EVIL), OSError(2, "gone", EVIL)):
        for part in reason_and_remedy(error):
            assert "\n" not in part
            assert not hidden(part)


def test_a_plug_ins_error_is_stored_logged_and_printed_as_text(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    shown = PlainDisplay(Console(file=(file := io.StringIO()), width=300))
    (outcome,) = run_specs([spec], shown, 0, "tests.runner.test_foreign_text.raises")
    assert outcome.status is Status.FAILED
    stored = failure_path(tmp_path, spec.id).read_text(encoding="utf-8")
    assert not hidden("".join(json.loads(stored)["failure"]["reason"]))
    assert r"\x1b[2J" in read_failure(failure_path(tmp_path, spec.id)).reason
    assert not hidden(failure_log(spec).read_text(encoding="utf-8"))
    conclude(tmp_path, [outcome], Console(file=file, width=300))
    assert not hidden(file.getvalue())
    assert not hidden((tmp_path / "leaderboard.md").read_text(encoding="utf-8"))


def test_the_report_of_a_failure_keeps_its_lines(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    try:
        raise RuntimeError("two\nlines \x1b[2J")
    except RuntimeError as error:
        failed(spec, error)
    text = failure_log(spec).read_text(encoding="utf-8")
    assert "Traceback (most recent call last):\n" in text
    assert r"lines \x1b[2J" in text
