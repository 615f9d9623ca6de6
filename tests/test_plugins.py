"""Methods from elsewhere, found by the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

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
