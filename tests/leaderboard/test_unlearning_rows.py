"""Rows of streams with requests: two goals apart, a reference of the same seed, and nothing where nothing may be concluded."""

import copy
import json

import pytest

from clbench.errors import StoreError
from clbench.leaderboard.entries import usable
from clbench.leaderboard.rows import UNLEARNING, rows
from clbench.leaderboard.tables import notes, render, sections
from clbench.records import Record
from tests.leaderboard.factory import record
from tests.metrics.test_unlearning import ROWS, result, some_losses

BETTER = [*ROWS[:3], [70, 2, 0, 60, 0, 0, 90, 74]]


def record_of(method, seed=0, matrix=ROWS, goal="retrain", claim=True, shift=0.0, **identity):
    plain = record(seed, method=method, scenario="unlearn_digits")
    target = f"clbench.methods.{method}.{'Retrain' if method == 'retrain' else 'Method'}"
    whole = {**plain.identity, "method": {"_target_": target, "version": 1}, "scenario": {"goal": goal}, **identity}
    made = result(matrix, some_losses(shift), goal=goal, claim=claim)
    base = plain.result | made
    return Record(
        whole, base, plain.cost | {"inference_ms": [1.0, 3.0]}, {"variant": "" if goal == "suppress" else "goal=retrain"}
    )


def row_of(found, method):
    (row,) = [row for row in found if row["method"] == method]
    return row


def test_retained_and_forgotten_stand_in_the_row():
    (row,) = rows([record_of("ga", goal="suppress")])
    assert (row["goal"], row["claim"]) == ("suppress", True)
    assert row["acc"] == 86
    assert row["forget_acc"] == pytest.approx(7)
    assert row["utility_acc"] == 74
    assert row["inference_ms"] == 3.0
    assert [row[key] for key in ("forgetting", "bwt", "learning_accuracy", "fwt")] == [None] * 4
    assert json.loads(render([row], "json"))[0]["forget_acc"] == pytest.approx(7)


def test_differences_need_the_reference_and_the_goal():
    alone = row_of(rows([record_of("ga")]), "ga")
    assert alone["forget_gap"] is None
    assert alone["retrain_distance"] is None
    beside = row_of(rows([record_of("ga"), record_of("retrain", matrix=BETTER, shift=5.0)]), "ga")
    assert beside["forget_gap"] == pytest.approx(7)
    assert beside["retain_gap"] == pytest.approx(-4)
    assert beside["retrain_distance"] > 0.9
    hidden = row_of(rows([record_of("ga", goal="suppress"), record_of("retrain", goal="suppress", matrix=BETTER)]), "ga")
    assert hidden["forget_gap"] is None


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"model": {"hidden": [7]}}, {"trainer": {"epochs": 2}}, {"data_sha256": "1" * 64}]
)
def test_another_run_is_no_reference(other):
    seed = other.pop("seed", 0)
    found = rows([record_of("ga"), record_of("retrain", seed, BETTER, **other)])
    assert row_of(found, "ga")["forget_gap"] is None


def test_retraining_is_its_own_reference():
    row = row_of(rows([record_of("retrain", seed, shift=float(seed)) for seed in range(3)]), "retrain")
    for key in ("forget_gap", "forget_train_gap", "retain_gap", "utility_gap", "membership_gap", "retrain_distance"):
        assert row[key] == 0, key
        assert row[f"{key}_ci95"] == 0, key


def test_every_seed_needs_its_reference():
    some = [record_of("ga", 0), record_of("ga", 1), record_of("retrain", 0, BETTER)]
    assert row_of(rows(some), "ga")["forget_gap"] is None
    assert row_of(rows([*some, record_of("retrain", 1, BETTER)]), "ga")["forget_gap"] == pytest.approx(7)


def test_no_claim_no_numbers():
    (row,) = rows([record_of("ga", 0, goal="suppress"), record_of("ga", 1, goal="suppress", claim=False)])
    assert row["claim"] is False
    assert row["acc"] == 86
    assert all(row[key] is None for key in UNLEARNING)
    assert any("reported only if" in note and "unlearn_digits ga" in note for note in notes([row]))


def test_goals_never_share_a_table():
    found = rows([record_of(method, goal=goal) for method in ("ga", "retrain") for goal in ("suppress", "retrain")])
    parts = list(sections(found))
    assert [title.split(" · ")[2] for title, _ in parts] == ["goal retrain", "goal suppress"]
    assert all(len({row["goal"] for row in part}) == 1 for _, part in parts)
    text = render(found, "markdown")
    heads = [line for line in text.splitlines() if line.startswith("| method")]
    assert len(heads) == 2
    assert "KS" in heads[0]
    assert "KS" not in heads[1]
    assert all("retained" in head and "forgotten" in head and "BWT" not in head for head in heads)
    assert render(found, "latex").count(r"\toprule") == 2


def test_detection_and_the_time_of_an_answer_are_shown_where_they_mean_something():
    plain, detecting = record_of("ga", goal="suppress"), record_of("o3", goal="suppress")
    detecting.result["diagnostics"][-1]["detection"] = [{"request": 1, "retain": 0.875}]
    found = rows([plain, detecting])
    assert row_of(found, "o3")["detection_auc"] == 87.5
    lines = render(found, "markdown").splitlines()
    heads = [cell.strip() for cell in lines[2].split("|")]
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")] for line in lines[4:6]}
    assert [cells[name][heads.index("detection")] for name in ("o3", "ga")] == ["87.5", "–"]
    assert cells["ga"][heads.index("ms a sample")] == "3"
    assert "detection" not in render(rows([plain]), "markdown").splitlines()[2]


def test_other_streams_look_as_before():
    text = render(rows([record()]), "markdown")
    assert "forgotten" not in text.splitlines()[2]
    assert "Requests to forget" not in text


def test_records_that_cannot_be_read_are_named():
    broken = record_of("ga")
    broken = Record(broken.identity, copy.deepcopy(broken.result), broken.cost, broken.provenance)
    del broken.result["events"][-1], broken.result["matrix"][-1]
    usable(record_of("retrain"))
    with pytest.raises(StoreError, match="no readable requests"):
        usable(broken)


def test_a_method_of_ones_own_has_a_source_and_retraining_on_the_same_stream_is_still_its_reference():
    own = {"method": {"mine": "1" * 16}}
    beside = row_of(rows([record_of("ga", sources=own), record_of("retrain", matrix=BETTER)]), "ga")
    assert beside["forget_gap"] == pytest.approx(7)
    stream = {"scenario": {"streams": "2" * 16}}
    both = [record_of("ga", sources={**own, **stream}), record_of("retrain", matrix=BETTER, sources=stream)]
    assert row_of(rows(both), "ga")["forget_gap"] == pytest.approx(7)
    other = record_of("retrain", matrix=BETTER, sources={"scenario": {"streams": "3" * 16}})
    assert row_of(rows([both[0], other]), "ga")["forget_gap"] is None
