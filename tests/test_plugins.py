"""Methods from elsewhere, found by the command line."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from clbench import run as from_python
from clbench.errors import ConfigError
from clbench.records import load_all, write
from clbench.sources.changes import mark, without
from tests.command_line import QUICK, clbench, command

pytestmark = pytest.mark.usefixtures("own_folder")

METHOD = """
from dataclasses import dataclass
from clbench.methods.base import Method

@dataclass
class Mine(Method):
    {field}: float
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_method_in_the_folder_given_with_config_dir_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, workers: int
) -> None:
    folder = tmp_path / "plugin"
    (folder / "method").mkdir(parents=True)
    (folder / f"given_{workers}.py").write_text(METHOD.format(field="strength"))
    (folder / "method" / "mine.yaml").write_text(f"_target_: given_{workers}.Mine\nversion: 1\nstrength: 1.0\n")
    words = ("--config-dir", "plugin", "method=mine", "trainer.epochs=1", f"runner.workers={workers}", "device=cpu")
    assert clbench(monkeypatch, *words) == 0, capsys.readouterr().err
    assert clbench(monkeypatch, *words, "method.strength=2.0", "-m") == 0
    shown = capsys.readouterr().out
    assert "mine" in shown
    assert "strength=2.0" in (tmp_path / "runs" / "leaderboard.md").read_text()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_method_in_the_working_folder_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, workers: int
) -> None:
    (tmp_path / f"at_hand_{workers}.py").write_text(METHOD.format(field="weight"))
    target = f"method._target_=at_hand_{workers}.Mine"
    assert clbench(monkeypatch, target, "+method.weight=1.0", "trainer.epochs=1", f"runner.workers={workers}", "device=cpu") == 0
    assert clbench(monkeypatch, target, "+method.wieght=1.0", "trainer.epochs=1", f"runner.workers={workers}", "device=cpu") == 1
    assert "did you mean method.weight" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("hydra.searchpath=[file://further]", "runner.workers=0"),
        ("hydra.searchpath=[further]", "runner.workers=1"),
        ("hydra.searchpath=further", "-m", "runner.workers=0"),
        ("-m", "+hydra.searchpath=[further]", "hydra/launcher=joblib"),
    ],
)
def test_the_modules_beside_a_folder_of_the_search_path_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    if "joblib" in words[-1]:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    name = f"beside_{abs(hash(words))}"
    (tmp_path / "further" / "method").mkdir(parents=True)
    (tmp_path / "further" / f"{name}.py").write_text(METHOD.format(field="strength"))
    (tmp_path / "further" / "method" / "mine.yaml").write_text(f"_target_: {name}.Mine\nversion: 1\nstrength: 1.0\n")
    assert clbench(monkeypatch, *words, "method=mine", "method.strength=2.0", "trainer.epochs=1", "device=cpu") == 0, (
        capsys.readouterr().err
    )
    assert "strength=2.0" in (tmp_path / "runs" / "leaderboard.md").read_text()
    folder = words[0] if "searchpath" in words[0] else words[1]
    if folder.startswith("hydra.searchpath=["):
        again = ["runner.workers=0", "trainer.epochs=1", "device=cpu", "method.strength=3.0"]
        assert len(from_python(method="mine", results_dir="runs", progress=False, overrides=[folder, *again])) == 1
    assert clbench(monkeypatch, *(word for word in words if word != "-m"), "--help") == 0
    assert "mine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("file://nowhere", "hydra.searchpath: file://nowhere: there is no such folder"),
        ("furthre", "did you mean 'hydra.searchpath=[file://"),
        ("pkg://no_such_package.conf", "no package no_such_package is installed"),
        ("pkg://clbench.nowhere", "the package clbench has no folder nowhere"),
        ("http://further", "give file://FOLDER or pkg://PACKAGE.FOLDER"),
    ],
)
def test_an_entry_of_the_search_path_that_leads_nowhere_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, entry: str, said: str
) -> None:
    (tmp_path / "further").mkdir()
    assert clbench(monkeypatch, f"hydra.searchpath=[{entry}]") == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert entry in shown
    with pytest.raises(ConfigError, match=re.escape(said)):
        from_python(overrides=[f"hydra.searchpath=[{entry}]"])
    assert [path.name for path in tmp_path.iterdir()] == ["further"]


def test_an_installed_plugin_brings_its_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    (site / "bonus" / "conf" / "method").mkdir(parents=True)
    (site / "bonus" / "__init__.py").write_text("raise RuntimeError('composing must not import a plug-in')")
    (site / "bonus" / "conf" / "method" / "bonus_method.yaml").write_text("_target_: bonus.Bonus\nversion: 1\n")
    (site / "bonus-1.0.dist-info").mkdir()
    (site / "bonus-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: bonus\nVersion: 1.0\n")
    (site / "bonus-1.0.dist-info" / "entry_points.txt").write_text("[clbench.methods]\nbonus = bonus\n")
    monkeypatch.syspath_prepend(str(site))
    assert clbench(monkeypatch, "--cfg", "job", "-p", "method", "method=bonus_method") == 0
    assert "bonus.Bonus" in capsys.readouterr().out
    assert clbench(monkeypatch, "--help") == 0
    assert "bonus_method" in capsys.readouterr().out


def test_a_user_of_the_command_line_sees_the_new_spelling_of_an_earlier_name(tmp_path: Path) -> None:
    (tmp_path / "aged.py").write_text(METHOD.format(field="strength") + "    replays = True\n")
    target = ("method._target_=aged.Mine", "+method.strength=1.0")
    started = command(*target, *QUICK)
    shown, errors = started.communicate(timeout=120)
    assert started.returncode == 0, errors
    assert "aged.py:5: FutureWarning" in shown + errors
    assert "Mine.replays = True is now a trait: traits = frozenset({Trait.REPLAYS})" in shown + errors


EDITED = """
from dataclasses import dataclass
from clbench.methods.base import Method
from helper_of_edited import factor

@dataclass
class Edited(Method):
    strength: float

    def edit_gradients(self, learner, batch):
        for gradient in learner.gradients.values():
            gradient *= factor() * self.strength
"""
HELPER = """
def factor():
    return 1.0
"""
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU())

    def forward(self, x):
        return self.layers(x)
"""


def again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run the command as a new process would: without the user's modules. Return what it prints."""
    for module in ("edited", "helper_of_edited", "net_of_edited"):
        sys.modules.pop(module, None)
    assert clbench(monkeypatch, *words, *QUICK) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "plugin"
    (folder / "method").mkdir(parents=True)
    (folder / "edited.py").write_text(EDITED)
    (folder / "helper_of_edited.py").write_text(HELPER)
    (folder / "method" / "edited.yaml").write_text("_target_: edited.Edited\nversion: 1\nstrength: 1.0\n")
    return folder


def test_an_edited_method_is_trained_again_and_the_earlier_record_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path)
    words = ("--config-dir", "plugin", "method=edited")
    assert "1 trained" in again(monkeypatch, capsys, *words)
    (folder / "edited.py").write_text("# a comment\n" + EDITED + "\n\n")
    assert "Nothing to train" in again(monkeypatch, capsys, *words)
    (folder / "helper_of_edited.py").write_text(HELPER.replace("1.0", "0.0"))
    said = again(monkeypatch, capsys, *words)
    assert "the source of helper_of_edited changed since one finished run, whose record is kept" in said
    assert "1 trained" in said
    records = load_all(tmp_path / "runs")[0]
    assert len({str(record.result["matrix"]) for record in records}) == len(records) == 2
    table = (tmp_path / "runs" / "leaderboard.md").read_text()
    marks = [mark(record.identity) for record in records]
    assert all(table.count(f"source={each}") == 1 for each in marks)
    (folder / "helper_of_edited.py").write_text(HELPER)
    assert "Nothing to train" in again(monkeypatch, capsys, *words)
    assert "1 trained" in again(monkeypatch, capsys, *words, "rerun=true")
    assert len(load_all(tmp_path / "runs")[0]) == 2


def test_an_edited_model_and_an_edited_part_of_a_composition_are_trained_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path)
    (folder / "net_of_edited.py").write_text(NET)
    words = ("--config-dir", "plugin", "method=compose", "+method@method.parts.mine=edited", "+method@method.parts.er=er")
    words += ("model._target_=net_of_edited.Net",)
    assert "1 trained" in again(monkeypatch, capsys, *words)
    (folder / "net_of_edited.py").write_text(NET.replace("8", "9"))
    assert "the source of net_of_edited changed" in again(monkeypatch, capsys, *words)
    (folder / "edited.py").write_text(EDITED.replace("*= factor", "*= 0.5 * factor"))
    assert "the source of edited changed since 2 finished runs" in again(monkeypatch, capsys, *words)
    assert "Nothing to train" in again(monkeypatch, capsys, *words)
    assert len(load_all(tmp_path / "runs")[0]) == 3


def test_a_record_from_before_sources_were_named_is_kept_as_a_row_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder_of(tmp_path)
    words = ("--config-dir", "plugin", "method=edited")
    again(monkeypatch, capsys, *words)
    (record,) = load_all(tmp_path / "runs")[0]
    (tmp_path / "runs" / f"{record.id}.json").unlink()
    write(replace(record, identity=without(record.identity)), tmp_path / "runs")
    said = again(monkeypatch, capsys, *words)
    assert "edited, helper_of_edited: the source may have changed since one finished run" in said
    table = (tmp_path / "runs" / "leaderboard.md").read_text()
    assert table.count("source=unknown") == table.count(f"source={mark(record.identity)}") == 1
