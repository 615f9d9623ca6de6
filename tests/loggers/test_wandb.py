"""The real wandb: an offline run is read back from its file; no question is asked, and no file lands in another folder."""

import importlib
import json
import os
import pty
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clbench.errors import ConfigError
from clbench.loggers.base import Loggers, accuracies
from clbench.loggers.heatmap import image
from clbench.loggers.wandb import Wandb
from clbench.metrics.matrix import summary

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SETTINGS = {"project": "clbench-tests", "entity": None, "cell": 3, "init_timeout": 30.0, "finish_timeout": 30.0}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Give wandb an empty home and working folder, and no key."""
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.chdir(here)
    yield tmp_path
    if "wandb" in sys.modules:
        importlib.import_module("wandb").teardown()


def records_of(path):
    """Yield the protocol buffers of a run's file: LevelDB's log format (blocks of 32 KiB) after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, pending = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        pending += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(pending)
            pending = b""


def read_back(results_dir):
    """Return (run, configuration, history rows, summary, exit code) of the only run below a folder."""
    importlib.import_module("wandb").teardown()  # its process has written everything when it is gone
    (path,) = Path(results_dir).glob("wandb/*/run-*.wandb")
    history, final, run, code = [], {}, None, None
    for record in records_of(path):
        if record.HasField("run"):
            run = record.run
        if record.HasField("history"):
            history.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item})
        for item in record.summary.update if record.HasField("summary") else ():
            final["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        if record.HasField("exit"):
            code = record.exit.exit_code
    config = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in run.config.update}
    return run, config, history, final, code


def test_an_offline_run_holds_everything(info, record, so_far, elsewhere, said, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    loggers = Loggers([Wandb(mode="offline", **SETTINGS)], info, said.append)
    for n in range(1, 7):
        loggers.event(so_far(n))
    loggers.end(record)
    assert said == []

    run, config, history, final, code = read_back(info.results_dir)
    assert (run.project, run.run_group, run.display_name) == ("clbench-tests", record.config_id, info.label)
    assert {key: config[key] for key in record.identity} == record.identity
    assert (config["id"], config["variant"]) == (record.id, "buffer_size=50")

    rows = [row for row in history if "task" in row]  # the row of the matrix has none
    assert [(row["event"], row["task"], row.get("step")) for row in rows] == [
        (0, -1, None),
        (1, 0, 20),
        (2, 0, None),
        (3, 1, None),
        (4, 2, 20),
        (5, 2, None),
    ]
    assert [[row[f"accuracy/task {j}"] for j in range(3)] for row in rows] == accuracies(record.result)
    assert "acc" not in rows[1]
    assert rows[3]["forgetting"] == pytest.approx(7)
    assert rows[3]["bwt"] == pytest.approx(-7)

    expected = {key: value for key, value in summary(record.result).items() if value is not None}
    assert {key: final[key] for key in expected} == pytest.approx(expected)
    assert final["cost/seconds"] == 1.5
    assert "cost/flops" not in final
    assert code == 0

    media = Path(info.results_dir) / "wandb"
    (table,) = media.glob("*/files/media/table/*.json")
    table = json.loads(table.read_text())
    assert table["columns"] == ["event", "task", "step", "task 0", "task 1", "task 2"]
    assert [row[3:] for row in table["data"]] == accuracies(record.result)
    from PIL import Image

    (picture,) = media.glob("*/files/media/images/*.png")
    assert np.array_equal(np.asarray(Image.open(picture).convert("RGB")), image(accuracies(record.result), 3))

    strays = [path for folder in ("home", "here") for path in (elsewhere / folder).rglob("*") if path.is_file()]
    assert strays == [], "everything lies below results_dir"
    assert not [key for key in os.environ if key in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")]


def test_a_resumed_run_logs_the_rows_before_the_interruption_too(info, record, so_far, said):
    loggers = Loggers([Wandb(mode="offline", **SETTINGS)], info, said.append)
    loggers.event(so_far(5))
    loggers.event(so_far(6))
    loggers.end(record)
    _, _, history, _, _ = read_back(info.results_dir)
    assert [row["event"] for row in history if "task" in row] == [0, 1, 2, 3, 4, 5]


def test_a_failed_run_says_why(info, so_far, said):
    loggers = Loggers([Wandb(mode="offline", **SETTINGS)], info, said.append)
    loggers.event(so_far(3))
    loggers.fail("the loss is not finite")
    *_, final, code = read_back(info.results_dir)
    assert final["failed"] == "the loss is not finite"
    assert code == 1
    assert said == []


def test_disabled_makes_no_files(info, record, elsewhere, said):
    loggers = Loggers([Wandb(mode="disabled", **SETTINGS)], info, said.append)
    loggers.event(record.result)
    loggers.end(record)
    loggers.fail("never mind")
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == []
    assert said == []


def test_a_folder_that_cannot_be_made_does_not_end_the_run(info, record, elsewhere, said):
    (elsewhere / "file").write_text("not a folder")
    info = replace(info, results_dir=str(elsewhere / "file" / "x"))
    loggers = Loggers([Wandb(mode="offline", **SETTINGS)], info, said.append)
    loggers.event(record.result)
    loggers.end(record)
    (text,) = said
    assert "Wandb stopped at begin" in text


def test_online_without_a_key_is_refused_before_anything_runs():
    with pytest.raises(ConfigError, match="mode=online") as caught:
        Wandb(mode="online", **SETTINGS)
    assert "WANDB_API_KEY" in caught.value.remedy
    assert "mode=offline" in caught.value.remedy


CODE = f"""
from clbench.errors import ConfigError
from clbench.loggers.wandb import Wandb
try:
    Wandb(mode="online", **{SETTINGS!r})
except ConfigError as error:
    print("REFUSED", error.what)
"""


def test_online_without_a_key_is_refused_with_stdin_closed():
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert "REFUSED" in done.stdout, done.stderr


def test_online_without_a_key_does_not_ask_on_a_terminal():
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        stdin=child,
        stdout=child,
        stderr=child,
        close_fds=True,
        env=os.environ | {"TERM": "xterm", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    os.close(child)
    seen = b""
    try:
        while select.select([parent], [], [], 120)[0]:
            try:
                chunk = os.read(parent, 4096)
            except OSError:  # the terminal's other end is closed: the process is done
                break
            if not chunk:
                break
            seen += chunk
            assert b"choice" not in seen, "a prompt"
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    assert b"REFUSED" in seen


def test_names_are_one_visible_line(info, record, so_far, elsewhere, said):
    result = record.result
    result["columns"][0]["name"] = "task \x1b[2J\n0"
    loggers = Loggers([Wandb(mode="offline", **SETTINGS)], replace(info, label="er \x1b[2J\n" + "x" * 500), said.append)
    loggers.end(record)
    assert said == []
    run, _, history, _, _ = read_back(info.results_dir)
    assert run.display_name.startswith(r"er \x1b[2J\nxxx")
    assert len(run.display_name) <= 128
    assert r"accuracy/task \x1b[2J\n0" in history[0]
