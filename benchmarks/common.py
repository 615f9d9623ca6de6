"""Common parts of the benchmarks: data folders, runs that take turns, medians, tables."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clbench.data.integrity import search_path
from clbench.errors import DataError

Runs = dict[str, list[dict[str, Any]]]
"""For each contender, by name: the output of its process in each round, and `process_s`, the seconds from start to exit."""


def data_root(root: str | None) -> str:
    """Return the first folder of the search path (`root`, else CLBENCH_DATA) that holds FashionMNIST/raw.

    Raises:
        DataError: no folder holds it.
    """
    folders = search_path(root)
    for folder in folders:
        if (folder / "FashionMNIST" / "raw").is_dir():
            return str(folder.resolve())
    searched = ", ".join(map(str, folders)) or "nothing"
    raise DataError(f"no FashionMNIST/raw in {searched}", "give --root FOLDER, or set CLBENCH_DATA")


def script(name: str, clock: str, **options: Any) -> list[str]:
    """Return the command that runs `name` of this folder by the `wall` or `cpu` clock, `options` as `--key value`."""
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    files = [name] if clock == "wall" else ["on_cpu_clock.py", name]
    return [sys.executable, *(str(Path(__file__).with_name(file)) for file in files), *words]


def take_turns(contenders: Mapping[str, list[str]], rounds: int, root: str | None = None) -> Runs:
    """Run the commands one after the other, A B C A B C ..., each in a separate process with one thread.

    The load of the machine changes from minute to minute, but is similar within a round. So compare ratios within a round, not
    seconds. Round r runs with `--seed r`.

    Raises:
        RuntimeError: a run fails; the message holds its output.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, **({} if root is None else {"CLBENCH_DATA": root})}
    runs: Runs = {name: [] for name in contenders}
    for seed in range(rounds):
        for name, command in contenders.items():
            start = time.perf_counter()
            done = subprocess.run([*command, "--seed", str(seed)], env=environment, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{name} failed:\n{done.stderr}")
            found = json.loads(done.stdout.splitlines()[-1])
            runs[name].append({**found, "process_s": time.perf_counter() - start})
            print(
                f"round {seed + 1}/{rounds} {name}: {found['train_s']:.2f} s training, {found['eval_s']:.2f} s evaluation",
                file=sys.stderr,
            )
    return runs


def timed(command: list[str], folder: str | Path | None = None, **variables: str) -> tuple[float, str]:
    """Return (seconds from start to exit, output) of a command.

    Args:
        command: its words.
        folder: working folder; None: the current one.
        variables: environment variables, in addition to those of this process.

    Raises:
        RuntimeError: the command fails; the message holds its output.
    """
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr}")
    return seconds, done.stdout


def median(runs: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float]) -> float:
    """Return the median of `value` over rounds."""
    return statistics.median(value(run) for run in runs)


def ratios(runs: Runs, above: str, below: str, value: Callable[[Mapping[str, Any]], float]) -> list[float]:
    """Return `value` of `above` over that of `below`, round by round."""
    return [value(a) / value(b) for a, b in zip(runs[above], runs[below], strict=True)]


def spread(values: Sequence[float]) -> str:
    """Return the text `median (lowest-highest)`."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def learned(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return A[j, j], the accuracy on each task right after it was learned, in percent, mean over rounds."""
    diagonals = [[row[task] for task, row in enumerate(run["accuracy"])] for run in runs]
    return [statistics.mean(values) for values in zip(*diagonals, strict=True)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def compare_learned(runs: Runs, names: Sequence[str], allowed: float = 1.0) -> tuple[str, bool]:
    """Return a table of A[j, j] with the largest difference below it, and whether that is at most `allowed` points."""
    found = {name: learned(runs[name]) for name in names}
    rows = [[name, *(f"{value:.2f}" for value in values)] for name, values in found.items()]
    gap = max(max(values) - min(values) for values in zip(*found.values(), strict=True))
    verdict = f"within {allowed:g} point" if gap <= allowed else f"NOT within {allowed:g} point"
    header = ["A[j, j] in %", *(f"task {j}" for j in range(len(rows[0]) - 1))]
    return f"{table(header, rows)}\n\nLargest difference: {gap:.2f} points, {verdict}.", gap <= allowed


def numbers(text: str) -> list[int]:
    """Return `10,64` as integers, for argparse."""
    return [int(word) for word in text.split(",")]


def words(text: str) -> list[str]:
    """Return `naive,er` as words, for argparse."""
    return text.split(",")
