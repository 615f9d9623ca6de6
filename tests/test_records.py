"""The result store: no record is overwritten, incomplete, counted twice, or dropped without a report."""

import errno
import json
import multiprocessing
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench import records
from clbench.errors import StoreError
from clbench.records import Record, flatten, identity_hash, load_all, read, record_path, write

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.loads(json.dumps(value)))
trees = st.dictionaries(st.text(max_size=4), plain, max_size=4)


def make(seed=0, result=None, **identity):
    identity = {"names": {"method": "er"}, "method": {"size": 200}, "seed": seed, **identity}
    return Record(identity, result or {"matrix": [[[1, 2]]]}, {"seconds": 1.5}, {"variant": ""})


@settings(deadline=None)
@given(trees, trees, trees, st.integers(0, 99))
def test_what_is_written_is_read_back(tmp_path_factory, identity, result, cost, seed):
    folder = tmp_path_factory.mktemp("store")
    record = Record({**identity, "seed": seed}, result, cost, {"größe": "±"})
    assert read(write(record, folder)) == record
    assert [path.name for path in folder.iterdir()] == [f"{record.id}.json"]


@settings(deadline=None)
@given(trees, st.randoms())
def test_hash_ignores_the_order_of_keys(identity, random):
    def shuffled(value):
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    assert identity_hash(shuffled(identity)) == identity_hash(identity)


def test_seed_changes_the_id_but_not_the_row():
    first, second, other = make(0), make(1), make(0, method={"size": 50})
    assert first.id != second.id
    assert first.config_id == second.config_id != other.config_id


def test_a_finished_record_is_never_overwritten(tmp_path):
    path = write(make(result={"matrix": [1]}), tmp_path)
    before = path.read_bytes()
    assert write(make(result={"matrix": [2]}), tmp_path) == path
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("present", [True, False])
def test_a_file_system_without_hard_links(tmp_path, monkeypatch, present):
    if present:
        write(make(result={"matrix": [1]}), tmp_path)

    def refuse(*_):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    path = write(make(result={"matrix": [2]}), tmp_path)
    assert read(path).result == {"matrix": [1] if present else [2]}
    assert list(tmp_path.iterdir()) == [path]


def test_records_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        assert stat.S_IMODE(write(make(), tmp_path).stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_full_disk_leaves_nothing_and_keeps_the_old(tmp_path, monkeypatch):
    old = write(make(0), tmp_path)
    before = old.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="cannot be written: No space left on device") as caught:
        write(make(1), tmp_path)
    assert "results_dir" in caught.value.remedy
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == before


def test_a_write_cut_short_by_the_system_leaves_nothing(tmp_path):
    old = write(make(0), tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the kernel refuses in the middle of the file
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            write(make(1, result={"matrix": [list(range(5000))]}), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [old]


def test_killed_while_writing(tmp_path):
    """The process dies before the record has its name: no record, the leftover is ignored, and a repeat succeeds."""
    program = (
        "import os, sys; from pathlib import Path; from clbench import records\n"
        "os.fsync = lambda _: os._exit(9)\n"
        "records.write(records.Record({'seed': 0}), Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == 9
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    assert load_all(tmp_path) == ([], [])
    write(Record({"seed": 0}), tmp_path)
    assert load_all(tmp_path) == ([Record({"seed": 0})], [])


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        write(make(), tmp_path / "file" / "runs")


@pytest.mark.parametrize("result", [{"loss": float("nan")}, {"matrix": {1, 2}}, {"matrix": object()}])
def test_what_is_not_plain_json_is_refused(tmp_path, result):
    with pytest.raises(StoreError, match="cannot be stored"):
        write(make(result=result), tmp_path)
    assert list(tmp_path.iterdir()) == []


def _write_many(folder, mark, barrier):
    barrier.wait()
    for seed in range(20):
        write(make(seed, result={"matrix": [mark] * 2000}), folder)


def test_two_processes_write_the_same_records(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=_write_many, args=(tmp_path, mark, barrier)) for mark in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    found, errors = load_all(tmp_path)
    assert errors == []
    assert sorted(record.seed for record in found) == list(range(20))
    assert all(len(set(record.result["matrix"])) == 1 and len(record.result["matrix"]) == 2000 for record in found)
    assert len(list(tmp_path.iterdir())) == 20


def _altered(body):
    body["identity"]["method"]["size"] = 5000
    return json.dumps(body)


def _without(part):
    def change(body):
        del body[part]
        return json.dumps(body)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: json.dumps(body)[:-20], "is damaged"),
        (lambda body: "", "is damaged"),
        (lambda body: json.dumps({**body, "result": {"loss": float("nan")}}), "is damaged"),
        (lambda body: "[" * 100_000, "is damaged"),
        (lambda body: "[1, 2]", "not a clbench record"),
        (lambda body: json.dumps({**body, "format": 99}), r"not a clbench record of format 1 \(found format: 99\)"),
        (lambda body: json.dumps({"model": "someone else's"}), "not a clbench record"),
        (_altered, "identity was changed"),
        (_without("result"), "lacks a part"),
        (_without("identity"), "lacks a part"),
        (lambda body: json.dumps({**body, "identity": {"seed": "zero"}}), "lacks a part"),
    ],
)
def test_a_bad_file_is_named_beside_the_good_ones(tmp_path, change, message):
    good, bad = make(0), make(1)
    write(good, tmp_path)
    path = write(bad, tmp_path)
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(StoreError, match=message) as caught:
        read(path)
    assert str(path) in caught.value.what
    assert caught.value.remedy
    found, errors = load_all(tmp_path)
    assert found == [good]
    assert [str(error) for error in errors] == [str(caught.value)]


def test_bytes_that_are_not_text(tmp_path):
    path = write(make(), tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match="is damaged"):
        read(path)


def test_a_copy_does_not_count_twice(tmp_path):
    path = write(make(), tmp_path)
    (tmp_path / "copy.json").write_bytes(path.read_bytes())
    found, errors = load_all(tmp_path)
    assert found == [make()]
    assert len(errors) == 1
    assert "renamed or copied" in str(errors[0])


def test_other_files_are_left_alone(tmp_path):
    write(make(), tmp_path)
    for name in (".hidden.json", ".x.tmp", "leaderboard.md", "checkpoint.pt"):
        (tmp_path / name).write_text("not a record")
    (tmp_path / "folder").mkdir()
    assert load_all(tmp_path) == ([make()], [])


def test_a_folder_named_as_a_record(tmp_path):
    (tmp_path / "x.json").mkdir()
    found, errors = load_all(tmp_path)
    assert found == []
    assert "cannot be read" in str(errors[0])


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_results_folder_that_cannot_be_read(tmp_path, kind):
    folder = tmp_path / "runs"
    if kind == "file":
        folder.write_text("")
    with pytest.raises(StoreError, match=f"results_dir={folder}"):
        load_all(folder)


def test_path_is_named_by_the_id():
    assert record_path(Path("runs"), make().id) == Path("runs") / f"{make().id}.json"


@settings(deadline=None)
@given(trees)
def test_flatten_keeps_every_leaf(tree):
    def leaves(value):
        return sum(map(leaves, value.values())) if isinstance(value, dict) and value else 1

    assert len(list(flatten(tree))) == (leaves(tree) if tree else 0)


def test_flatten_spells_dotted_keys():
    assert dict(flatten({"a": {"b": 1, "c": {}}, "d": [{"e": 2}]})) == {"a.b": 1, "a.c": {}, "d": [{"e": 2}]}


def test_reading_needs_no_torch():
    program = f"import sys; import {records.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
