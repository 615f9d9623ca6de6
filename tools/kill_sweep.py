"""Kill a sweep at random moments, start it again until it is through, and compare with a sweep that was left in peace.

    python tools/kill_sweep.py --kills 100
    python tools/kill_sweep.py --kills 20 --at-once 2 method=naive,er scenario=split_digits seeds=3

A kill is a SIGKILL to the command and its workers, to the command alone, or to one worker; at a random time (while it starts,
composes, trains), when a checkpoint is being written, or when a record is. A sweep that gets through is followed by a new one
in a new folder until all kills are spent.
Checked after every kill: records that were there are the same files with the same content. At the end: every record is there
with the undisturbed sweep's `result` and number of samples, nothing is left of what was in progress, and the log of a logger
that watches over every training shows none of a run that was stored, none of a task behind a checkpoint, and no two
processes at one run. Prints what was done; status 1 if anything was violated. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clbench.loggers.base import Logger, TrialInfo
from clbench.records import load_all, record_files, record_path

ROOT = Path(__file__).resolve().parent.parent
SWEEP = ("method=naive,er,ewc,gpm", "scenario=split_digits,permuted_digits", "seeds=2", "trainer.epochs=3")
FIXED = ("device=cpu", "logger=none", "+logger.witness._target_=tools.kill_sweep.Witness")
TARGETS = ("all", "command", "worker")
MOMENTS = ("time", "checkpoint", "record")
POLL = 0.0005
LIMIT = 600.0
"""Seconds after which a command that does not end is a violation."""


class Witness(Logger):
    """Notes every measurement of every run, with what was stored of the run at that time.

    Args:
        log: file that all processes append to.
    """

    def __init__(self, log: str) -> None:
        self.log = log

    def begin(self, trial: TrialInfo) -> None:
        """Know which run it is."""
        self.id, self.folder = trial.id, Path(trial.results_dir)

    def event(self, result: dict[str, Any]) -> None:
        """Note a measurement; that of a task follows its training, and comes before its checkpoint."""
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
class Report:
    """What was done and found.

    Args:
        kills: by target and moment.
        sweeps: that got through, however often they were killed.
        resumed: records of runs that went on from a checkpoint.
        repeated: trainings of a task that were lost to a kill before their checkpoint, and done again.
        violations: in words; none is what this is about.
    """

    kills: Counter[str] = field(default_factory=Counter)
    sweeps: int = 0
    resumed: int = 0
    repeated: int = 0
    violations: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return it for people."""
        lines = [f"{sum(self.kills.values())} kills over {self.sweeps} sweeps, {self.resumed} records from resumed runs"]
        lines += [f"  {number:4d}  {name}" for name, number in sorted(self.kills.items())]
        lines.append(f"tasks trained again because a kill came before their checkpoint: {self.repeated}")
        lines += [f"VIOLATION: {text}" for text in self.violations] or ["nothing lost, nothing trained twice, results identical"]
        return "\n".join(lines)


@dataclass
class Sweep:
    """One sweep in one folder: started, killed, started again.

    Args:
        words: overrides.
        folder: where it stores; its log is `folder.log`.
        expected: of the undisturbed sweep, id -> (result, samples).
    """

    words: Sequence[str]
    folder: Path
    expected: dict[str, tuple[Any, int]] = field(default_factory=dict)
    known: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """Return where the witness writes."""
        return self.folder.with_suffix(".log")

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command."""
        given = (f"results_dir={self.folder}", f"+logger.witness.log={self.log}")
        path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
        with open(self.folder.with_suffix(".said"), "ab") as said:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "clbench.app", "--multirun", *self.words, *FIXED, *given],
                stdout=said,
                stderr=said,
                cwd=self.folder.parent,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )

    def complete(self) -> bool:
        """Return whether every record is there."""
        return all(record_path(self.folder, name).exists() for name in self.expected)

    def changed(self) -> list[str]:
        """Return what happened to records that were seen before, and see the new ones."""
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
        """Return what is wrong with the finished sweep."""
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
        """Return the witness's notes, in the order in which they were made."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def _fingerprint(path: Path) -> tuple[int, int, bytes]:
    state = path.stat()
    return state.st_ino, state.st_mtime_ns, path.read_bytes()


def contradictions(notes: Sequence[dict[str, Any]], stacked: bool = False) -> list[str]:
    """Return what the notes show that must not be: training of what was finished, or by two processes at once.

    Args:
        notes: in the order in which they were made.
        stacked: whether seeds go side by side: those whose checkpoint of a round was written when another's was not
            learn that task again with it.
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


def kill_sweeps(
    folder: Path,
    kills: int,
    words: Sequence[str] = SWEEP,
    at_once: int = 1,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> Report:
    """Spend `kills` on sweeps in `folder`.

    Args:
        folder: is made; holds a folder of records per sweep.
        kills: how many.
        words: overrides of the sweep.
        at_once: commands that share the folder of records.
        seed: of the random choices.
        tell: is told how it goes.
    """
    report, rng = Report(), random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    quiet = Sweep(words, folder / "undisturbed")
    begun = time.monotonic()
    if quiet.start().wait() != 0:
        raise RuntimeError(f"the undisturbed sweep failed; see {quiet.folder.with_suffix('.said')}")
    span = time.monotonic() - begun
    expected = {record.id: (record.result, record.cost["samples"]) for record in load_all(quiet.folder)[0]}
    tell(f"undisturbed: {len(expected)} runs in {span:.0f} s")
    while sum(report.kills.values()) < kills and not report.violations:
        sweep = Sweep(words, folder / f"killed-{report.sweeps}", expected)
        _see_through(sweep, kills - sum(report.kills.values()), at_once, span, rng, report)
        notes = sweep.notes()
        wrong = contradictions(notes, any(word.startswith("runner.stack=") for word in words))
        report.violations += [*sweep.verify(), *(f"{sweep.folder.name}: {text}" for text in wrong)]
        trained = Counter((note["run"], note["task"]) for note in notes if note["task"] >= 0)
        report.repeated += sum(number - 1 for number in trained.values())
        report.resumed += sum(record.provenance["resumed"] > 0 for record in load_all(sweep.folder)[0])
        report.sweeps += 1
        tell(f"sweep {report.sweeps}: {sum(report.kills.values())} kills, {len(report.violations)} violations")
    return report


def _see_through(sweep: Sweep, kills: int, at_once: int, span: float, rng: random.Random, report: Report) -> None:
    """Start the sweep, kill it, start it again, until it is through; the last time it is left in peace."""
    running = {number: sweep.start() for number in range(at_once)}
    wounded: set[int] = set()
    try:
        while running:
            slot = rng.choice(sorted(running))
            process, struck = running[slot], False
            if kills > 0:
                target, moment = rng.choice(TARGETS), rng.choice(MOMENTS)
                if _wait_for(moment, process, sweep, span, rng):
                    struck = _strike(target, process, rng)
                if struck:
                    kills -= 1
                    report.kills[f"{target}, at {moment}"] += 1
                    if target == "worker":
                        wounded.add(process.pid)
                    else:
                        process.wait()
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LIMIT)
                if process.poll() is None:
                    report.violations.append(f"{sweep.folder.name}: the command did not end in {LIMIT:.0f} s")
                    return
            report.violations += sweep.changed()
            if process.poll() is not None:
                if process.returncode not in ({0, 1, -9} if process.pid in wounded else {0, -9}):
                    report.violations.append(f"{sweep.folder.name}: the command ended with status {process.returncode}")
                    return
                if process.returncode == 0 and not sweep.complete():
                    report.violations.append(f"{sweep.folder.name}: the command ended with status 0, and runs are missing")
                    return
                if process.returncode == 0:
                    del running[slot]
                else:
                    running[slot] = sweep.start()
    finally:
        for process in running.values():
            _strike("all", process, rng)
            process.wait()


def _wait_for(moment: str, process: subprocess.Popen[bytes], sweep: Sweep, span: float, rng: random.Random) -> bool:
    """Wait for a moment to strike; return False if the command ends before, or the moment does not come."""
    begun, chances = time.monotonic(), rng.randrange(4)
    limit = rng.uniform(0, span if rng.random() < 0.5 else span / 3) if moment == "time" else 2 * span
    stored = _count(sweep.folder, ".json")
    while process.poll() is None:
        if time.monotonic() - begun > limit:
            return moment == "time"
        if moment == "checkpoint" and any(_halves(sweep.folder)):
            if chances == 0:
                return True
            chances -= 1
            time.sleep(rng.uniform(0, 0.1))
        if moment == "record" and (_count(sweep.folder, ".tmp") or _count(sweep.folder, ".json") > stored):
            return True
        time.sleep(POLL)
    return False


def _count(folder: Path, ending: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return sum(name.endswith(ending) for name in os.listdir(folder))
    return 0


def _halves(folder: Path) -> Iterator[str]:
    """Yield checkpoints that are just being written."""
    with contextlib.suppress(FileNotFoundError):
        for run in os.listdir(folder / ".checkpoints"):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                yield from (name for name in os.listdir(folder / ".checkpoints" / run) if name.endswith(".tmp"))


def _strike(target: str, process: subprocess.Popen[bytes], rng: random.Random) -> bool:
    """Kill; return False if there was nothing to kill."""
    workers = _children(process.pid)
    if target == "worker" and not workers:
        return False
    victims = [rng.choice(workers)] if target == "worker" else [process.pid, *(workers if target == "all" else ())]
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    return True


def _children(process: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{process}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{process}/task/{task}/children").read_text().split())
    return found


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=1, help="commands that share the results folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", help="folder for the records of all sweeps (default: a temporary one)")
    parser.add_argument("words", nargs="*", help=f"overrides of the sweep (default: {' '.join(SWEEP)})")
    args = parser.parse_args()
    folder = Path(args.keep or tempfile.mkdtemp(prefix="kill-sweep-")).absolute()
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    report = kill_sweeps(folder, args.kills, args.words or SWEEP, args.at_once, args.seed, say)
    print(report.text())
    if report.violations:
        print(f"kept: {folder}")
    elif not args.keep:
        shutil.rmtree(folder)
    sys.exit(bool(report.violations))


if __name__ == "__main__":
    main()
