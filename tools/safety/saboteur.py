"""A logger that runs a shell command after a task: the disk changes at the same moment of every run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from clbench.loggers.base import Logger


class Saboteur(Logger):
    """Runs a command once, after a task and before its checkpoint.

    Args:
        command: for the shell.
        task: number of the task; -1: before the first.
        done: file that says that the command was run; it is made by the first run that comes to the task.
        words: text to print at every measurement; empty: none.
    """

    def __init__(self, command: str = "", task: int = 0, done: str = "", words: str = "") -> None:
        self.command, self.task, self.done, self.words = command, task, done, words

    def event(self, result: dict[str, Any]) -> None:
        """Run the command, if it is time."""
        if self.words:
            print(self.words)
        if self.command and result["events"][-1]["task"] == self.task and not Path(self.done).exists():
            Path(self.done).touch()
            subprocess.run(self.command, shell=True, check=False)
