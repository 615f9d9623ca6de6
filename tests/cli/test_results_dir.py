"""`results_dir` means one thing for all commands and functions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import clbench
from clbench.cli import leaderboard, plot, reproduce
from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.errors import ClbenchError, ConfigError
from tests.command_line import clbench as command


def composed(word: str) -> str:
    composer = new_composer()
    return make_job(composer([word]), composer).results_dir


READERS: dict[str, Callable[[str], str]] = {
    "clbench": composed,
    "leaderboard": lambda word: leaderboard.COMMAND.parse([word])["results_dir"],
    "plot": lambda word: plot.COMMAND.parse([word])["results_dir"],
    "reproduce": lambda word: reproduce.COMMAND.parse([word])["results_dir"],
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("value", ["null", "[a,b]", "a,b", "???", "' '", "'x '", "$CLBENCH_NOT_SET", "x/" * 2000])
def test_every_command_refuses_what_names_no_folder(name: str, value: str) -> None:
    with pytest.raises(ClbenchError) as caught:
        READERS[name](f"results_dir={value}")
    assert "results_dir" in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("value", ["~/x", "'~/x'", "$HOME/x", "${HOME}/x"])
def test_every_command_expands_the_home_folder(name: str, value: str) -> None:
    assert READERS[name](f"results_dir={value}") == f"{os.path.expanduser('~')}/x"


@pytest.mark.parametrize("value", ["", ["a", "b"], 5, "a\0b", "x "])
def test_the_functions_refuse_the_same(value: Any) -> None:
    with pytest.raises(ConfigError, match="results_dir="):
        clbench.load(value)
    with pytest.raises(ConfigError, match="results_dir="):
        clbench.run(results_dir=value, progress=False)


def test_a_sweep_makes_no_folder_with_the_name_of_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    quick = ("trainer.epochs=1", "logger=none", "device=cpu", "runner.workers=0")
    assert command(monkeypatch, "-m", "results_dir=~/x", *quick) == 0
    assert command(monkeypatch, "results_dir=$HOME/x", *quick) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert len(clbench.load("~/x")) == 1
