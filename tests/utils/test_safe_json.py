"""JSON from anywhere: bounded depth, amount and digits; files of other kinds are refused without waiting."""

import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clbench.utils import safe_json
from clbench.utils.regular_files import open_regular, read_bytes
from clbench.utils.safe_json import brief, check_amount, escaped, parse, refuse_repeated_keys, without_space

trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(trees, st.sampled_from([None, 1]), st.booleans())
def test_json_is_read_as_by_the_standard_library(tree, indent, ascii_only):
    content = json.dumps(tree, indent=indent, ensure_ascii=ascii_only).encode()
    assert parse(content) == json.loads(content)
    refuse_repeated_keys(content)


@given(trees)
def test_white_space_outside_strings_does_not_count(tree):
    plain = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()
    assert without_space(json.dumps(tree, indent=2, ensure_ascii=False).encode()) == without_space(plain)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_bounded_exactly(opening, closing):
    most = safe_json.DEEPEST
    assert parse(opening * most + b"1" * (opening != b"[") + closing * most)
    for levels in (most + 1, 900, 100_000):
        with pytest.raises(ValueError, match="within each other"):
            parse(opening * levels + b"1" * (opening != b"[") + closing * levels)


def test_brackets_in_strings_are_no_depth():
    tree = {'a"[\\': ["[" * 500, '\\"' + "{" * 500, "\\\\" + "]" * 500]}
    assert parse(json.dumps(tree).encode()) == tree


def test_an_open_nest_is_refused():
    with pytest.raises(ValueError, match="within each other"):
        parse(b"[" * 100_000)


@pytest.mark.parametrize(("sign", "unit", "word"), [(b"[", b"[],", "lists"), (b"{", b"{},", "objects"), (b",", b"1,", "values")])
def test_amounts_are_bounded(monkeypatch, sign, unit, word):
    monkeypatch.setitem(safe_json.MOST, sign, 1000)
    check_amount(b"[" + unit * 999)
    with pytest.raises(ValueError, match=f"more than 1,000 {word}"):
        parse(b"[" + unit * 1001 + b"1]")


def test_the_amount_of_bytes_is_bounded(monkeypatch):
    monkeypatch.setattr(safe_json, "LARGEST", 100)
    assert parse(b'"' + b"a" * 98 + b'"') == "a" * 98
    with pytest.raises(ValueError, match="more than 100 bytes"):
        parse(b'"' + b"a" * 99 + b'"')


def test_digits_are_bounded():
    longest = "9" * safe_json.LONGEST
    assert parse(longest.encode()) == int(longest)
    tree = [0.1234567890123456789012345678901234, "1" * 50, 5]
    assert parse(json.dumps([*tree[:2], 5]).encode()) == tree
    for digits in (safe_json.LONGEST + 1, 400, 5000):
        with pytest.raises(ValueError, match="whole number of"):
            parse(b'{"a": ' + b"1" * digits + b"}")


@pytest.mark.parametrize("content", [b"NaN", b"[Infinity]", b"{", b"", b"\xff", b"\xef\xbb\xbf1", b'"\xed\xa0\x80"', b"1 2"])
def test_what_is_no_json_is_refused(content):
    with pytest.raises(ValueError):
        parse(content)


def test_a_repeated_key_is_named():
    with pytest.raises(ValueError, match="the key seed occurs twice"):
        refuse_repeated_keys(b'{"a": [{"seed": 1, "seed": 2}]}')


def test_names_are_shown_in_one_line():
    assert escaped("é/a b.json") == "é/a b.json"
    assert escaped("a\nb\x1b[31m\u202e") == "a\\nb\\x1b[31m\\u202e"
    assert escaped(os.fsdecode(b"\xff.json")) == "\\xff.json"


def test_values_are_shown_in_few_letters():
    assert brief("x" * 100, 5) == "xxxxx..."
    assert brief("a\n") == "a\\n"
    assert brief([1] * 9) == "a list of 9"
    assert brief({"a": 1}) == "an object of 1 keys"
    assert brief(10**400) == "a number of many digits"
    assert (brief(None), brief(2.5), brief(True)) == ("None", "2.5", "True")


def _socket(path):
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))


KINDS = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a device": lambda path: os.symlink("/dev/zero", path),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_of_files_are_refused_at_once(tmp_path, monkeypatch, kind):
    KINDS[kind](tmp_path / "x")
    with pytest.raises(OSError, match=f"it is {kind}, not a regular file"):
        open_regular(tmp_path / "x")


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    _socket("x")
    with pytest.raises(OSError, match="it is a socket, not a regular file"):
        open_regular(tmp_path / "x")


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").symlink_to("a")
    assert read_bytes(tmp_path / "b", 3) == b"abc"
    with pytest.raises(OSError, match="larger than 2 bytes"):
        read_bytes(tmp_path / "b", 2)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "a", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="larger than 1,000 bytes"):
        read_bytes(tmp_path / "a", 1000)


def test_a_file_without_a_size_is_read_whole():
    with open("/proc/self/status") as file:
        names = [line.partition(":")[0] for line in file]
    found = read_bytes("/proc/self/status", 10**6).decode().splitlines()
    assert [line.partition(":")[0] for line in found] == names
