"""A home folder and an environment variable on the command line need no quotes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.config.quoting import expand_config_dir, quote_places


@pytest.mark.parametrize("word", ["results_dir=~/x", "results_dir='~/x'", "results_dir=$HOME/x", "results_dir=${HOME}/x"])
def test_every_spelling_of_the_home_folder_is_one_folder(word: str) -> None:
    composer = new_composer()
    assert make_job(composer([word]), composer).results_dir == str(Path(os.path.expanduser("~"), "x"))


@pytest.mark.parametrize("word", ["~logger", "~model.width=3", "method=er", "model.hidden=[1,2]", "a.b=${c.d}", "x='~/y'"])
def test_other_words_stay(word: str) -> None:
    assert quote_places([word]) == [word]


@pytest.mark.parametrize("words", [["--config-dir", "~/x"], ["--config-dir=~/x"], ["-cd", "$HOME/x"]])
def test_the_home_folder_in_config_dir_is_expanded(words: list[str]) -> None:
    made = expand_config_dir(["method=er", *words, "results_dir=~/y"])
    assert made[-2].endswith(f"{os.path.expanduser('~')}/x")
    assert made[0] == "method=er"
    assert made[-1] == "results_dir=~/y"
