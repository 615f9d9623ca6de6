"""clbench compared with Avalanche, end to end on the same stream: train on five tasks, evaluate all tasks after each.

    python benchmarks/vs_avalanche.py --repeats 5 --methods naive,er,ewc,agem,lwf
    python benchmarks/vs_avalanche.py --repeats 5 --methods naive,er,ewc,agem,lwf --setting task

`clbench_run.py` and `avalanche_loop.py` take turns on Split-Fashion-MNIST with the same model, optimiser, batch size
and class order; round r uses seed r on both sides. A run evaluates once more than Avalanche (the untrained model), which
counts. Prints Markdown: times, the work of both sides, A[j, j], and the mean accuracy at the end; exit status 1 if the two naive
runs do not learn the same.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

from common import Runs, compare_learned, data_root, median, ratios, script, spread, table, take_turns, words

from clbench.errors import DataError

OPTIONS: dict[str, tuple[list[str], dict[str, float]]] = {
    "naive": ([], {}),
    "er": (["method.buffer_size=200"], {"buffer": 200}),
    "ewc": (["method.fisher=empirical"], {}),
    "agem": (["method.buffer_size=200", "method.reference_batch=64"], {"buffer": 200, "reference": 64}),
    "lwf": (["method.strength=1.0", "method.temperature=2.0", "method.warmup=false"], {"strength": 1.0}),
}
"""For each method: clbench's overrides and the options of `avalanche_loop.py` that say the same."""
EWC_STRENGTH = {"class": 1.0, "task": 1000.0}
"""A head per task takes as much without diverging, and needs it to differ from naive; in the class setting Avalanche diverges."""

WORK = {
    "naive": ("one step per batch", "the same"),
    "er": (
        "200 samples in a reservoir; as many replayed per step as the batch has, from the second step of the first task on",
        "200 samples, equal shares of earlier tasks; as many replayed per step, from the second task on",
    ),
    "ewc": (
        "Fisher information of every sample of a task by its label, one penalty in all",
        "squared mean gradient of every batch of a task, one penalty for each earlier task; strength times the batch size",
    ),
    "agem": (
        "40 samples of each task; a reference gradient on 64 of all earlier tasks' samples per step",
        "40 samples of each task; 64 per step, in equal numbers from each earlier task",
    ),
    "lwf": ("earlier model asked at each step, temperature 2, strength 1, no warm-up", "the same"),
}
"""What clbench and Avalanche do; `tests/test_avalanche.py` has the relations exactly."""

PHASES: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "training": lambda run: run["train_s"],
    "evaluation": lambda run: run["eval_s"],
    "total": lambda run: run["train_s"] + run["eval_s"],
    "whole process": lambda run: run["process_s"],
}
"""What is compared, in seconds; the whole process adds imports, reading the data and (clbench) checkpoints."""


def final(run: Mapping[str, Any]) -> float:
    """Return the mean over tasks of the accuracy after the last one, in percent."""
    return statistics.mean(run["accuracy"][-1])


def apart(runs: Runs) -> str:
    """Return the difference of the two means of `final`, with its standard error over rounds."""
    ours, theirs = ([final(run) for run in runs[side]] for side in ("clbench", "Avalanche"))
    difference = statistics.mean(ours) - statistics.mean(theirs)
    if len(ours) < 2:
        return f"{difference:+.2f}"
    error = math.sqrt((statistics.variance(ours) + statistics.variance(theirs)) / len(ours))
    return f"{difference:+.2f} ± {error:.2f} (standard error)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with FashionMNIST/raw; default: the search path CLBENCH_DATA")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the table shows medians")
    parser.add_argument("--methods", type=words, default=["naive"], help=f"of {','.join(OPTIONS)}")
    parser.add_argument(
        "--setting",
        choices=("class", "task"),
        default="class",
        help="class: one head, at the end of which most methods know the last task only; task: a head per task",
    )
    parser.add_argument(
        "--data",
        choices=("files", "tensors"),
        default="files",
        help="what Avalanche reads: torchvision's data set with transforms, or normalised tensors",
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu leaves out waiting for a core: for a machine that others use",
    )
    args = parser.parse_args()
    if unknown := [method for method in args.methods if method not in OPTIONS]:
        parser.error(f"--methods: no {unknown[0]} here; there are {', '.join(OPTIONS)}")
    try:
        root = data_root(args.root)
    except DataError as error:
        parser.error(str(error))
    lines, accuracies, ends, equal = [], [], [], True
    setting = [] if args.setting == "class" else ["scenario.setting=task", "scenario.outputs=seen"]
    for method in args.methods:
        overrides, options = OPTIONS[method]
        if method == "ewc":
            strength = EWC_STRENGTH[args.setting]
            overrides, options = [*overrides, f"method.strength={strength}"], {"strength": strength}
        ours = script("clbench_run.py", args.clock, method=method, batch=args.batch)
        ours += [word for override in [*setting, *overrides] for word in ("--override", override)]
        options = {"root": root, "strategy": method, "batch": args.batch, "data": args.data, "setting": args.setting, **options}
        theirs = script("avalanche_loop.py", args.clock, **options)
        runs = take_turns({"clbench": ours, "Avalanche": theirs}, args.repeats, root)
        for phase, seconds in PHASES.items():
            lines.append(
                [
                    method,
                    phase,
                    *(f"{median(runs[side], seconds):.2f}" for side in ("clbench", "Avalanche")),
                    spread(ratios(runs, "Avalanche", "clbench", seconds)),
                ]
            )
        ends.append([method, *(spread([final(run) for run in runs[side]]) for side in ("clbench", "Avalanche")), apart(runs)])
        text, same = compare_learned(runs, ["clbench", "Avalanche"])
        accuracies.append(f"{method}:\n\n{text}")
        equal = equal and (same or method != "naive")  # others differ in detail: draws from memory, estimate of Fisher
    tables = [
        table(["method", "", "clbench s", "Avalanche s", "Avalanche / clbench"], lines),
        table(["method", "clbench", "Avalanche"], [[method, *WORK[method]] for method in args.methods]),
        table(["mean accuracy at the end, %", "clbench", "Avalanche", "difference of means"], ends),
    ]
    print("\n\n".join([*tables, *accuracies]))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
