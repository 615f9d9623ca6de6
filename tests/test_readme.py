"""The commands and files of README and guide, run as they are written, and the README's length."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
MODULES = {"clbench": "clbench.cli.main", "clbench-leaderboard": "clbench.cli.leaderboard"}


def blocks(marker):
    """Return (what the marker names, the code block after it) for each `<!-- marker... -->`."""
    return re.findall(rf"<!-- {marker}(?:: (\S+))? -->\n```\w+\n(.*?)```", README, re.S)


def run(command, folder):
    """Run one line of shell with the commands of this installation."""
    name, *arguments = command.split("#")[0].split()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", MODULES[name], *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The worked example, written from the README, and its commands run."""
    folder = tmp_path_factory.mktemp("outsider")
    for path, text in blocks("plugin"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    ((_, commands),) = blocks("plugin commands")
    done = [run(line, folder) for line in commands.splitlines()]
    return folder, done


def test_every_command_of_the_worked_example_runs(plugin):
    _, done = plugin
    assert [d.returncode for d in done] == [0, 0, 0], "\n".join(d.stdout + d.stderr for d in done)


def test_the_outsiders_method_stands_in_the_json(plugin):
    _, done = plugin
    rows = [row for row in json.loads(done[2].stdout) if row["method"] == "anchor"]
    assert {(row["scenario"], row["variant"]) for row in rows} == {
        (scenario, variant) for scenario in ("permuted_digits", "rotated_digits") for variant in ("", "strength=0.01")
    }
    assert all(row["n_seeds"] == 1 and row["acc"] is not None for row in rows)


def test_a_wrong_setting_is_refused_with_the_reason(plugin):
    folder, _ = plugin
    refused = run("clbench --config-dir my_plugin method=anchor scenario.setting=class", folder)
    assert refused.returncode == 1
    assert "does not support scenario.setting=class" in refused.stderr
    assert "domain, task" in refused.stderr
    assert "Traceback" not in refused.stderr + refused.stdout


def test_a_wrong_value_is_refused_with_its_name(plugin):
    folder, _ = plugin
    refused = run("clbench --config-dir my_plugin method=anchor method.strength=strong scenario.setting=task", folder)
    assert refused.returncode == 1
    assert "method.strength='strong'" in refused.stderr
    assert "Traceback" not in refused.stderr + refused.stdout


def test_the_outsiders_method_passes_the_kit(plugin, monkeypatch):
    from clbench.testing import check_method

    folder, _ = plugin
    monkeypatch.syspath_prepend(str(folder / "my_plugin"))
    check_method("anchor", config_dirs=[folder / "my_plugin"], neutral={"strength": 0.0})


def test_shown_commands_are_valid_without_running_them(tmp_path):
    """Each command of README and guide composes; those that only need data are asked for their configuration."""
    lines = "".join(re.findall(r"^```sh\n(.*?)^```", README + GUIDE, re.S | re.M)).splitlines()
    shown = list(dict.fromkeys(line.split("#")[0].strip() for line in lines if line.startswith("clbench ") and "my_" not in line))
    assert len(shown) >= 5
    for command in shown:
        if any(flag in command for flag in ("--help", "--cfg", " -m ", "my.npz", "photos")):
            continue
        described = run(f"{command.replace(' --multirun', '')} --cfg job", tmp_path)  # a sweep's own configuration
        assert described.returncode == 0, f"{command}: {described.stderr}"


def test_tables_of_names_are_complete():
    names = {path.stem for path in (ROOT / "conf" / "method").glob("*.yaml")}
    methods = next(line for line in REFERENCE.splitlines() if line.startswith("| methods |"))
    assert set(re.findall(r"`(\w+)`", methods)) == names
    models = next(line for line in REFERENCE.splitlines() if line.startswith("| models |"))
    assert set(re.findall(r"`(\w+)`", models)) == {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}


def test_the_readme_is_short():
    assert len(README.split()) <= 1000


def test_the_tables_of_the_quick_sweep_are_those_of_its_records(tmp_path):
    """Whole in docs/results.md; one stream with fewer columns in the README."""
    printed = run(f"clbench-leaderboard results_dir={ROOT / 'results' / 'quick'} format=markdown", tmp_path).stdout
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert len(rows) >= 21
    assert [row for row in rows if row not in RESULTS.splitlines()] == []
    first = [row.strip("| ").split(" | ") for row in rows[2:9]]
    assert [row for row in first if f"| {row[0]} | {row[2]} | {row[3]} | {row[4]} |" not in README.splitlines()] == []
