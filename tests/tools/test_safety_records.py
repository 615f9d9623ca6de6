"""The program that tries hostile records: it counts, and a fault becomes a violation."""

import json

import pytest

from clbench.leaderboard import entries
from tools.safety import record_mutations, records
from tools.safety.record_mutations import accepted, sealed, store
from tools.safety.report import Report


def test_a_report_without_and_with_violations():
    report = Report()
    report.counts["kill"] += 3
    assert (report.status, report.text()) == (0, "kill  3\n3 cases, 0 violations")
    report.violations.append("one\nline")
    assert report.status == 1
    assert report.text().splitlines()[1:] == ["violation: one line", "3 cases, 1 violations"]


def test_random_changes_are_refused_or_shown():
    report = records.random_changes(25, 3)
    assert report.violations == []
    assert report.counts["random change, refused"] + report.counts["random change, accepted"] == 25


def test_a_fault_in_a_table_is_a_violation(monkeypatch):
    def broken(*_):
        raise TypeError("in a table")

    monkeypatch.setattr(record_mutations, "rows", broken)
    assert any("TypeError" in line and "in a table" in line for line in records.random_changes(40, 3).violations)


def test_a_fault_in_reading_is_a_violation(monkeypatch):
    monkeypatch.setattr(records, "accepted", lambda path: {}["missing"])
    assert len(records.random_changes(3, 0).violations) == 3


def test_the_seal_of_an_unchanged_record_is_its_own(tmp_path):
    (path, *_) = records.good_files()
    body = json.loads(path.read_text())
    assert sealed(body) == body
    assert accepted(store(body, tmp_path)).id == path.stem
    assert entries.all_usable([accepted(path)])[1] == []


@pytest.mark.parametrize(
    ("status", "stderr", "violations"),
    [
        (1, "left out: a.json\nleft out: b.json", 0),
        (1, "left out: a.json\nleft out: a.json\nleft out: b.json", 2),
        (1, "left out: b.json", 2),
        (1, "left out: a.json\nleft out: b.json\nTraceback (most recent call last)", 1),
        (0, "left out: a.json\nleft out: b.json", 1),
        (124, "", 1),
    ],
)
def test_the_end_of_a_command_is_checked(status, stderr, violations):
    report = Report()
    done = records.subprocess.CompletedProcess([], status, "", stderr)
    records.checked("command", done, {"a.json": "cut", "b.json": "pipe"}, report)
    assert len(report.violations) == violations


def test_a_command_that_hangs_ends_with_124():
    assert records.run(["-c", "while True: pass"], seconds=0.2).returncode == 124
