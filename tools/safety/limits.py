"""Let runs hang in many ways, and send signals to commands at random times: everything must end in time, and nothing be lost.

    python -m tools.safety.limits               # the short form: a few ways to hang, a few signals
    python -m tools.safety.limits --long        # all ways, places and numbers of workers, and 200 signals

Hanging: seed 1 of `tools.safety.hanging_method` never ends. Its run must fail with the kind `time_limit` within
`runner.time_limit` and some seconds; the other seeds must have records.
Signals: Ctrl-C, SIGTERM or SIGHUP reaches a command at a random time after its handlers are set. The command must end with the
status of shells and a message, and without a traceback. Records must stay as they are.
After every command no process of it may be left. Exit status 1 if a rule was violated. Linux only.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from clbench.records import load_all, record_files
from clbench.runner.worker_process import GRACE
from clbench.store.failures import load_failures
from clbench.utils.interrupts import PATIENCE
from tools.safety.hanging_method import PLACES, WAYS
from tools.safety.report import Report

ROOT = Path(__file__).resolve().parent.parent.parent
MARK = "CLBENCH_LIMITS_CASE"
"""Environment variable by which the processes of a command are recognised."""
LIMIT = 5
"""`runner.time_limit` in seconds. A good run takes a fraction of a second."""
START = 90.0
"""Seconds for start, imports and good runs on a slow machine; a command that hangs takes for ever."""
SHORT = ("native", "swallow", "loader", "stopped")
BY_DEATH = {"closed": "killed", "orphan": "killed"}
"""Ways in which the process itself ends, with the kind of the failure."""
TRAINING = ("method=naive,er", "scenario=split_digits", "seeds=3", "trainer.epochs=1", "device=cpu")
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@dataclass
class Case:
    """A command in progress.

    Args:
        folder: working folder.
        module: of `clbench.cli`.
        words: arguments.
    """

    folder: Path
    module: str
    words: Sequence[str]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), MARK: self.mark, "OMP_NUM_THREADS": "1"}
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"clbench.cli.{self.module}", *self.words],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def name(self) -> str:
        """Return module and arguments."""
        return " ".join([self.module, *self.words])

    def end(self, seconds: float) -> tuple[int | None, str]:
        """Return the exit status and all output; None: the command had to be killed after `seconds`."""
        try:
            out, err = self.process.communicate(timeout=seconds)
            return self.process.returncode, out + err
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            return None, out + err

    def left(self) -> list[str]:
        """Return the command lines of the processes that the command has left, and kill these."""
        deadline = time.monotonic() + GRACE
        while (found := marked(self.mark)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in found:
            os.kill(process, signal.SIGKILL)
        return [f"process {process}" for process in found]

    def ready(self) -> bool:
        """Wait until the command meets SIGTERM by itself; return False if it has ended before."""
        bit = 1 << (signal.SIGTERM - 1)
        while self.process.poll() is None:
            try:
                lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            except OSError:
                return False
            if any(line.startswith("SigCgt:") and int(line.split()[1], 16) & bit for line in lines):
                return True
            time.sleep(0.001)
        return False


def marked(mark: str) -> list[int]:
    """Return the ids of living processes whose environment holds `mark`."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            alive = "\nState:\tZ" not in (place / "status").read_text()
            if alive and f"{MARK}={mark}".encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return found


def plugin(folder: Path) -> str:
    """Write the configuration of the hanging methods, and return the flag that names its folder."""
    methods = folder / "plugin" / "method"
    methods.mkdir(parents=True)
    (methods / "hanging.yaml").write_text("_target_: tools.safety.hanging_method.Hanging\nversion: 1\nway: sleep\nplace: task\n")
    (methods / "apart.yaml").write_text("_target_: tools.safety.hanging_method.Apart\nversion: 1\nway: sleep\nplace: task\n")
    (methods / "stuck.yaml").write_text("_target_: tools.safety.hanging_import.Stuck\nversion: 1\n")
    return f"--config-dir={folder / 'plugin'}"


def hang(
    report: Report, folder: Path, ways: Sequence[str], places: Sequence[str], *options: str, method: str = "hanging"
) -> None:
    """Run a sweep in which seed 1 of every way and place hangs, and check it."""
    (folder / "runs").mkdir(parents=True)
    number = len(ways) * len(places)
    fixed = ("seeds=3", "trainer.epochs=1", "scenario=split_digits", "device=cpu", f"runner.time_limit={LIMIT}", "logger=none")
    chosen = () if method == "stuck" else (f"method.way={','.join(ways)}", f"method.place={','.join(places)}")
    case = Case(folder, "main", ("-m", plugin(folder), f"method={method}", *chosen, *fixed, *options))
    status, said = case.end(START + number * (3 if method == "stuck" or "runner.stack=3" in options else 1) * (LIMIT + GRACE + 2))
    wrong = check(case, status, said, (1,))
    records, unreadable = load_all(folder / "runs")
    failures, damaged = load_failures(folder / "runs")
    wrong += [f"cannot be read: {error}" for error in (*unreadable, *damaged)]
    together = method == "hanging" and "runner.stack=3" in options  # a stack has one limit for all of its seeds
    good = 0 if method == "stuck" or together else 2 * number
    if "runner.workers=0" in options:  # the command may have to end
        good = min(good, len(records))
    if len(records) != good:
        wrong.append(f"{len(records)} records instead of {good}")
    expected = 3 if method == "stuck" else 3 * number if together else number
    if len(failures) != expected:
        wrong.append(f"{len(failures)} failures instead of {expected}")
    for failure in failures:
        way = failure.identity["method"].get("way", "import")
        if failure.kind != BY_DEATH.get(way, "time_limit"):
            wrong.append(f"{way}: the failure's kind is {failure.kind} ({failure.reason})")
    report.counts[f"hanging {' '.join(options) or 'runs'}"] += expected
    report.violations += [f"{', '.join(ways)}: {line}" for line in wrong]


def check(case: Case, status: int | None, said: str, allowed: Sequence[int]) -> list[str]:
    """Return what every command must not do, and did."""
    wrong = []
    if status is None:
        wrong.append("did not end in time")
    elif status not in allowed:
        wrong.append(f"exit status {status} instead of {' or '.join(map(str, allowed))}: {said[-300:]}")
    if "Traceback" in said:
        wrong.append(f"a traceback: {said[said.index('Traceback') :][-300:]}")
    wrong += [f"{line} is left" for line in case.left()]
    return wrong


def commands(long: bool) -> list[tuple[str, tuple[str, ...]]]:
    """Return the commands that get signals."""
    sweeps = [("main", ("-m", *TRAINING, *more)) for more in ((), ("runner.workers=0",), ("runner.stack=3", "runner.workers=1"))]
    others: list[tuple[str, tuple[str, ...]]] = [("leaderboard", ()), ("main", ("--cfg", "job")), ("main", ("--help",))]
    if long:
        others += [("plot", ()), ("reproduce", ("train=false", "experiments=mammoth/s_mnist_*")), ("main", (*TRAINING[1:],))]
    return [*sweeps, *others]


def signals(report: Report, folder: Path, count: int, long: bool, draw: random.Random) -> None:
    """Send a signal to each of `count` commands, and check each; then complete the sweep."""
    (folder / "runs").mkdir(parents=True)
    known: dict[str, bytes] = {}
    longest = 0.0
    for _ in range(count):
        module, words = draw.choice(commands(long))
        number = draw.choice(list(STATUS))
        case = Case(folder, module, words)
        case.ready()
        time.sleep(draw.choice((0.0, draw.uniform(0, 1), draw.uniform(0, 6))))
        sent = time.monotonic()
        case.process.send_signal(number)
        if draw.random() < 0.2:  # as `timeout` does: to the process, and to its group
            case.process.send_signal(number)
        status, said = case.end(PATIENCE + 10)
        longest = max(longest, time.monotonic() - sent)
        ended = (0, 1) if module in ("leaderboard", "plot") else (0,)  # 1: there are no records yet
        # in the last moments of its interpreter the command dies by the signal: shells give that the same status
        wrong = check(case, status, said, (*ended, STATUS[number], -number))
        if status == STATUS[number] and "Stopped" not in said:
            wrong.append(f"no message: {said[-200:]}")
        now = {path.name: path.read_bytes() for path in record_files(folder / "runs")}
        wrong += [f"the record {name} was lost or changed" for name, content in known.items() if now.get(name) != content]
        known = now
        report.counts[f"{number.name} to {'a sweep' if '-m' in words else 'another command'}"] += 1
        report.violations += [f"{number.name} to {case.name()}: {line}" for line in wrong]
    case = Case(folder, "main", ("-m", *TRAINING))
    wrong = check(case, *case.end(START), (0,))
    if len(record_files(folder / "runs")) != 6:
        wrong.append("the sweep was not completed")
    report.violations += [f"after the signals: {line}" for line in wrong]
    print(f"longest time from a signal to the end of its command: {longest:.1f} s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="all cases, some minutes")
    parser.add_argument("--signals", type=int, default=200, help="number of signals of the long form (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the random times (default 0)")
    given = parser.parse_args(arguments)
    report, draw = Report(), random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="clbench-limits-") as made, ThreadPoolExecutor(1) as threads:
        folder = Path(made)
        if given.long:
            hang(report, folder / "all", list(WAYS), ["task"], "runner.workers=4")
            hang(report, folder / "places", ["sleep", "native"], PLACES, "runner.workers=4")
            hang(report, folder / "together", SHORT[:2], ["task"], "runner.workers=2", "runner.stack=3")
            hang(report, folder / "apart", SHORT, ["task"], "runner.workers=1", "runner.stack=3", method="apart")
            hang(report, folder / "import", [], ["import"], "runner.workers=3", method="stuck")
            for way in ("sleep", "swallow", "native"):
                hang(report, folder / f"here-{way}", [way], ["task"], "runner.workers=0")
            signals(report, folder / "signals", given.signals, True, draw)
        else:
            beside = threads.submit(hang, report, folder / "some", SHORT, ["task"], "runner.workers=4")
            signals(report, folder / "signals", 6, False, draw)
            beside.result()
    print(report.text())
    return report.status


if __name__ == "__main__":
    sys.exit(main())
