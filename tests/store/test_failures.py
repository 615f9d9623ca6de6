"""Failures as files: checked like records, and without effect once the run has a record."""

import json

import pytest

from clbench.errors import StoreError
from clbench.records import write
from clbench.store.failures import failure_path, load_failures, read_failure, remove_failure, write_failure
from tests.leaderboard.factory import record
from tests.leaderboard.failed import failure


def test_what_is_written_is_read(tmp_path):
    made = failure(3)
    path = write_failure(made, tmp_path)
    assert path == failure_path(tmp_path, record(3).id) == tmp_path / "failed" / f"{record(3).id}.json"
    assert read_failure(path) == made
    assert (made.seed, made.kind, made.reason, made.config_id) == (3, "diverged", made.failure["reason"], record(0).config_id)
    assert load_failures(tmp_path) == ([made], [])
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_later_failure_replaces_an_earlier_one(tmp_path):
    write_failure(failure(0), tmp_path)
    write_failure(failure(0, "another reason"), tmp_path)
    assert [each.reason for each in load_failures(tmp_path)[0]] == ["another reason"]


def test_a_record_wins_over_a_failure(tmp_path):
    write_failure(failure(0), tmp_path)
    write_failure(failure(1), tmp_path)
    write(record(0), tmp_path)
    assert [each.seed for each in load_failures(tmp_path)[0]] == [1]
    remove_failure(tmp_path, record(1).id)
    remove_failure(tmp_path, record(1).id)
    assert load_failures(tmp_path) == ([], [])


def test_no_folder_no_failures(tmp_path):
    assert load_failures(tmp_path / "none") == ([], [])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda body: {**body, "format": 99}, "format 1"),
        (lambda body: {**body, "failure": {**body["failure"], "kind": "killed"}}, "content was changed"),
        (lambda body: {**body, "identity": {**body["identity"], "seed": 5}}, "identity was changed"),
        (lambda body: {key: value for key, value in body.items() if key != "provenance"}, "lacks a part"),
    ],
)
def test_damage_is_named(tmp_path, change, word):
    path = write_failure(failure(), tmp_path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    found, (error,) = load_failures(tmp_path)
    assert found == []
    assert word in str(error)
    assert str(path) in str(error)


def test_a_copy_and_half_a_file_are_named(tmp_path):
    path = write_failure(failure(), tmp_path)
    path.with_name("copy.json").write_text(path.read_text())
    path.write_text(path.read_text()[:50])
    found, errors = load_failures(tmp_path)
    assert found == []
    assert sorted("renamed" in str(error) for error in errors) == [False, True]


def test_a_failure_without_names_is_refused(tmp_path):
    path = write_failure(failure(names={"method": None}), tmp_path)
    with pytest.raises(StoreError, match="names of scenario"):
        read_failure(path)
