"""A sweep with a logger in every run, and checks of its log: no record changes, and no task is trained twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clbench.loggers.base import Logger, RunInfo
from clbench.records import load_all, record_files, record_path
from tools import cut_file

ROOT = Path(__file__).resolve().parent.parent
FIXED = ("device=cpu", "logger=none", "+logger.witness._target_=tools.watched_sweep.Witness")


class Witness(Logger):
    """Logs every measurement of every run, with the files that the run had stored at that time.

    Args:
        log: file to which all processes append.
    """

    def __init__(self, log: str) -> None:
        self.log = log
        cut_file.install()

    def begin(self, run: RunInfo) -> None:
        """Store the identity of the run."""
        self.id, self.folder = run.id, Path(run.results_dir)

    def event(self, result: dict[str, Any]) -> None:
        """Log a measurement. That of a task comes after its training and before its checkpoint."""
        task = result["events"][-1]["task"]
        done = [int(path.stem.split("-")[1]) for path in self.folder.glob(f".checkpoints/{self.id}/task-*.pt")]
        note = {
            "run": self.id,
            "process": os.getpid(),
            "task": task,
            "stored": record_path(self.folder, self.id).exists(),
            "checkpoint": max(done, default=-1),
        }
        with open(self.log, "a", encoding="utf-8") as file:  # one short line in one write: appended whole
            file.write(json.dumps(note) + "\n")


@dataclass
class Sweep:
    """One sweep in one folder, which can be started many times.

    Args:
        words: overrides.
        folder: results folder; the log is `folder.log`.
        expected: records of the undisturbed sweep, id -> (result, samples).
    """

    words: Sequence[str]
    folder: Path
    expected: dict[str, tuple[Any, int]] = field(default_factory=dict)
    known: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """The file of the log."""
        return self.folder.with_suffix(".log")

    def start(self, cut: str = "") -> subprocess.Popen[bytes]:
        """Start the command.

        Args:
            cut: value of `tools.cut_file.VARIABLE`; empty: no file is cut.
        """
        given = (f"results_dir={self.folder}", f"+logger.witness.log={self.log}")
        path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
        with open(self.folder.with_suffix(".said"), "ab") as said:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "tools.cut_file", "--multirun", *self.words, *FIXED, *given],
                stdout=said,
                stderr=said,
                cwd=self.folder.parent,
                env={**os.environ, "PYTHONPATH": path, cut_file.VARIABLE: cut},
                start_new_session=True,
            )

    def read(self, command: str) -> subprocess.Popen[bytes]:
        """Start a command that reads the records: `leaderboard` or `plot`."""
        path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
        words = [sys.executable, "-P", "-m", f"clbench.cli.{command}", f"results_dir={self.folder}"]
        env = {**os.environ, "PYTHONPATH": path}
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder.parent, env=env)

    def complete(self) -> bool:
        """Return whether every record exists."""
        return all(record_path(self.folder, name).exists() for name in self.expected)

    def changed(self) -> list[str]:
        """Return the changes to records that were known before, and remember the new ones."""
        wrong = []
        now = {path.name: _fingerprint(path) for path in record_files(self.folder)} if self.folder.is_dir() else {}
        for name, known in self.known.items():
            if name not in now:
                wrong.append(f"{self.folder.name}/{name}: a finished record is gone")
            elif now[name] != known:
                wrong.append(f"{self.folder.name}/{name}: a finished record was written again")
        self.known = {**self.known, **now}
        return wrong

    def verify(self) -> list[str]:
        """Return the errors in the finished sweep."""
        records, errors = load_all(self.folder)
        found = {record.id: (record.result, record.cost["samples"]) for record in records}
        wrong = [str(error) for error in errors]
        wrong += [f"{name}: not there" for name in self.expected.keys() - found.keys()]
        wrong += [f"{name}: not asked for" for name in found.keys() - self.expected.keys()]
        for name in found.keys() & self.expected.keys():
            if found[name][0] != self.expected[name][0]:
                wrong.append(f"{name}: its result differs from the undisturbed sweep's")
            if found[name][1] != self.expected[name][1]:
                wrong.append(f"{name}: {found[name][1]} samples, undisturbed {self.expected[name][1]}")
        left = [*self.folder.glob(".*.tmp"), *(self.folder / ".checkpoints").glob("*")]
        wrong += [f"left behind: {path.relative_to(self.folder)}" for path in left]
        return [f"{self.folder.name}: {text}" for text in wrong]

    def notes(self) -> list[dict[str, Any]]:
        """Return the entries of the log, in order of time."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def _fingerprint(path: Path) -> tuple[int, int, bytes]:
    state = path.stat()
    return state.st_ino, state.st_mtime_ns, path.read_bytes()


def contradictions(notes: Sequence[dict[str, Any]], stacked: bool = False) -> list[str]:
    """Return the rules that the log violates: training of a finished run or task, or two processes in one run.

    Args:
        notes: entries of the log, in order of time.
        stacked: whether seeds train in one stack. A seed may then train a task again, although it has a checkpoint of this task,
            because another seed of the stack has none.
    """
    wrong, at, gone = [], dict[str, int](), set[tuple[str, int]]()
    for note in notes:
        run, process = note["run"], note["process"]
        if note["stored"]:
            wrong.append(f"{run}: task {note['task']} was trained although the run was stored")
        if note["task"] >= 0 and note["checkpoint"] >= note["task"] + stacked:
            wrong.append(f"{run}: task {note['task']} was trained although there was a checkpoint of task {note['checkpoint']}")
        if at.get(run, process) != process:
            gone.add((run, at[run]))
        if (run, process) in gone:
            wrong.append(f"{run}: two processes were at it")
        at[run] = process
    return wrong
