"""The command `clbench`, for tests: in this process, or as one of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from clbench.cli import main

QUICK = ("trainer.epochs=1", "runner.workers=0", "device=cpu")
"""Overrides of a run of seconds, in this process."""


def clbench(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command in this process and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["clbench", *words])
    try:
        main.main()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


def command(*words: str, **environment: str) -> subprocess.Popen[str]:
    """Start the command as a process of its own, which Ctrl-C reaches even where what started the tests ignores it."""
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from clbench.cli.main import main; main()"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-c", start, *words],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )
