"""Flags and overrides of `clbench` in any order, and flags that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from clbench.cli.arguments import completed_line, in_order
from clbench.config.hydra_cache import argument_parser
from clbench.errors import ConfigError
from tests.command_line import QUICK, clbench

pytestmark = pytest.mark.usefixtures("own_folder")


def spelled(name: str, value: str) -> str:
    return f"seeds={value}" if name == "seeds" else ""


def ordered(*words: str) -> list[str]:
    flags, overrides = in_order(words, argument_parser(), spelled)
    return [*flags, *overrides]


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["method=er", "-m", "seeds=3"], ["-m", "method=er", "seeds=3"]),
        (["method=er", "seeds=3", "--multirun"], ["--multirun", "method=er", "seeds=3"]),
        (["method=er", "--config-dir", "x", "seeds=3"], ["--config-dir", "x", "method=er", "seeds=3"]),
        (["method=er", "--config-dir=x"], ["--config-dir=x", "method=er"]),
        (["method=er", "-cd", "x"], ["-cd", "x", "method=er"]),
        (["method=er", "--cfg", "job", "-p", "method"], ["--cfg", "job", "-p", "method", "method=er"]),
        (["--info", "method=er"], ["--info=all", "method=er"]),
        (["--info", "defaults", "method=er"], ["--info=defaults", "method=er"]),
        (["-m", "--", "method=er"], ["-m", "method=er"]),
        (["method=er", "-h"], ["-h", "method=er"]),
        (["--multi", "method=er"], ["--multirun", "method=er"]),
    ],
)
def test_flags_may_stand_anywhere(words: list[str], right: list[str]) -> None:
    assert ordered(*words) == right


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "3"], "seeds=3"),
        (["--seeds=3"], "seeds=3"),
        (["-seeds=3"], "seeds=3"),
        (["--mutlirun"], "write --multirun"),
        (["--multi-run"], "write --multirun"),
        (["--config_dir", "x"], "write --config-dir x"),
        (["--dry-run"], "write runner.dry=true"),
        (["--gpu", "0"], "write device=cuda"),
        (["-v"], "write --version"),
        (["--nonsense"], "clbench --help"),
        (["--config-dir"], "write --config-dir"),
        (["--config-dir", "method=er"], "write --config-dir"),
        (["--cfg", "jbo"], "choose one of: job"),
        (["--cfg", "job", "-m"], "leave --multirun out"),
        (["--multirun=true"], "write --multirun"),
        (["--resolve"], "write --cfg job --resolve"),
        (["-p", "method"], "write --cfg job --package"),
        (["--config-dir", "a", "--config-dir", "b"], "hydra.searchpath=[FOLDER,...]"),
    ],
)
def test_what_is_no_flag_gets_its_right_spelling(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ordered(*words)
    assert said in caught.value.remedy
    assert words[0] in caught.value.what or words[0] == "-p"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "er"), "method=er"),
        (("--lr", "0.1"), "optimizer.lr=0.1"),
        (("--batch-size", "32"), "trainer.batch_size=32"),
        (("--epochs=3",), "trainer.epochs=3"),
        (("--output-dir", "out"), "results_dir=out"),
    ],
)
def test_an_argument_of_other_programs_is_spelled_as_a_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert clbench(monkeypatch, *words) == 1
    assert f"without dashes: {said}" in capsys.readouterr().err
    assert clbench(monkeypatch, "--cfg", "job", said) == 0


def test_a_flag_after_overrides_acts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert clbench(monkeypatch, "method=naive,joint", *QUICK, "-m", "seeds=1", "runner.dry=true") == 0
    assert "2 runs in 2 jobs" in capsys.readouterr().out
    assert clbench(monkeypatch, "seeds=4", "--cfg", "job", "-p", "seeds") == 0
    assert capsys.readouterr().out == "4\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhree", "did you mean --config-dir {}/nowhere?"),
        ("a.txt", "is a file"),
        ("nowhere/method/mine.yaml", "give the folder with the folders of groups: --config-dir {}/nowhere"),
        ("nowhere/method", "give the folder above: --config-dir {}/nowhere"),
    ],
)
def test_a_folder_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, given: str, said: str
) -> None:
    (tmp_path / "nowhere" / "method").mkdir(parents=True)
    (tmp_path / "nowhere" / "method" / "mine.yaml").write_text("_target_: clbench.methods.naive.Naive\nversion: 1\n")
    (tmp_path / "a.txt").write_text("")
    assert clbench(monkeypatch, "method=mine", "--config-dir", given) == 1
    shown = capsys.readouterr().err
    assert f"--config-dir {given}" in shown
    assert said.format(tmp_path) in shown
    assert clbench(monkeypatch, "method=mine", "--config-dir", str(tmp_path / "nowhere"), "--cfg", "job") == 0


def test_the_line_to_complete_loses_its_flags_and_tells_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    (tmp_path / "plugin").mkdir()
    for line, left, folder in [
        ("clbench method=er --config-dir plugin -m method=mi", "clbench method=er method=mi", "plugin"),
        ("clbench -m method=", "clbench method=", None),
        ("clbench --config-dir absent method=", "clbench method=", None),
    ]:
        monkeypatch.setenv("COMP_LINE", line)
        assert completed_line(argument_parser(), spelled) == folder
        assert os.environ["COMP_LINE"] == left


def test_the_names_of_a_plugin_are_completed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "plugin" / "method").mkdir(parents=True)
    (tmp_path / "plugin" / "method" / "mine_alone.yaml").write_text("_target_: clbench.methods.naive.Naive\nversion: 1\n")
    for line in (
        "clbench --config-dir plugin method=mi",
        "clbench seeds=2 -m --config-dir plugin method=mi",
        "clbench hydra.searchpath=[plugin] method=mi",
    ):
        monkeypatch.setenv("COMP_LINE", line)
        assert clbench(monkeypatch, "-sc", "query=bash") == 0
        assert capsys.readouterr().out == "method=mine_alone\n"
