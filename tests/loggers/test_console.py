"""What the console says, and when."""

from dataclasses import replace

import pytest

from clbench.loggers.console import Console


def run(info, record, said, summary="auto", matrix="auto"):
    console = Console(summary, matrix, said.append)
    console.begin(info)
    console.event(record.result)
    assert said == [], "nothing before the end"
    console.end(record)
    return said


def test_a_single_run_is_shown_in_one_piece(info, record, said):
    (text,) = run(info, record, said)
    lines = text.splitlines()
    label, metrics = lines[0].split(": ")
    assert label == info.label
    assert metrics == "acc 89.67, forgetting 0.50, learning accuracy 90.00"
    assert [line.split()[0] for line in lines[2:]] == ["untrained", "zero", "one", "two"], "no row within a task"
    assert lines[1].split() == ["0", "1", "2"]
    for number in ("87", "94", "88"):
        assert number in lines[-1]
    assert "\x1b" not in text


def test_colours_only_where_they_are_shown(info, record, said):
    (text,) = run(replace(info, color=True), record, said)
    assert "\x1b[" in text


@pytest.mark.parametrize(
    ("summary", "matrix", "n_runs", "lines"),
    [
        ("auto", "auto", 2, 0),
        ("always", "auto", 2, 1),
        ("auto", "always", 2, 5),
        ("always", "always", 2, 6),
        ("auto", "never", 1, 1),
        ("never", "auto", 1, 5),
        ("never", "never", 1, 0),
    ],
)
def test_when(info, record, said, summary, matrix, n_runs, lines):
    run(replace(info, n_runs=n_runs), record, said, summary, matrix)
    assert sum(len(text.splitlines()) for text in said) == lines
    assert len(said) <= 1


def test_what_is_undefined_is_left_out(info, record, said):
    result = record.result
    events = [{"kind": "task", "task": 2, "step": None}]
    joint = replace(record, result=result | {"sequential": False, "events": events, "matrix": result["matrix"][-1:]})
    (text,) = run(info, joint, said, matrix="never")
    assert text.endswith("seed 7: acc 89.67")


def test_a_failed_run_is_the_display_s_business(info, said):
    console = Console("always", "always", said.append)
    console.begin(info)
    console.fail("diverged")
    assert said == []


def test_names_cannot_draw(info, record, said):
    record.result["task_names"] = ["\x1b[2Jzero", "a\nb", "\u202etwo"]
    (text,) = run(replace(info, label="er \x1b[2J\n[red]"), record, said)
    assert "\x1b" not in text
    assert "\u202e" not in text
    lines = text.splitlines()
    assert lines[0].startswith(r"er \x1b[2J\n[red]: ")
    assert len(lines) == 6
