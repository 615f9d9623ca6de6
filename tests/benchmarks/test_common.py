"""What the benchmarks compute from their runs; the runs themselves are timed, so they are no tests."""

import sys
from pathlib import Path

import pytest

from clbench.errors import DataError


@pytest.fixture
def common(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import common

    return common


def run(seconds, *diagonal):
    return {"train_s": seconds, "accuracy": [[value] * len(diagonal) for value in diagonal]}


def test_ratios_compares_neighbours_in_a_round(common):
    runs = {"a": [run(2.0), run(20.0), run(6.0)], "b": [run(1.0), run(10.0), run(2.0)]}  # round 2: a busy machine
    found = common.ratios(runs, "a", "b", lambda r: r["train_s"])
    assert found == [2.0, 2.0, 3.0]
    assert common.spread(found) == "2.00 (2.00-3.00)"


def test_learned_is_the_diagonal_averaged_over_rounds(common):
    assert common.learned([run(1.0, 90.0, 80.0), run(1.0, 92.0, 84.0)]) == [91.0, 82.0]


@pytest.mark.parametrize(("other", "same"), [(81.0, True), (81.5, False)])
def test_the_largest_difference_on_any_task_decides(common, other, same):
    text, equal = common.compare_learned({"a": [run(1.0, 90.0, 80.0)], "b": [run(1.0, 90.0, other)]}, ["a", "b"])
    assert equal is same
    assert f"{other - 80.0:.2f} points" in text


def test_contenders_take_turns_round_by_round_with_the_rounds_seed(common, tmp_path):
    log = tmp_path / "log"
    code = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + sys.argv[-1] + ' '); print('{\"train_s\": 1, \"eval_s\": 2}')"
    contenders = {name: [sys.executable, "-c", code, str(log), name] for name in ("a", "b")}
    runs = common.take_turns(contenders, 2, str(tmp_path))
    assert log.read_text() == "a0 b0 a1 b1 "
    assert [len(found) for found in runs.values()] == [2, 2]
    assert all(r["process_s"] > 0 and r["eval_s"] == 2 for found in runs.values() for r in found)


def test_a_contender_that_fails_is_named_with_what_it_said(common, tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)odd.*no such luck"):
        common.take_turns({"odd": [sys.executable, "-c", "raise SystemExit('no such luck')"]}, 1, str(tmp_path))


def test_data_that_is_nowhere_is_refused_with_the_remedy(common, tmp_path):
    with pytest.raises(DataError, match="--root"):
        common.data_root(str(tmp_path))
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    assert common.data_root(str(tmp_path)) == str(tmp_path.resolve())
