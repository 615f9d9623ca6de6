"""Types and bounds of records: every stored record fits, every hostile value is named, and a change of any kind is met."""

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import StoreError
from clbench.leaderboard.entries import all_usable
from clbench.leaderboard.rows import rows
from clbench.records import PARTS, Record, load_all, read, record_path, write
from clbench.store.failures import failure_path, load_failures, read_failure, write_failure
from clbench.store.schema import refusal
from tests.leaderboard.factory import record
from tests.leaderboard.failed import failure
from tools.safety.hostile_files import FAILURES, FIELDS, FILES, NAMES, changed, write_records
from tools.safety.record_mutations import accepted, draw, mutated, sealed, store, use

RESULTS = Path(__file__).resolve().parents[2] / "results"
SOURCES = [
    sorted((RESULTS / group).glob("*.json"))[0]
    for group in ("quick", "unlearning", "federated", "projection", "biography", "language")
]
SMALL = (
    "nest of 60 MB",
    "nest of 60 MB, two deep",
    "objects of 50 MB",
    "numbers of 50 MB",
    "keys of 30 MB",
    "one string of 50 MB",
    "too much white space",
)


def body(seed=0, **of_record):
    made = record(seed, **of_record)
    return sealed({"format": 1, **{name: getattr(made, name) for name in PARTS}})


@pytest.mark.parametrize("group", ["biography", "federated", "language", "projection", "quick", "reproduction", "unlearning"])
def test_every_stored_record_fits(group):
    records, errors = load_all(RESULTS / group)
    assert errors == []
    assert all_usable(records)[1] == []
    for each in records:
        assert json.loads(record_path(RESULTS / group, each.id).read_text())["result"] == each.result


CASES = [(place, value) for place, values in FIELDS.items() for value in values]


@pytest.mark.parametrize(("place", "value"), CASES, ids=lambda case: ".".join(map(str, case)) if isinstance(case, tuple) else "")
def test_a_value_that_no_run_writes_costs_one_line(tmp_path, place, value):
    good = record(0)
    write(good, tmp_path)
    store(sealed(changed(body(1), place, value)), tmp_path)
    records, errors = load_all(tmp_path)
    shown, unusable = all_usable(records)
    assert [each.record for each in shown] == [good]
    (error,) = errors + unusable
    assert error.remedy
    assert len(error.line) < 1000
    assert len(rows(shown)) == 1


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind not in SMALL])
def test_a_file_that_is_no_record_costs_one_line(tmp_path, kind):
    own = body(1)
    path = tmp_path / ("copy.json" if kind == "copy of another record" else f"{own['id']}.json")
    FILES[kind](path, own)
    write(record(0), tmp_path)
    records, (error,) = load_all(tmp_path)
    assert records == [record(0)]
    assert path.name in error.line
    assert error.remedy
    assert error.line.isprintable()
    assert len(error.line) < 1000


@pytest.mark.parametrize("kind", NAMES)
def test_a_file_with_an_odd_name_costs_one_line(tmp_path, kind):
    (tmp_path / os.fsdecode(NAMES[kind])).write_text("{}")
    _, (error,) = load_all(tmp_path)
    assert error.line.isprintable()
    assert error.remedy


@pytest.mark.parametrize(("place", "values"), FAILURES.items(), ids=lambda case: ".".join(map(str, case))[:30])
def test_a_failure_that_no_run_writes_costs_one_line(tmp_path, place, values):
    good = write_failure(failure(0), tmp_path)
    for count, value in enumerate(values):
        own = changed(changed(json.loads(good.read_text()), ("identity", "seed"), 10 + count), place, value)
        store(sealed(own, ("identity", "failure", "provenance")), good.parent)
    found, errors = load_failures(tmp_path)
    assert found == [failure(0)]
    assert len(errors) == len(values)
    assert all(error.remedy and error.line.isprintable() for error in errors)


def test_pipes_and_folders_among_failures_cost_one_line_each(tmp_path):
    folder = write_failure(failure(0), tmp_path).parent
    os.mkfifo(folder / "a.json")
    (folder / "b.json").mkdir()
    (folder / "c.json").symlink_to("/dev/zero")
    found, errors = load_failures(tmp_path)
    assert found == [failure(0)]
    assert [Path(error.what.split()[3]).name for error in errors] == ["a.json", "b.json", "c.json"]


def test_a_file_in_place_of_the_folder_of_failures(tmp_path):
    (tmp_path / "failed").write_text("")
    assert load_failures(tmp_path) == ([], [])


@pytest.mark.parametrize("reason", ["x" * 10**6, "file \udcff is missing"])
def test_a_reason_of_any_kind_is_stored(tmp_path, reason):
    write_failure(failure(0, reason=reason), tmp_path)
    (found,), errors = load_failures(tmp_path)
    assert errors == []
    assert found.reason[:4] == reason[:4]
    assert len(found.reason) < 21_000


def test_what_cannot_be_read_is_not_written(tmp_path):
    odd = record(0, cost={"seconds": -1e300})
    with pytest.raises(StoreError, match=r"cost.seconds=-1e\+300"):
        write(odd, tmp_path)
    deep = record(0, identity={"method": {"a": json.loads("[" * 80 + "]" * 80)}})
    with pytest.raises(StoreError, match="within each other"):
        write(deep, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_large_record_is_written_without_white_space(tmp_path, monkeypatch):
    whole = len(write(record(0), tmp_path / "a").read_bytes())
    monkeypatch.setattr("clbench.utils.safe_json.LARGEST", whole - 1)
    path = write(record(0), tmp_path / "b")
    assert len(path.read_bytes()) < whole - 1
    assert read(path) == record(0)


def test_later_keys_and_odd_diagnostics_are_kept(tmp_path):
    made = record(0)
    made.result["diagnostics"] = ["text", None, 3, {"losses": "odd", "conclusion": "odd"}]
    made.result["later"] = {"anything": [1]}
    made.cost["later"] = "anything"
    assert read(write(made, tmp_path)) == made
    assert all_usable([made])[0][0].record is made


def test_sums_of_other_metrics_may_exceed_the_number_of_samples():
    made = vars(record(0))
    made["result"]["columns"][0]["metric"] = "loss"
    made["result"]["matrix"][0][0] = [-12345.5, 100]
    assert refusal(made) is None
    made["result"]["matrix"][0][1] = [101, 100]
    assert "result.matrix[0][1]=[101, 100]" in refusal(made)


def test_a_cost_never_replaces_another_column(tmp_path):
    from clbench.leaderboard.results import load

    write(record(0, cost={"acc": "text", "id": 5, "seed": "x", "method": 1}, names={"acc": "text"}), tmp_path)
    frame = load(tmp_path).to_frame()
    assert frame["acc"].tolist() == [87.5]
    assert (frame["seed"].tolist(), frame["method"].tolist(), frame["id"].tolist()) == ([0], ["er"], [load(tmp_path)[0].id])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from(SOURCES), st.booleans())
def test_a_record_with_any_change_is_refused_or_shown(tmp_path_factory, seed, source, seal):
    changed_body = mutated(json.loads(source.read_text()), random.Random(seed))
    path = store(sealed(changed_body) if seal else changed_body, tmp_path_factory.mktemp("changed"))
    found = accepted(path)
    if found is not None:
        use(found, [read(source)])


def test_every_picture_of_a_good_record_can_be_drawn():
    assert draw(read(SOURCES[2])) == 2  # the matrix, and the classes of clients


def test_the_whole_folder_of_hostile_files(tmp_path, monkeypatch):
    for kind in SMALL:
        monkeypatch.setitem(FILES, kind, FILES["cut"])
    kinds = write_records(tmp_path, body(0, A=((90.0,) * 5,) * 5))
    write(record(7), tmp_path)
    records, errors = load_all(tmp_path)
    good, more = all_usable(records)
    assert [each.record for each in good] == [record(7)]
    assert len(errors + more) == len(kinds) > 150


def test_a_failure_path_and_a_record_path_of_one_run(tmp_path):
    write_failure(failure(0), tmp_path)
    record_path(tmp_path, record(0).id).symlink_to("/nowhere")  # a record that cannot be read is no failure
    assert load_failures(tmp_path) == ([], [])
    assert read_failure(failure_path(tmp_path, record(0).id)) == failure(0)
    assert isinstance(load_all(tmp_path)[1][0], StoreError)
    assert Record({"seed": 0}).seed == 0
