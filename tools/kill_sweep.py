"""Kill a sweep at random moments, restart it until it is complete, and compare it with an undisturbed sweep.

    python -m tools.kill_sweep                  # 12 kills: the short form
    python -m tools.kill_sweep --long           # 1,000 kills
    python -m tools.kill_sweep --kills 20 --at-once 2 method=naive,er scenario=split_digits seeds=3

A kill is a SIGKILL to the command and its workers, to the command alone, or to one worker; or a SIGTERM to the command. It comes
at a random time (during start, composition or training), while a checkpoint is written, while a record is written, or in the
middle of a file: a logger kills its own process after a random number of bytes of a checkpoint, a record, the table, or the
record of a failure. In between, the commands `clbench-leaderboard` and `clbench-plot` are killed on the same folder. After a
complete sweep a new one starts in a new folder, until all kills are done.
After every kill, existing records must be the same files with the same content. At the end every record must exist, with the
undisturbed sweep's `result` and number of samples, and no temporary file or checkpoint may be left. A logger notes every
training. Its log must show no training of a stored run, no training of a task that has a checkpoint, and no two processes in
one run. Prints a report; exit status 1 if a rule was violated. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
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

from clbench.records import load_all
from tools import cut_file
from tools.watched_sweep import Sweep, contradictions

SMALL = ("method=naive,er", "scenario=split_digits", "seeds=2", "trainer.epochs=2")
"""Sweep of the short form."""
SWEEP = ("method=naive,er,ewc,gpm", "scenario=split_digits,permuted_digits", "seeds=2", "trainer.epochs=3")
TARGETS = ("all", "command", "worker", "terminated command")
STOPPED = {-9, -15, 143}
"""Statuses of a killed command."""
CUT = 0.3
"""Share of the starts that end in the middle of a file."""
READ = 0.15
"""Share of the kills after which a command that reads the records is killed, too."""
SHORT, LONG = 12, 1000
"""Kills of the two forms."""
MOMENTS = ("time", "checkpoint", "record")
POLL = 0.0005
LIMIT = 600.0
"""Seconds. A command that takes longer is a violation."""


@dataclass
class Report:
    """The report of all sweeps.

    Args:
        kills: number of kills by target and moment.
        sweeps: number of complete sweeps.
        resumed: number of records of runs that resumed from a checkpoint.
        repeated: number of trainings of a task that were repeated because a kill came before their checkpoint.
        readers: number of killed commands that read the records.
        violations: one sentence each; there should be none.
    """

    kills: Counter[str] = field(default_factory=Counter)
    sweeps: int = 0
    resumed: int = 0
    repeated: int = 0
    readers: int = 0
    violations: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the report as text."""
        lines = [f"{sum(self.kills.values())} kills over {self.sweeps} sweeps, {self.resumed} records from resumed runs"]
        lines += [f"  {number:4d}  {name}" for name, number in sorted(self.kills.items())]
        lines.append(f"  {self.readers:4d}  leaderboard or plot, besides")
        lines.append(f"tasks trained again because a kill came before their checkpoint: {self.repeated}")
        lines += [f"VIOLATION: {text}" for text in self.violations] or ["nothing lost, nothing trained twice, results identical"]
        return "\n".join(lines)


def kill_sweeps(
    folder: Path,
    kills: int,
    words: Sequence[str] = SWEEP,
    at_once: int = 1,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> Report:
    """Run sweeps in `folder` and kill them `kills` times in all.

    Args:
        folder: created if needed; holds one folder of records per sweep.
        kills: number of kills.
        words: overrides of the sweep.
        at_once: number of commands that share the folder of records.
        seed: seed of the random choices.
        tell: called with messages on the progress.
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
    """Start the sweep, kill it and restart it, until it is complete. The last start runs undisturbed."""
    wounded: set[int] = set()
    cuts: dict[int, tuple[str, Path]] = {}

    def start(slot: int) -> subprocess.Popen[bytes]:
        """Start the command; some starts end in the middle of a file."""
        if kills <= 0 or rng.random() > CUT:
            return sweep.start()
        kind, flag = rng.choice(list(cut_file.KINDS)), sweep.folder.with_suffix(f".cut-{rng.getrandbits(64):x}")
        process = sweep.start(f"{kind}|{rng.random()}|{flag}")
        cuts[slot] = (kind, flag)
        wounded.add(process.pid)
        return process

    running = {number: start(number) for number in range(at_once)}
    try:
        while running:
            slot = rng.choice(sorted(running))
            process, struck = running[slot], False
            if slot in cuts:
                _wait_for_cut(cuts[slot][1], process, span)
            elif kills > 0:
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
                    if rng.random() < READ:
                        _kill_reader(sweep, rng)
                        report.readers += 1
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LIMIT)
                if process.poll() is None:
                    report.violations.append(f"{sweep.folder.name}: the command did not end in {LIMIT:.0f} s")
                    return
            kind, flag = cuts.pop(slot, ("", None))
            if flag is not None and flag.exists():
                kills -= 1
                report.kills[f"itself, in a {kind}"] += 1
            report.violations += sweep.changed()
            if process.poll() is not None:
                if process.returncode not in {0, *STOPPED, *([1] if process.pid in wounded else [])}:
                    report.violations.append(f"{sweep.folder.name}: the command ended with status {process.returncode}")
                    return
                if process.returncode == 0 and not sweep.complete():
                    report.violations.append(f"{sweep.folder.name}: the command ended with status 0, but runs are missing")
                    return
                if process.returncode == 0:
                    del running[slot]
                else:
                    running[slot] = start(slot)
    finally:
        for process in running.values():
            _strike("all", process, rng)
            process.wait()


def _wait_for(moment: str, process: subprocess.Popen[bytes], sweep: Sweep, span: float, rng: random.Random) -> bool:
    """Wait for the moment of a kill. Return False if the command ends first, or if the moment does not come."""
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


def _wait_for_cut(flag: Path, process: subprocess.Popen[bytes], span: float) -> None:
    """Wait until a process has killed itself in the middle of a file, or the command has ended without that."""
    begun = time.monotonic()
    while process.poll() is None and not flag.exists() and time.monotonic() - begun < 2 * span:
        time.sleep(POLL)
    time.sleep(0.1)  # a killed command ends within moments


def _count(folder: Path, ending: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return sum(name.endswith(ending) for name in os.listdir(folder))
    return 0


def _halves(folder: Path) -> Iterator[str]:
    """Yield checkpoints that are being written."""
    with contextlib.suppress(FileNotFoundError):
        for run in os.listdir(folder / ".checkpoints"):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                yield from (name for name in os.listdir(folder / ".checkpoints" / run) if name.endswith(".tmp"))


def _strike(target: str, process: subprocess.Popen[bytes], rng: random.Random) -> bool:
    """Kill the target. Return False if there was no process to kill."""
    workers = _children(process.pid)
    if target == "worker" and not workers:
        return False
    victims = [rng.choice(workers)] if target == "worker" else [process.pid, *(workers if target == "all" else ())]
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGTERM if target == "terminated command" else signal.SIGKILL)
    return True


def _kill_reader(sweep: Sweep, rng: random.Random) -> None:
    """Start a command that reads the records, and kill it before its end."""
    process = sweep.read(rng.choice(("leaderboard", "plot")))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(0, 2))
    process.kill()
    process.wait()


def _children(process: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{process}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{process}/task/{task}/children").read_text().split())
    return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, help=f"default: {SHORT}")
    parser.add_argument("--long", action="store_true", help=f"{LONG} kills of a larger sweep")
    parser.add_argument("--at-once", type=int, default=1, help="commands that share the results folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", help="folder for the records of all sweeps (default: a temporary one)")
    parser.add_argument("words", nargs="*", help=f"overrides of the sweep (default: {' '.join(SMALL)}; another with --long)")
    args = parser.parse_args()
    folder = Path(args.keep or tempfile.mkdtemp(prefix="kill-sweep-")).absolute()
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    kills, words = args.kills or (LONG if args.long else SHORT), args.words or (SWEEP if args.long else SMALL)
    report = kill_sweeps(folder, kills, words, args.at_once, args.seed, say)
    print(report.text())
    if report.violations:
        print(f"kept: {folder}")
    elif not args.keep:
        shutil.rmtree(folder)
    sys.exit(bool(report.violations))


if __name__ == "__main__":
    main()
