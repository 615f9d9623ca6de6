"""clbench against Avalanche, end to end on the same stream: train on five tasks, evaluate all after each.

    python benchmarks/vs_avalanche.py --repeats 3 --methods naive,er,ewc

`clbench_trial.py` and `avalanche_loop.py` take turns on Split-Fashion-MNIST with the same model, optimiser, batch size
and class order; round r uses seed r on both sides. A trial evaluates once more than Avalanche (the untrained model), and
that is counted. Prints markdown; exit status 1 if the two naive runs do not learn the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

from common import compare_learned, data_root, median, ratios, script, spread, table, take_turns, words

from clbench.errors import DataError

OPTIONS: dict[str, tuple[list[str], dict[str, float]]] = {
    "naive": ([], {}),
    "er": (["method.buffer_size=200"], {"buffer": 200}),
    "ewc": (["method.strength=1.0"], {"strength": 1.0}),
}
"""For each method: clbench's overrides and the options of `avalanche_loop.py` that say the same."""

PHASES: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "training": lambda run: run["train_s"],
    "evaluation": lambda run: run["eval_s"],
    "total": lambda run: run["train_s"] + run["eval_s"],
    "whole process": lambda run: run["process_s"],
}
"""What is compared, in seconds; the whole process adds imports, reading the data and (clbench) checkpoints."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with FashionMNIST/raw; default: the search path CLBENCH_DATA")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the table shows medians")
    parser.add_argument("--methods", type=words, default=["naive"], help="of naive,er,ewc")
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
    lines, accuracies, equal = [], [], True
    for method in args.methods:
        overrides, options = OPTIONS[method]
        ours = script("clbench_trial.py", args.clock, method=method, batch=args.batch)
        ours += [word for override in overrides for word in ("--override", override)]
        theirs = script("avalanche_loop.py", args.clock, root=root, strategy=method, batch=args.batch, data=args.data, **options)
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
        text, same = compare_learned(runs, ["clbench", "Avalanche"])
        accuracies.append(f"{method}:\n\n{text}")
        equal = equal and (same or method != "naive")  # others differ in detail: draws from memory, estimate of Fisher
    print("\n\n".join([table(["method", "", "clbench s", "Avalanche s", "Avalanche / clbench"], lines), *accuracies]))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
