"""Values that name a folder are expanded, and values that name none are refused, with a remedy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clbench.errors import ConfigError
from clbench.utils.folders import expanded, results_dir, typed


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("runs", "runs"),
        ("../a b", "../a b"),
        ("~", "{home}"),
        ("~/x", "{home}/x"),
        ("$CLBENCH_PLACE/x", "/place/x"),
        ("${CLBENCH_PLACE}/x", "/place/x"),
        ("a$", "a$"),
        (Path("a/b"), "a/b"),
        ("ä", "ä"),
    ],
)
def test_home_and_variables_are_expanded(monkeypatch: pytest.MonkeyPatch, given: Any, expected: str) -> None:
    monkeypatch.setenv("CLBENCH_PLACE", "/place")
    assert results_dir(given) == expected.format(home=os.path.expanduser("~"))


@pytest.mark.parametrize(
    ("given", "what", "remedy"),
    [
        (None, "results_dir=None is no path", "results_dir=runs"),
        (["a", "b"], "is no path (a list)", "results_dir=runs"),
        (5, "results_dir=5 is no path", "results_dir=./5"),
        (True, "is no path (bool)", "results_dir=runs"),
        ("", "is empty", "results_dir=runs"),
        ("  ", "is empty", "results_dir=runs"),
        ("x ", "begins or ends with a space", "leave the space out"),
        ("a\nb", "cannot be printed", "without them"),
        ("a\0b", "cannot be printed", "without them"),
        ("\udcff", "cannot be printed", "without them"),
        ("$CLBENCH_NOT_SET/x", "CLBENCH_NOT_SET is not set", "set CLBENCH_NOT_SET"),
        ("~nobody-of-that-name/x", "has no home folder", "results_dir=./~nobody-of-that-name/x"),
        ("x" * 300, "is too long (300 bytes)", "shorter"),
        ("ä" * 200, "is too long (400 bytes)", "shorter"),
        ("abc/" * 1000, "is too long (4000 bytes)", "shorter"),
    ],
)
def test_what_names_no_folder_is_refused_in_one_line(given: Any, what: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        results_dir(given)
    assert what in caught.value.what
    assert remedy in caught.value.remedy
    assert caught.value.what.isprintable()


def test_without_a_home_the_remedy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(ConfigError, match="set the environment variable HOME"):
        expanded("~/x", "out")


@pytest.mark.parametrize(
    ("word", "expected"), [("runs", "runs"), ("'a,b'", "a,b"), ('"null"', "null"), (" runs ", "runs"), ("2024", "2024")]
)
def test_quotes_make_a_name_of_anything(word: str, expected: str) -> None:
    assert typed(word, "results_dir") == expected


@pytest.mark.parametrize("word", ["a,b", "[a]", "null", "???", "{a: 1}", "' '", "'x '"])
def test_words_mean_what_they_mean_to_clbench(word: str) -> None:
    with pytest.raises(ConfigError, match="results_dir="):
        typed(word, "results_dir")
