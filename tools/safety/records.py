"""Hostile files in a results folder: each costs one line, every good record is shown, and nothing waits or ends raw.

    python -m tools.safety.records          # the short form, about 20 seconds
    python -m tools.safety.records --long   # thousands of random changes, and every command

The good records are those of `results/` in this repository. Commands run in processes with a limit of time and of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from clbench.records import Record, read, record_path
from clbench.store.failures import Failure, failure_path, write_failure
from clbench.utils.safe_json import escaped
from tools.safety.hostile_files import FILES, write_failures, write_records
from tools.safety.record_mutations import accepted, draw, mutated, sealed, store, use
from tools.safety.report import Report

RESULTS = Path(__file__).resolve().parents[2] / "results"
GROUPS = ("quick", "unlearning", "federated", "projection", "biography", "language", "reproduction")
"""Folders of `RESULTS`."""
MEMORY = 6 * 2**30
"""Bytes of address space of a command; torch alone takes a third of that."""
SECONDS = 120.0
"""Time of a command."""
SWEEP = ("method=naive", "scenario=split_digits", "trainer.epochs=1", "runner.workers=0", "device=cpu")
CHANGES = {False: 200, True: 6000}
"""Random changes in the short and the long form."""
DRAWN = 40
"""Of so many accepted records, the pictures of one are drawn."""
LOAD = """
import sys, warnings, clbench
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = clbench.load(sys.argv[1])
for each in caught:
    print(str(each.message).encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
found.to_frame()
print(len(found))
sys.exit(bool(caught))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--long", action="store_true", help="thousands of random changes, and every command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--changes", type=int, help=argparse.SUPPRESS)  # in the process that does them
    given = parser.parse_args(arguments)
    if given.changes is not None:
        report = random_changes(given.changes, given.seed)
        print(json.dumps([report.counts, report.violations]))
        return 0
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        commands(Path(scratch), report, given.long)
        sweep(Path(scratch) / "sweep", report, given.long)
    words = ["-m", "tools.safety.records", f"--seed={given.seed}", f"--changes={CHANGES[given.long]}"]
    done = run(words, 30 * SECONDS)
    if done.returncode:
        report.violations.append(f"random changes ended with status {done.returncode}: {done.stderr[-300:]}")
    else:
        counts, violations = json.loads(done.stdout)
        report.counts.update(counts)
        report.violations += violations
    print(report.text())
    return report.status


def run(words: Sequence[str | Path], seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    """Run Python with these words within limits of memory and time; status 124 after the time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    command = [sys.executable, *map(str, words)]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="backslashreplace", timeout=seconds, preexec_fn=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"not finished after {seconds:.0f} s")


def good_files() -> list[Path]:
    """Return good records of several kinds."""
    return [path for group in GROUPS for path in sorted((RESULTS / group).glob("*.json"))[:2]]


def commands(scratch: Path, report: Report, long: bool) -> None:
    """Show, load and draw a folder with good and with hostile files, and compare with the folder of the good ones."""
    clean, hostile = scratch / "clean", scratch / "hostile"
    for folder in (clean, hostile):
        folder.mkdir()
        for path in good_files():
            shutil.copy(path, folder)
    body = json.loads(good_files()[0].read_text())
    kinds = write_records(hostile, body)
    record = read(good_files()[0])
    about = {"kind": "error", "reason": "x", "remedy": "", "task": 0, "step": 1, "events": 1}
    lost = write_failure(Failure({**record.identity, "seed": 999}, about, record.provenance), scratch / "lost")
    (hostile / "failed").mkdir()
    kinds |= write_failures(hostile / "failed", json.loads(lost.read_text()))
    report.counts.update(
        f"hostile {kind.partition(':')[0] if kind.startswith('failure') else 'record'}" for kind in kinds.values()
    )

    board = ("-m", "clbench.cli.leaderboard")
    expected = run([*board, f"results_dir={clean}", "format=json"]).stdout
    for format in ("json", "markdown", "csv", "latex") if long else ("json",):
        done = run([*board, f"results_dir={hostile}", f"format={format}"])
        checked(f"clbench-leaderboard format={format}", done, kinds, report)
        if format == "json" and done.stdout != expected:
            report.violations.append("clbench-leaderboard shows other rows than without hostile files")
    done = run(["-c", LOAD, hostile])
    checked("clbench.load", done, kinds, report)
    if done.stdout.strip() != str(len(good_files())):
        report.violations.append(f"clbench.load returned {done.stdout.strip() or 'no'} records, expected {len(good_files())}")
    for kind in ("matrix", "subspaces", "drift", "clients") if long else ("drift",):
        words = ["-m", "clbench.cli.plot", f"kind={kind}", f"out={scratch / 'plots'}"]
        before = run([*words, f"results_dir={clean}"])
        done = run([*words, f"results_dir={hostile}"])
        checked(f"clbench-plot kind={kind}", done, kinds, report)
        if done.stdout != before.stdout:
            report.violations.append(f"clbench-plot kind={kind} draws other rows than without hostile files")


def checked(name: str, done: subprocess.CompletedProcess[str], kinds: dict[str, str], report: Report) -> None:
    """Add what is wrong with the end of a command: its status, a traceback, or a file without exactly one line."""
    report.counts["command"] += 1
    lines = [line for line in done.stderr.splitlines() if "left out: " in line]
    if done.returncode != 1:
        report.violations.append(f"{name} ended with status {done.returncode}, expected 1: {done.stderr[-300:]}")
        return
    if "Traceback" in done.stderr:
        report.violations.append(f"{name} printed a traceback: {done.stderr[-300:]}")
    for file, kind in kinds.items():
        count = sum(escaped(file.removesuffix(".json")) in line for line in lines)
        if count != 1:
            report.violations.append(f"{name}: {count} lines about {escaped(file)} ({kind})")
    if len(lines) != len(kinds):
        report.violations.append(f"{name}: {len(lines)} lines about {len(kinds)} files")


def sweep(folder: Path, report: Report, long: bool) -> None:
    """Run a sweep whose own records are hostile except one: that one is trained, the others stay and are named."""
    from clbench.config.hydra_compose import new_composer
    from clbench.config.job import make_job
    from clbench.config.quoting import quoted

    kinds = list(FILES) if long else ["pipe", "link to an endless device", "link to nothing", "deep lists", "infinity as 1e999"]
    kinds.remove("copy of another record") if long else None
    overrides = [*SWEEP, f"seeds={1 + len(kinds)}", f"results_dir={quoted(str(folder))}"]
    composer = new_composer()
    specs = make_job(composer(overrides), composer).specs()
    folder.mkdir()
    for spec, kind in zip(specs[1:], kinds, strict=True):
        body = sealed({"format": 1, **vars(Record(spec.identity))})
        FILES[kind](record_path(folder, spec.id), body)
        report.counts["hostile record of a sweep"] += 1
    done = run(["-m", "clbench.cli.main", *overrides], 3 * SECONDS)
    report.counts["command"] += 1
    if done.returncode != 1 or "Traceback" in done.stderr + done.stdout:
        report.violations.append(f"the sweep ended with status {done.returncode}: {done.stderr[-500:]}")
    if not record_path(folder, specs[0].id).exists():
        report.violations.append("the sweep did not store its good run")
    for spec, kind in zip(specs[1:], kinds, strict=True):
        if not os.path.lexists(record_path(folder, spec.id)):
            report.violations.append(f"the sweep removed a hostile record ({kind})")
        if failure_path(folder, spec.id).exists():
            report.violations.append(f"the sweep trained a run whose record is hostile ({kind})")
        if sum(spec.id in line and "failed" in line and " -> " in line for line in done.stderr.splitlines()) != 1:
            report.violations.append(f"the sweep has no line with a remedy about a hostile record ({kind}, {spec.id})")


def random_changes(count: int, seed: int) -> Report:
    """Change good records at random; each is refused in one line, or every table and picture takes it."""
    rng, report = random.Random(seed), Report(Counter())
    files = [path for group in GROUPS for path in rng.sample(sorted((RESULTS / group).glob("*.json")), 4)]
    bodies, records = [json.loads(path.read_text()) for path in files], [read(path) for path in files]
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(count):
            which = rng.randrange(len(files))
            body = mutated(bodies[which], rng)
            path = store(sealed(body) if rng.random() < 0.85 else body, Path(scratch))
            try:
                record = accepted(path)
                report.counts["random change, refused" if record is None else "random change, accepted"] += 1
                if record is not None:
                    use(record, [records[which]])
                    if number % DRAWN == 0:
                        report.counts["picture"] += draw(record)
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(place.filename).name}:{place.lineno}"
                report.violations.append(
                    f"change {number} of seed {seed}: {type(error).__name__} in {where}: {escaped(error)[:200]}"
                )
            path.unlink()
    return report


if __name__ == "__main__":
    sys.exit(main())
