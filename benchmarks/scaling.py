"""Growth of training time, evaluation time and memory with the number of tasks: streams of 10, 50 and 200 tasks.

    python benchmarks/scaling.py --tasks 10,50,200 --methods naive,er,ewc_online,gpm,agem --repeats 3

Permuted digits (embedded, nothing to download), domain setting, MLP 64-100-100-10, batches of 32, one thread. Every run
uses clbench's normal code in a separate process; the runs take turns. Training per task: median of the last quarter of tasks
divided by that of the first quarter, without the very first task (warm-up, empty memories). Evaluation: seconds of one event
divided by the number of evaluation sets. Memory: growth of the process from the end of the first quarter to the end, next to
the bytes that the method declares in its record. Prints Markdown; exit status 1 if naive does not stay within 10 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import Runs, numbers, script, spread, table, take_turns, words

OPTIONS = {"ewc_online": ["method.decay=0.9", "method.strength=0.1"]}
"""Overrides of a method: at this rate, Fisher information added up over a hundred tasks makes the step diverge at strength 1."""
ALLOWED = 0.10
"""By how much the last tasks may differ from the first."""
GROWS = {
    "gpm": "a step is projected off bases that grow until a layer is full (declared)",
    "agem": "a reference gradient is taken on 128 samples, or on what is stored of earlier tasks while that is less",
}
"""Why a method's own work per task may change along the stream."""


def quarters(values: Sequence[float]) -> tuple[float, float]:
    """Return the medians of the first quarter of `values` (without the very first) and of the last, at least two values each."""
    size = max(2, len(values) // 4)
    return statistics.median(values[1 : 1 + size]), statistics.median(values[-size:])


def growth(run: Mapping[str, Any]) -> float:
    """Return the training seconds of a late task divided by those of an early one."""
    early, late = quarters(run["by_task"])
    return late / early


def rows(tasks: int, runs: Runs) -> list[list[str]]:
    """Return the table's rows for one length of the stream."""
    found = []
    for method, rounds in runs.items():
        early = [quarters(run["by_task"])[0] for run in rounds]
        sets = [1e3 * statistics.median(run["by_event"]) / tasks for run in rounds]
        found.append(
            [
                method,
                str(tasks),
                f"{1e3 * statistics.median(early):.1f}",
                spread([growth(run) for run in rounds]),
                f"{statistics.median(sets):.2f}",
                f"{statistics.median(run['grown_bytes'] for run in rounds) / 2**20:.1f}",
                f"{statistics.median(run['declared_bytes'] for run in rounds) / 2**20:.2f}",
                f"{statistics.mean(run['learned'] for run in rounds):.1f}",
            ]
        )
    return found


def measure(method: str, tasks: int, epochs: int, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Execute one run in this process; return seconds by task and by evaluation, bytes grown and declared, learning accuracy."""
    import torch

    from clbench.config.hydra_compose import new_composer
    from clbench.config.job import make_job
    from clbench.loggers.base import Loggers, RunInfo
    from clbench.metrics.matrix import summary
    from clbench.runs.run import Run, assemble, pick_device

    class Timed(Run):
        """A run that stores its cost by task; the record has only the sums."""

        def learned(self) -> None:
            super().learned()
            by_task.append(self.cost.train_seconds - sum(by_task))

        def _measure(self, kind: str, task: int, step: int | None) -> None:
            before = self.cost.eval_seconds
            super()._measure(kind, task, step)
            by_event.append(self.cost.eval_seconds - before)
            resident.append(resident_bytes())

    by_task: list[float] = []
    by_event: list[float] = []
    resident: list[int] = []
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        composer = new_composer()
        own = [f"method={method}", "scenario=permuted_digits", f"scenario.n_tasks={tasks}", f"trainer.epochs={epochs}"]
        job = make_job(composer([*own, f"seeds=[{seed}]", "device=cpu", f"results_dir={folder}", *overrides]), composer)
        (spec,) = job.specs()
        about = RunInfo.of(spec.identity, spec.id, spec.variant, spec.results_dir, 1, False)
        parts = assemble(spec, pick_device(spec.execution.device))
        record = Timed(spec, *parts, Loggers([], about, print), lambda event: None).run()
    learned = summary(record.result)["learning_accuracy"]
    assert learned is not None
    return {
        "train_s": record.cost["train_seconds"],
        "eval_s": record.cost["eval_seconds"],
        "by_task": by_task,
        "by_event": by_event,
        "grown_bytes": resident[-1] - resident[max(2, tasks // 4)],
        "declared_bytes": record.cost["method_state_bytes"],
        "learned": learned,
    }


def resident_bytes() -> int:
    """Return the resident bytes of this process (Linux only; 0 on other systems, where the column means nothing)."""
    import os

    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=numbers, default=[10, 50, 200], help="lengths of the stream")
    parser.add_argument("--methods", type=words, default=["naive", "er", "ewc_online", "gpm", "agem"])
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the table shows medians")
    parser.add_argument("--epochs", type=int, default=1, help="passes over each task")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu leaves out waiting for a core")
    parser.add_argument("--override", action="append", default=[], help="more, as on clbench's command line")
    parser.add_argument("--measure", help="run this method here and print a line of JSON; the script starts these itself")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.tasks[0], args.epochs, args.seed, args.override)))
        return 0
    lines: list[list[str]] = []
    flat = True
    for tasks in args.tasks:
        commands = {}
        for method in args.methods:
            more = [word for override in [*OPTIONS.get(method, []), *args.override] for word in ("--override", override)]
            commands[method] = [*script("scaling.py", args.clock, measure=method, tasks=tasks, epochs=args.epochs), *more]
        runs = take_turns(commands, args.repeats, "")
        lines += rows(tasks, runs)
        if "naive" in runs and tasks >= 50:  # a quarter of fewer tasks is no median
            flat = flat and abs(statistics.median(growth(run) for run in runs["naive"]) - 1) <= ALLOWED
    header = [
        "method",
        "tasks",
        "ms/task, first quarter",
        "last quarter over first",
        "ms/evaluation set",
        "MiB grown",
        "MiB declared",
        "mean A[j, j]",
    ]
    notes = [f"{method}: {GROWS[method]}." for method in args.methods if method in GROWS]
    verdict = f"naive {'is' if flat else 'is NOT'} flat within {ALLOWED:.0%}." if "naive" in args.methods else ""
    print("\n\n".join(part for part in [table(header, lines), *notes, verdict] if part))
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
