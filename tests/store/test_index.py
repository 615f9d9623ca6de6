"""The index of a results folder: it changes no output, whatever happens to the files or to itself."""

import json
import os
import random
import sqlite3
import warnings

import pytest

from clbench.leaderboard import entries
from clbench.leaderboard.entries import load_entries
from clbench.leaderboard.results import load
from clbench.leaderboard.rows import rows
from clbench.leaderboard.tables import FORMATS, render
from clbench.records import load_all, record_files, write
from clbench.store import index
from tests.leaderboard.factory import record


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """An index for the smallest folder; files count as settled at once, since no test changes a file twice within a tick."""
    monkeypatch.setattr(index, "WORTHWHILE", 1)
    monkeypatch.setattr(index, "SETTLED", 0)


@pytest.fixture
def folder(tmp_path):
    for seed in range(3):
        for size in (50, 200):
            write(record(seed, identity={"method": {"size": size}}), tmp_path)
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that were read."""
    names = []
    real = entries.read
    monkeypatch.setattr(entries, "read", lambda path: names.append(path.name) or real(path))
    return names


def shown(folder):
    """Return all outputs of the folder: tables, a frame, records, messages."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = load(folder)
    frame = found.to_frame().to_csv()
    return [render(found.rows(), format) for format in FORMATS], frame, list(found), sorted(str(each.message) for each in said)


def plain(folder):
    """Return the same without an index."""
    (folder / index.NAME).unlink(missing_ok=True)
    return shown(folder)


def test_a_second_call_reads_no_record_and_gives_the_same(folder, reads):
    first = shown(folder)
    reads.clear()
    found, errors = load_entries(folder)
    assert (reads, errors) == ([], [])
    assert rows(found) == rows(load_all(folder)[0])
    assert shown(folder) == first


def test_rows_of_alike_configurations_need_no_record_either(folder, reads):
    load_entries(folder)
    reads.clear()
    assert sorted(row["variant"] for row in rows(load_entries(folder)[0])) == ["size=200", "size=50"]
    assert reads == []


def test_any_sequence_of_changes_gives_what_a_fresh_reading_gives(folder):
    rng = random.Random(0)
    for step in range(60):
        files = record_files(folder)
        match rng.choice(("add", "replace", "delete", "corrupt", "rename")) if files else "add":
            case "add":
                write(record(10 + step), folder)
            case "replace":
                write(record(10 + step, A=[[50.0, 0.0], [40.0, 60.0]]), folder)
                write(record(10 + step, A=[[51.0, 0.0], [41.0, 61.0]]), folder, replace=True)
            case "delete":
                rng.choice(files).unlink()
            case "corrupt":
                path = rng.choice(files)
                text = path.read_text()
                path.write_text(text.replace('"access"', '"acces"', 1) if "access" in text else text + " ")
            case "rename":
                path = rng.choice(files)
                path.rename(path.with_name(f"{'0' * 32}.json"))
        with_index = shown(folder)
        if step % 5 == 0:
            assert with_index == plain(folder)


def test_a_file_of_another_time_or_inode_is_read_again(folder, reads):
    load_entries(folder)
    one = record_files(folder)[0]
    copy = one.with_suffix(".copy")
    copy.write_bytes(one.read_bytes())
    os.utime(copy, ns=(one.stat().st_atime_ns, one.stat().st_mtime_ns))
    os.replace(copy, one)
    reads.clear()
    load_entries(folder)
    assert reads == [one.name]


def test_a_file_that_has_just_changed_is_not_kept(folder, reads, monkeypatch):
    monkeypatch.setattr(index, "SETTLED", 3_600_000_000_000)
    load_entries(folder)
    reads.clear()
    load_entries(folder)
    assert len(reads) == 6


def test_other_code_makes_a_new_index(folder, reads, monkeypatch):
    load_entries(folder)
    monkeypatch.setattr(entries, "source_sha256", lambda: "another")
    reads.clear()
    load_entries(folder)
    assert len(reads) == 6
    load_entries(folder)
    assert len(reads) == 6


def _cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def _noise(path):
    content = bytearray(path.read_bytes())
    rng = random.Random(0)
    for _ in range(200):
        content[rng.randrange(100, len(content))] = rng.randrange(256)
    path.write_bytes(content)


def _replaced(make):
    def replace(path):
        path.unlink()
        make(path)

    return replace


def _more_tables(path):
    with sqlite3.connect(path) as base:
        base.execute("CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END")


def _other_values(path):
    with sqlite3.connect(path) as base:
        base.execute("UPDATE entries SET entry = replace(entry, '8', '9')")


def _other_types(path):
    with sqlite3.connect(path) as base:
        base.execute("UPDATE entries SET entry = 5, digest = NULL")


@pytest.mark.parametrize(
    "harm",
    [
        _cut,
        _noise,
        _replaced(lambda path: path.write_text("no database")),
        _replaced(lambda path: path.write_bytes(b"")),
        _replaced(os.mkfifo),
        _replaced(os.mkdir),
        _replaced(lambda path: path.symlink_to("/dev/zero")),
        _replaced(lambda path: path.symlink_to("nowhere")),
        *(lambda path, ending=ending: os.mkfifo(f"{path}{ending}") for ending in index.COMPANIONS),
        _more_tables,
        _other_values,
        _other_types,
    ],
)
def test_whatever_is_wrong_with_the_index_the_output_is_right(folder, harm):
    expected = shown(folder)
    harm(folder / index.NAME)
    assert shown(folder) == expected
    assert shown(folder) == expected


def test_an_entry_of_another_form_is_left_out(folder, reads):
    load_entries(folder)
    with sqlite3.connect(folder / index.NAME) as base:
        for name, mark in base.execute("SELECT name, fingerprint FROM entries").fetchall():
            text = json.dumps([1, 2, 3])
            base.execute("UPDATE entries SET entry = ?, digest = ? WHERE name = ?", (text, index._digest(name, mark, text), name))
    reads.clear()
    assert len(load_entries(folder)[0]) == len(set(reads)) == 6


def test_a_locked_index_delays_nothing(folder):
    expected = shown(folder)
    base = sqlite3.connect(folder / index.NAME, isolation_level=None)
    base.execute("BEGIN EXCLUSIVE")
    write(record(77), folder)
    found = shown(folder)
    base.execute("ROLLBACK")
    base.close()
    assert len(found[2]) == len(expected[2]) + 1


@pytest.mark.parametrize("fault", ["attempt to write a readonly database", "database or disk is full", "disk I/O error"])
def test_an_index_that_cannot_be_written_costs_nothing_but_time(folder, monkeypatch, fault):
    real = sqlite3.connect

    def connect(where, **more):
        if "mode=rwc" in where:
            raise sqlite3.OperationalError(fault)
        return real(where, **more)

    monkeypatch.setattr(sqlite3, "connect", connect)
    first = shown(folder)
    assert len(first[2]) == 6
    assert shown(folder) == first


def test_an_index_that_another_version_makes_meanwhile_gets_no_entries(folder, monkeypatch):
    opened = index._open

    def late(path, mode):
        monkeypatch.setattr(index, "_open", opened)
        index.update(folder, "other", {}, [])
        return opened(path, mode)

    monkeypatch.setattr(index, "_open", late)
    index.update(folder, "this", {"a.json": index.Fresh("1", "[]", "key", "content")}, [])
    assert index.entries(folder, "other") == index.entries(folder, "this") == {}


def test_a_small_folder_gets_no_index(folder, monkeypatch):
    monkeypatch.setattr(index, "WORTHWHILE", 7)
    load_entries(folder)
    assert not (folder / index.NAME).exists()


def test_a_record_that_was_replaced_after_the_reading_is_not_passed_off_as_the_old_one(folder):
    found = load(folder)
    first = found[0]
    changed = record(0, identity={"method": {"size": first.identity["method"]["size"]}}, A=[[1.0, 0.0], [2.0, 3.0]])
    other = next(number for number, each in enumerate(found) if each.id == changed.id)
    write(changed, folder, replace=True)
    with pytest.raises(Exception, match="was replaced since the folder was read"):
        found[other]
