"""Where commands start: signals are met before anything else is imported, which takes most of the first second."""

from __future__ import annotations

import importlib

from clbench.utils.interrupts import end_at_once


def clbench() -> None:
    """Start `clbench`."""
    _start("main")


def leaderboard() -> None:
    """Start `clbench-leaderboard`."""
    _start("leaderboard", trains=False)


def plot() -> None:
    """Start `clbench-plot`."""
    _start("plot", trains=False)


def reproduce() -> None:
    """Start `clbench-reproduce`."""
    _start("reproduce")


def tune() -> None:
    """Start `clbench-tune`."""
    _start("tune")


def _start(name: str, trains: bool = True) -> None:
    """Import the command's file in this folder, and call its `main`.

    Args:
        name: of the file.
        trains: whether the command trains runs.
    """
    end_at_once(trains)
    importlib.import_module(f"clbench.cli.{name}").main()
