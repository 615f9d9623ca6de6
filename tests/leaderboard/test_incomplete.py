"""Rows with failed seeds, and rows of fewer seeds: counted, marked, and never above complete rows."""

import csv
import io
import json

import pytest
from rich.console import Console

from clbench.leaderboard.incomplete import over
from clbench.leaderboard.results import Results, load
from clbench.leaderboard.rows import rows
from clbench.leaderboard.tables import print_table, render
from clbench.records import write
from clbench.store.failures import write_failure
from tests.leaderboard.factory import record
from tests.leaderboard.failed import failure

GOOD, BETTER = [[90.0], [80.0, 95.0]], [[99.0], [99.0, 99.0]]
RECORDS = [
    *(record(seed, GOOD, method="er") for seed in range(3)),
    record(2, BETTER, method="ewc"),
    record(0, GOOD, method="naive"),
]
FAILURES = [
    failure(1, method="ewc"),
    failure(0, "RuntimeError: no luck", "error", method="ewc"),
    *(failure(seed, "took too long", "time_limit", method="lwf", variant="lr=1") for seed in range(2)),
    failure(0, method="er"),  # it has a record
]


@pytest.fixture
def made():
    return rows(RECORDS, FAILURES)


def by_method(made):
    return {row["method"]: row for row in made}


def test_a_row_with_failed_seeds_never_stands_above_complete_rows(made):
    assert by_method(made)["ewc"]["acc"] == max(row["acc"] or 0 for row in made)
    assert [row["method"] for row in made] == ["er", "naive", "ewc", "lwf"]
    assert [row["method"] for row in rows(RECORDS)] == ["ewc", "er", "naive"]


def test_counts_and_marks(made):
    found = by_method(made)
    keys = ("n_seeds", "n_failed", "seeds", "failed_seeds", "incomplete")
    assert {name: [row[key] for key in keys] for name, row in found.items()} == {
        "er": [3, 0, [0, 1, 2], [], None],
        "ewc": [1, 2, [2], [0, 1], "failed seeds"],
        "naive": [1, 0, [0], [], "fewer seeds"],
        "lwf": [0, 2, [], [0, 1], "failed seeds"],
    }
    assert found["ewc"]["acc_ci95"] is None
    assert found["er"]["failure"] is None
    assert found["ewc"]["failure"] == ("error (seed 0): RuntimeError: no luck; diverged (seed 1): the loss became nan in task 1")


def test_a_row_without_any_record_is_there_with_its_names(made):
    row = by_method(made)["lwf"]
    names = ("scenario", "setting", "model", "variant", "access", "acc", "seconds", "goal")
    assert [row[key] for key in names] == ["split_digits", "class", "mlp", "lr=1", "current", None, None, None]
    assert row["failure"] == "time limit (seeds 0, 1): took too long"


def test_rows_of_one_scenario_and_setting_are_neighbours():
    others = [record(seed, scenario="permuted_digits", setting="domain") for seed in range(2)]
    found = rows([*others, record(0, setting="domain"), record(0, setting="task", identity={"method": {"size": 2}})])
    assert [row["incomplete"] for row in found] == [None] * 3


def test_two_failed_configurations_are_told_apart():
    found = rows([], [failure(0, identity={"method": {"size": size}}) for size in (1, 2)])
    assert [row["variant"] for row in found] == ["size=1", "size=2"]


def test_without_failures_the_order_and_the_values_are_as_before():
    assert rows(RECORDS, []) == rows(RECORDS)
    assert all(row["n_failed"] == 0 and row["failed_seeds"] == [] for row in rows(RECORDS))


def printed(made):
    console = Console(file=io.StringIO(), width=200)
    print_table(made, console)
    return console.file.getvalue()


def test_markdown_and_terminal_say_n_of_n_and_why(made):
    for text in (render(made, "markdown"), printed(made)):
        lines = text.splitlines()
        cells = {line.split()[0]: line for line in (each.strip("| ") for each in lines) if line.startswith(("e", "lwf", "naive"))}
        assert cells["er"].endswith(" 3")
        assert cells["naive"].endswith(" 1 ‡")
        assert cells["ewc"].endswith(" 1 of 3 †")
        assert cells["lwf"].endswith(" 0 of 2 †")
        assert any(line.startswith("† n of N:") for line in lines)
        assert any(line.startswith("‡ fewer seeds") for line in lines)
        assert any(line.startswith("† ewc: 2 of 3 seeds failed. error (seed 0): RuntimeError: no luck;") for line in lines)
        assert any(line.startswith("† lwf (lr=1): 2 of 2 seeds failed. time limit") for line in lines)
        assert text.index("† n of N") > text.index("0 of 2 †")


def test_a_table_of_complete_rows_has_no_legend():
    for text in (render(rows(RECORDS[:3]), "markdown"), render(rows(RECORDS[:3]), "latex"), printed(rows(RECORDS[:3]))):
        assert "†" not in text
        assert "dagger" not in text
        assert "fewer" not in text


def test_latex_shows_the_marks_in_print(made):
    lines = render(made, "latex").splitlines()
    assert any(line.startswith("ewc & ") and line.endswith(r"& 1 of 3$^\dagger$ \\") for line in lines)
    assert any(line.startswith("naive & ") and line.endswith(r"& 1$^\ddagger$ \\") for line in lines)
    visible = [line for line in lines if not line.startswith("%")]
    assert sum("footnotesize" in line and "dagger" in line for line in visible) == 2


def test_csv_and_json_have_the_numbers(made):
    table = {line["method"]: line for line in csv.DictReader(io.StringIO(render(made, "csv")))}
    assert (table["ewc"]["n_seeds"], table["ewc"]["n_failed"], table["ewc"]["failed_seeds"]) == ("1", "2", "0 1")
    assert (table["er"]["n_failed"], table["er"]["failed_seeds"], table["er"]["incomplete"]) == ("0", "", "")
    assert table["lwf"]["acc"] == ""
    assert json.loads(render(made, "json")) == made


def test_results_say_it(tmp_path):
    for each in RECORDS:
        write(each, tmp_path)
    for each in FAILURES:
        write_failure(each, tmp_path)
    found = load(tmp_path)
    assert found.rows() == rows(RECORDS, FAILURES)
    assert repr(found) == "Results(5 records, 4 failed runs, 4 configurations)"
    frame = found.to_frame()
    assert len(frame) == 5 + 4
    line = frame[(frame.method == "ewc") & frame.acc.notna()].iloc[0]
    assert (line.n_seeds, line.n_failed, line.seed) == (1, 2, 2)
    lost = frame[frame.acc.isna()]
    assert sorted(zip(lost.method, lost.seed, lost.failure)) == [
        ("ewc", 0, "error"),
        ("ewc", 1, "diverged"),
        ("lwf", 0, "time_limit"),
        ("lwf", 1, "time_limit"),
    ]
    assert set(lost.setting) == {"class"}


def test_a_slice_keeps_the_failures_of_its_configurations():
    found = Results([record(0, method="er"), record(2, method="ewc")], FAILURES[:4])
    assert [row["n_failed"] for row in found[1:].rows()] == [2]
    assert [row["n_failed"] for row in found[:1].rows()] == [0]


def test_a_frame_of_failures_alone():
    frame = Results([], FAILURES[2:4]).to_frame()
    assert list(frame.n_failed) == [2, 2]
    assert frame.acc.isna().all()
    assert len(Results([]).to_frame()) == 0


def test_a_damaged_failure_is_warned_of(tmp_path):
    write(RECORDS[0], tmp_path)
    path = write_failure(FAILURES[0], tmp_path)
    path.write_text("{")
    with pytest.warns(UserWarning, match="failure record"):
        assert [row["n_failed"] for row in load(tmp_path).rows()] == [0]


def test_texts_of_pictures(made):
    found = by_method(made)
    assert over(found["er"], 3) == "3 seeds"
    assert over(found["er"], 2) == "2 of 3 seeds"
    assert over(found["ewc"], 1) == "1 of 3 seeds (2 failed)"
    assert over(found["naive"], 1) == "1 seed, fewer seeds than other rows"
