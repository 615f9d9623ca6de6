"""The comparison with naive: paired by seed, beyond the interval, with reasons."""

import pytest
import yaml

from clbench.records import Record
from tools.worse_than_naive import METHODS, REASONS, STREAMS, compare, explained, jobs, overview, table


def records(rows):
    """Records of two tasks from (accuracy of task 0 when learned, at the end, of task 1) by seed, in percent."""
    columns = [{"name": f"task {task}", "role": "task", "metric": "accuracy"} for task in (0, 1)]
    return [
        Record(
            {"seed": seed},
            {
                "setting": "domain",
                "n_tasks": 2,
                "sequential": True,
                "columns": columns,
                "events": [{"kind": "task", "task": task, "step": None} for task in (0, 1)],
                "matrix": [[[first, 100], [0, 100]], [[last, 100], [second, 100]]],
            },
        )
        for seed, (first, last, second) in enumerate(rows)
    ]


NAIVE = records([(90, 50, 90), (80, 42, 90), (85, 44, 91)])


def faults(rows, failed=0):
    return compare("s", "m", records(rows), NAIVE, failed).faults


def test_a_method_that_forgets_less_has_no_fault():
    assert faults([(90, 80, 90), (80, 70, 90), (85, 75, 90)]) == []


def test_more_forgetting_and_a_lower_end_are_found_by_pairs():
    assert faults([(90, 40, 90), (80, 31, 90), (85, 34, 91)]) == ["forgets more", "ends lower"]


def test_a_difference_within_its_interval_is_no_fault():
    assert faults([(90, 40, 90), (80, 52, 90), (85, 44, 91)]) == []


def test_one_seed_alone_has_no_interval():
    assert faults([(90, 10, 90)]) == []


def test_who_learns_nothing_is_listed_though_nothing_is_forgotten():
    plain = records([(90, 10, 90), (89, 10, 90)])
    cell = compare("s", "m", records([(90, 90, 10), (89, 90, 10)]), plain)
    assert cell.forgetting is not None
    assert cell.forgetting < 0.1
    assert cell.faults == ["learns little"]


def test_failed_seeds_are_a_fault():
    assert faults([(90, 80, 90), (80, 70, 90)], failed=1) == ["1 failed"]


def test_a_reason_of_the_stream_wins_and_a_key_may_name_several_methods():
    cell = compare("s", "m", records([(90, 40, 90), (80, 31, 90), (85, 34, 91)]), NAIVE)
    assert explained({"any": {"k m": "nature"}, "s": {"m": "here"}}, cell) == "here"
    assert explained({"any": {"k m": "nature"}}, cell) == "nature"
    assert explained({"other": {"m": "there"}}, cell) is None
    assert table([cell], {})[-1].endswith("**not explained** |")


def test_the_overview_has_a_row_for_each_method_and_marks_few_seeds():
    cell = compare("permuted_digits domain", "m", records([(90, 40, 90), (80, 30, 90), (85, 34, 91)]), NAIVE)
    assert overview([cell])[0] == "| method | permuted_digits domain |"
    assert overview([cell])[2] == "| m | +10.7 ± 2.9; -5.3 ± 1.4 (n 3) |"


@pytest.mark.parametrize("stream", STREAMS)
def test_every_stream_and_method_can_be_composed(stream):
    made = jobs([stream], METHODS[:3] if "digits" in stream else ("ewc", "osft"), "1", "nowhere")
    assert all(job.specs()[0].config["scenario"]["setting"] == stream.split()[1] for job in made.values())


def test_every_reason_is_for_a_stream_and_a_method_that_are_compared():
    reasons = yaml.safe_load(REASONS.read_text(encoding="utf-8"))
    assert set(reasons) <= {*STREAMS, "any"}
    for found in reasons.values():
        assert {name for methods in found for name in methods.split()} <= set(METHODS)
        assert all(reason.strip() for reason in found.values())
