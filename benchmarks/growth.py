"""Time and memory of commands on folders that have grown: 20,000 records, and a sweep of 2,000 finished runs.

    python benchmarks/growth.py --records 20000 --runs 2000

Records are copies of tracked ones with other learning rates and seeds; nothing is trained. `clbench-leaderboard`, and
`clbench.load` with a data frame, run on the records without an index, then with the index that the first call has left. Both ways
give the same table, which is checked. The sweep of finished runs has five seeds a configuration, then one. Each line gives the
processor seconds and the peak memory of a process of its own, and the ratio to the first line of its group. Exit status 1 if an
index changes a table.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import os
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path
from time import sleep

from common import table

from clbench.records import Record, read, write
from clbench.store import index

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("naive", "joint", "ewc", "si", "mas", "lwf", "er", "agem", "der", "gpm")
LOAD = "import clbench, sys; print(clbench.load(sys.argv[1]).to_frame().to_csv())"
FINISHED = """
import sys
from pathlib import Path
from clbench.cli import main
from clbench.records import Record, read, write
from clbench.runner import sweep
base = read(Path(sys.argv[1]))
def finished(specs, *_, **__):
    for spec in specs:
        write(Record(spec.identity, base.result, base.cost, {**base.provenance, "variant": spec.variant}), Path(spec.results_dir))
    return []
sweep.run_specs = finished
sys.argv[:2] = ["clbench"]
main.main()
"""
"""Stores records for all runs of a sweep without training."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=2_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        lines, same = records(Path(name, "records"), args.records)
        lines += finished(Path(name), args.runs)
    print(table(("command", "processor s", "ratio", "peak MB"), lines))
    sys.exit(not same)


def records(folder: Path, number: int) -> tuple[list[tuple[str, ...]], bool]:
    """Measure the readers of a folder of records."""
    grow(folder, number)
    sleep(index.SETTLED / 1e9 + 1)  # the index keeps no file that has just changed
    commands = {
        "clbench-leaderboard": [sys.executable, "-m", "clbench.cli.leaderboard", f"results_dir={folder}", "format=csv"],
        "clbench.load(...).to_frame()": [sys.executable, "-c", LOAD, str(folder)],
    }
    lines: list[tuple[str, ...]] = []
    said = set()
    for name, command in commands.items():
        (folder / index.NAME).unlink(missing_ok=True)
        first = None
        for state in ("no index", "index"):
            seconds, peak, output = measured(command)
            first = first or seconds
            said.add((name, hashlib.sha256(output).hexdigest()))
            lines.append((f"{name}, {number:,} records, {state}", f"{seconds:.2f}", f"{seconds / first:.2f}", f"{peak:.0f}"))
    return lines, len(said) == len(commands)


def finished(folder: Path, number: int) -> list[tuple[str, ...]]:
    """Measure a sweep whose runs all have records."""
    lines = []
    example = next((ROOT / "results" / "quick").glob("*.json"))
    for seeds in (5, 1):
        rates = ",".join(f"{0.0001 * (step + 1):.4f}" for step in range(number // (seeds * len(METHODS))))
        words = ["-m", f"method={','.join(METHODS)}", f"optimizer.lr={rates}", f"seeds={seeds}", "device=cpu"]
        words.append(f"results_dir={folder / f'seeds{seeds}'}")
        subprocess.run([sys.executable, "-c", FINISHED, str(example), *words], check=True, capture_output=True, cwd=ROOT)
        sleep(index.SETTLED / 1e9 + 1)
        command = [sys.executable, "-m", "clbench.cli.main", *words]
        measured(command)
        seconds, peak, output = measured(command)
        if b"Nothing to train" not in output:
            raise RuntimeError(output.decode()[-500:])
        name = f"clbench, {number:,} finished runs, {seeds} seeds a configuration"
        lines.append((name, f"{seconds:.2f}", "", f"{peak:.0f}"))
    return lines


def grow(folder: Path, number: int) -> None:
    """Make a folder of `number` records, five seeds a configuration."""
    folder.mkdir()
    examples = [read(path) for path in sorted((ROOT / "results" / "quick").glob("*.json"))]
    for step, example in enumerate(islice(cycle(examples), -(-number // 5))):
        rate = 0.001 + 1e-6 * step
        for seed in range(5):
            identity = copy.deepcopy(example.identity) | {"seed": seed}
            identity["optimizer"]["lr"] = rate
            provenance = {**example.provenance, "variant": f"lr={rate:g}"}
            write(Record(identity, example.result, example.cost, provenance), folder)


def measured(command: list[str]) -> tuple[float, float, bytes]:
    """Return (processor seconds, peak memory in MB, output) of a command."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]} ended with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output


if __name__ == "__main__":
    main()
