"""Commands and signals: from the first import to the last line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from clbench.cli import start
from tests.command_line import command

ROOT = Path(__file__).parents[2]
NAMES = ("clbench", "leaderboard", "plot", "reproduce", "tune")
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

IMPORTING = """
import importlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from clbench.cli import start

def slow(name):
    print(name, flush=True)
    time.sleep(600)

importlib.import_module = slow
getattr(start, sys.argv[1])()
"""
LEAVING = """
import importlib, signal, sys, threading, time, types
signal.signal(signal.SIGINT, signal.default_int_handler)
from clbench.cli import start

def main():
    print("over", flush=True)
    sys.exit(0)

importlib.import_module = lambda name: types.SimpleNamespace(main=main)
threading.Thread(target=time.sleep, args=(600,)).start()
start.clbench()
"""


def ended(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Send a signal, and return exit status and errors."""
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def python(code: str, *words: str) -> subprocess.Popen[str]:
    """Start that code, and wait for its first line."""
    process = subprocess.Popen([sys.executable, "-c", code, *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("name", NAMES)
def test_a_signal_during_the_imports(name: str, number: int) -> None:
    status, err = ended(python(IMPORTING, name), number)
    assert status == STATUS[number]
    assert "Stopped" in err
    assert ("Finished runs are stored" in err) is (name in ("clbench", "reproduce", "tune"))
    assert "Traceback" not in err


def test_a_signal_while_the_interpreter_waits_for_a_thread_that_hangs() -> None:
    status, err = ended(python(LEAVING), signal.SIGINT)
    assert status == 130
    assert "Traceback" not in err


def test_all_commands_start_there() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts.values()) == {f"clbench.cli.start:{name}" for name in NAMES}
    assert all(hasattr(start, name) for name in NAMES)


@pytest.mark.parametrize("module", ["main", "leaderboard", "plot", "reproduce"])
def test_modules_start_there_as_well(module: str) -> None:
    """`python -m` executes the module under another name; its imports must come after the handlers."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-P", "-X", "importtime", "-m", f"clbench.cli.{module}", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    imported = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    heavy = [imported.index(name) for name in ("hydra", "pydantic", "rich", "clbench.errors") if name in imported]
    assert imported.index("clbench.utils.interrupts") < min(heavy)


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (signal.SIGTERM, ("runner.workers=1",)),
        (signal.SIGTERM, ("runner.workers=1", "runner.stack=2")),
        (signal.SIGHUP, ("runner.workers=0",)),
    ],
)
def test_a_signal_while_runs_are_trained(number: int, options: tuple[str, ...]) -> None:
    running = command("seeds=2", "trainer.epochs=100000", "device=cpu", *options)
    assert running.stdout is not None
    assert "2 runs to train" in running.stdout.readline()
    status, err = ended(running, number)  # the output ends when no worker is left
    assert status == STATUS[number]
    assert f"Stopped by {signal.Signals(number).name}. Finished runs are stored" in err
    assert "Traceback" not in err
