"""Results in Python."""

import math
import subprocess
import sys

import pytest

from clbench.errors import StoreError
from clbench.leaderboard.results import Results, load
from clbench.leaderboard.rows import rows
from clbench.records import write
from tests.leaderboard.factory import record


@pytest.fixture
def results():
    return Results(
        [
            *(record(seed, identity={"method": {"size": size}}) for size in (50, 200) for seed in range(2)),
            record(method="joint", A=[[90.0, 80.0]], sequential=False),
        ]
    )


def test_sequence(results):
    assert len(results) == 5
    assert results[0] == next(iter(results))
    assert results[-1].identity["names"]["method"] == "joint"
    assert isinstance(results[1:3], Results)
    assert list(results[1:3]) == list(results)[1:3]
    assert record() not in results
    assert repr(results) == "Results(5 records, 3 configurations)"


def test_rows(results):
    assert results.rows() == rows(list(results))


def test_frame(results):
    frame = results.to_frame()
    assert len(frame) == 5
    assert {
        "method",
        "scenario",
        "model",
        "setting",
        "variant",
        "seed",
        "acc",
        "forgetting",
        "learning_accuracy",
        "bwt",
        "fwt",
        "anytime",
        "seconds",
        "parameters",
        "config_id",
        "id",
    } <= set(frame.columns)
    assert frame["acc"].tolist() == pytest.approx([87.5] * 4 + [85])
    assert frame["forgetting"].tolist()[:4] == pytest.approx([10] * 4)
    assert math.isnan(frame["forgetting"].iloc[-1])
    assert frame["forgetting"].dtype == float
    assert set(frame["variant"]) == {"size=50", "size=200", ""}
    assert frame.groupby(["method", "variant"])["acc"].count().to_dict() == {
        ("er", "size=200"): 2,
        ("er", "size=50"): 2,
        ("joint", ""): 1,
    }


def test_frame_of_nothing():
    assert len(Results([]).to_frame()) == 0


def test_matrix(results):
    frame = results.matrix(0)
    assert list(frame.columns) == ["task 0", "task 1"]
    assert frame.xs("task")["task 0"].tolist() == pytest.approx([90, 80])
    assert frame.index.get_level_values("event").tolist() == ["untrained", "task", "task"]
    with pytest.raises(IndexError):
        results.matrix(5)


def test_matrix_with_an_entry_that_was_not_measured():
    made = record()
    made.result["matrix"][0][1] = None
    assert math.isnan(Results([made]).matrix(0)["task 1"].iloc[0])


def test_load_warns_of_what_it_cannot_read(tmp_path):
    for seed in range(2):
        write(record(seed), tmp_path)
    (tmp_path / "damaged.json").write_text("{")
    write(record(9, identity={"names": {}}), tmp_path)
    with pytest.warns(UserWarning, match=r"damaged|cannot be shown") as caught:
        found = load(tmp_path)
    assert [each.seed for each in sorted(found, key=lambda each: each.seed)] == [0, 1]
    assert len(caught) == 2
    assert any("damaged.json" in str(each.message) for each in caught)
    assert all(each.filename == __file__ for each in caught)


def test_load_of_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="results_dir"):
        load(str(tmp_path / "nothing"))


def test_importing_needs_no_torch_and_no_pandas():
    program = "import sys; import clbench.leaderboard.results; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
