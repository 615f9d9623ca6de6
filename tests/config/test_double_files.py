"""A file of configuration with the name of another one is never ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from clbench.cli.help import text
from clbench.config.double_files import DoubleFileError, double_files
from clbench.config.hydra_compose import conf_dir, new_composer
from tests.command_line import QUICK, clbench

CHOSEN = {
    "method/er": ["method=er"],
    "scenario/split_mnist": ["scenario=split_mnist"],
    "scenario/dataset/mnist": ["scenario=split_mnist"],
    "model/mlp": [],
    "optimizer/adam": ["optimizer=adam"],
    "trainer/default": [],
    "trainer/schedule/constant": [],
    "protocol/split_digits": [],
    "tuned/split_digits/ewc": ["method=ewc"],
    "federated/iid": ["+federated=iid"],
    "federated/server/fedavg": ["+federated=iid", "federated/server=fedavg"],
    "runner/default": [],
    "logger/console": [],
    "sweep/quick": ["+sweep=quick"],
    "experiment/biography/tiny": ["+experiment=biography/tiny"],
    "ability/prose": ["+ability@eval.ability.x=prose"],
    "hydra/launcher/joblib": ["hydra/launcher=joblib"],
    "config": [],
}
"""Files of `conf`, one of each group, and what chooses them."""


def put(folder: Path, name: str, content: str = "x: 1\n") -> Path:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize("name", CHOSEN)
@pytest.mark.parametrize("by_search_path", [False, True])
def test_a_chosen_file_with_the_name_of_a_built_in_one_is_refused_in_every_group(
    tmp_path: Path, name: str, by_search_path: bool
) -> None:
    path = put(tmp_path, name)
    composer = new_composer([] if by_search_path else [tmp_path])
    added = [f"hydra.searchpath=[file://{tmp_path}]"] if by_search_path else []
    for _ in range(2):  # nothing is remembered of a refused file
        with pytest.raises(DoubleFileError) as told:
            composer([*added, *CHOSEN[name]])
        assert str(path) in str(told.value)
        assert str(conf_dir() / f"{name}.yaml") in str(told.value)
        assert f"rename {path}" in str(told.value)


def test_two_folders_of_ones_own_are_refused_as_well(tmp_path: Path) -> None:
    one, two = put(tmp_path / "a", "method/mine"), put(tmp_path / "b", "method/mine", "x: 2\n")
    with pytest.raises(DoubleFileError, match=rf"method=mine stands for two files, .*{two.parent}.*choose method=my_mine|{one}"):
        new_composer([tmp_path / "a", tmp_path / "b"])(["method=mine"])


def test_files_with_names_of_their_own_and_files_that_are_not_chosen_are_accepted(tmp_path: Path) -> None:
    put(tmp_path, "method/er")
    put(tmp_path, "method/mine", "_target_: clbench.methods.naive.Naive\nversion: 1\n")
    put(tmp_path, "tuned/split_digits/mine", "class: {}\n")
    composed = new_composer([tmp_path, tmp_path / "method" / ".."])(["method=mine"])
    assert composed.config["method"] == {"_target_": "clbench.methods.naive.Naive", "version": 1}


def test_a_folder_that_is_named_twice_is_one_folder(tmp_path: Path) -> None:
    put(tmp_path, "method/mine", "_target_: clbench.methods.naive.Naive\nversion: 1\n")
    new_composer([tmp_path, tmp_path])(["method=mine"])
    assert double_files([tmp_path, tmp_path]) == {}


@pytest.mark.usefixtures("own_folder")
@pytest.mark.parametrize(
    "words",
    [
        ("--cfg", "job", "method=er"),
        ("method=er", *QUICK),
        ("method=er", "method.strength=3", *QUICK),
        ("method=er_ewc", *QUICK),
        ("--multirun", "method=er", *QUICK),
    ],
)
def test_every_command_refuses_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    path = put(tmp_path / "plugin", "method/er", "_target_: mine.ER\nversion: 1\nstrength: 1\n")
    assert clbench(monkeypatch, "--config-dir", "plugin", *words) == 1
    said = capsys.readouterr()
    assert f"rename {path}, for example to my_er.yaml, and choose method=my_er" in said.err
    assert "strength" not in said.out


def test_the_remedy_for_values_of_a_file_that_cannot_be_renamed_works(tmp_path: Path) -> None:
    put(tmp_path, "protocol/split_digits", "trainer: {epochs: 7}\n").unlink()
    put(tmp_path, "experiment/mine", "# @package _global_\ntrainer: {epochs: 7}\n")
    assert new_composer([tmp_path])(["+experiment=mine"]).config["trainer"]["epochs"] == 7


def test_the_help_names_files_that_would_be_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "method/er")
    assert f"method/er.yaml is refused where it is chosen: rename {path}" in text([conf_dir(), tmp_path], 100)
    assert "refused where it is chosen" not in text([conf_dir()], 100)
