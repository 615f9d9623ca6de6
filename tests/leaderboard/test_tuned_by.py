"""The column `tuned by`, and tables of validation splits."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from clbench.leaderboard.rows import rows
from clbench.leaderboard.tables import VALIDATION, render, sections
from clbench.leaderboard.tuned_by import LONGEST, MIXED, common, origin
from clbench.records import Record
from tests.leaderboard.factory import record


def told(tuned_by: Any = None, tuning: Any = None, seed: int = 0, method: str = "er") -> Record:
    made = copy.deepcopy(record(seed=seed, method=method))
    made.provenance["tuned_by"] = tuned_by
    if tuning is not None:
        made.identity["tuning"] = tuning
    return made


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"protocol": "first_k", "k": 2, "report": "all", "trials": 20}, "first_2 (20 trials)"),
        ({"protocol": "first_k", "k": 3, "report": "rest", "trials": 30}, "first_3 (30 trials, rest)"),
        ({"protocol": "transfer", "trials": 30}, "transfer (30 trials)"),
        ({"protocol": "transfer", "tuned_on": "split_kmnist", "trials": 30}, "transfer (from split_kmnist, 30 trials)"),
        ({"protocol": "fixed", "values": "tuned"}, "fixed (tuned by hand)"),
        ({"protocol": "fixed", "values": "defaults"}, "fixed (defaults)"),
        ({"protocol": "fixed"}, "fixed"),
        ({}, ""),
        (None, ""),
        ([1], ""),
        ({"protocol": 3}, ""),
        ({"protocol": "fixed", "values": ["x"]}, "fixed"),
        ({"protocol": "first_k", "k": "x", "trials": "y"}, "first_k"),
    ],
)
def test_words_of_a_record(found: Any, text: str) -> None:
    assert origin({}, {"tuned_by": found}) == text
    if text:
        assert origin({"tuning": found}, {"tuned_by": {"protocol": "fixed", "values": "defaults"}}) == text


def test_what_a_hostile_record_says_is_short_and_plain() -> None:
    text = origin({}, {"tuned_by": {"protocol": "x\n\x1b[31m" * 100, "values": "y" * 500}})
    assert len(text) <= LONGEST
    assert "\n" not in text
    assert "\x1b" not in text


def test_a_row_speaks_for_all_of_its_seeds() -> None:
    assert common(["a", "a"]) == "a"
    assert common(["a", ""]) == MIXED
    defaults = {"protocol": "fixed", "values": "defaults"}
    (row,) = rows([told(defaults, seed=0), told({"protocol": "fixed", "values": "given"}, seed=1)])
    assert row["tuned_by"] == MIXED


def test_the_column_is_shown_where_rows_differ_and_said_where_they_do_not() -> None:
    defaults, given = {"protocol": "fixed", "values": "defaults"}, {"protocol": "fixed", "values": "given"}
    same = rows([told(defaults), told(defaults, method="naive")])
    different = rows([told(defaults), told(given, method="naive")])
    for format in ("markdown", "latex"):
        assert "tuned by" not in render(same, format).split("Mean")[0]
        assert "fixed (defaults)" in render(same, format)  # in the notes
        assert "tuned by" in render(different, format).split("Mean")[0]
    assert "tuned by" not in render(rows([told(), told(method="naive")]), "markdown")  # older records do not say
    assert [row["tuned_by"] for row in different] == ["fixed (given)", "fixed (defaults)"] or len(different) == 2
    assert "tuned_by" in render(same, "csv").splitlines()[0]


def valid(made: Record, both: bool) -> Record:
    """Return the record as of a run with `eval.split=valid`, or `both`; validation is a little worse."""
    changed = copy.deepcopy(made)
    columns = [{**column, "role": "valid", "name": f"valid {column['name']}"} for column in changed.result["columns"]]
    worse = [[[max(hits - 1, 0), n] for hits, n in row] for row in changed.result["matrix"]]
    if both:
        changed.result["columns"] += columns
        changed.result["matrix"] = [[*row, *more] for row, more in zip(changed.result["matrix"], worse)]
    else:
        changed.result["columns"], changed.result["matrix"] = columns, worse
    changed.identity["eval"] = {"split": "both" if both else "valid"}
    return changed


def test_validation_and_test_numbers_never_share_a_table() -> None:
    test, both, alone = record(), valid(record(), True), valid(record(), False)
    found = rows([test, both, alone])
    assert [row["split"] for row in found] == ["test", "test", "valid", "valid"]
    titles = [title for title, _ in sections(found)]
    assert len(titles) == 2
    assert VALIDATION not in titles[0]
    assert VALIDATION in titles[1]
    assert found[2]["acc"] < found[0]["acc"]
    assert found[0]["acc"] == found[1]["acc"]
    assert render(found, "markdown").count(VALIDATION) == 1
