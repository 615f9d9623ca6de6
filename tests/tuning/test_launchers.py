"""Searches by Hydra's launchers: the same trials, choice and records as by the workers of this machine."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clbench.records import load_all
from tests.test_launchers import CASES, PACKAGES

pytest.importorskip("optuna")
WORDS = ("method=er", "scenario=split_digits", "trainer.epochs=1", "tuning.trials=3", "tuning.seeds=2", "tuning.parallel=2")


def outcome(folder: Path, *words: str) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "clbench.cli.tune",
        *WORDS,
        *words,
        f"results_dir='{str(folder).replace(chr(39), chr(92) + chr(39))}'",
        "device=cpu",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    records, errors = load_all(folder)
    searched, others = load_all(folder / "tuning" / "er-split_digits-class-first_2")
    assert not errors
    assert not others
    return {record.id: record.result for record in [*records, *searched]}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return outcome(tmp_path_factory.mktemp("here"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["joblib", "ray"])
def test_a_launcher_changes_nothing(name: str, here: dict[str, Any], tmp_path: Path) -> None:
    package = PACKAGES[name]
    if importlib.util.find_spec(f"hydra_plugins.{package}") is None:
        pytest.skip(f"{package} is not installed: pip install 'clbench[launchers]'")
    words = [word for word in CASES[name] if "num_gpus" not in word]
    assert outcome(tmp_path / "it's there", f"hydra/launcher={name}", *words) == here
