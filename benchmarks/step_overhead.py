"""What clbench's training step costs over the shortest honest PyTorch loop, and each method over naive fine-tuning.

    python benchmarks/step_overhead.py --batches 10,64,256 --repeats 7 --methods naive,er,ewc,gpm

`plain_loop.py` and `clbench_trial.py` (one per method) take turns on the same data, model, optimiser and batch size;
round r uses seed r on both sides. Prints markdown; exit status 1 if naive does not learn what the plain loop learns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from common import Runs, compare_learned, data_root, median, numbers, ratios, script, spread, table, take_turns, words

from clbench.errors import DataError

PLAIN = "plain loop"


def step_us(run: Mapping[str, Any]) -> float:
    """Return microseconds of training per step."""
    return float(run["us_per_step"])


def evaluation_s(run: Mapping[str, Any]) -> float:
    """Return seconds for one evaluation of all test sets (the plain loop has five of them, a trial six)."""
    return float(run["eval_s"]) / float(run.get("evaluations", len(run["accuracy"])))


def rows(runs: Runs, batch: int, methods: list[str]) -> list[list[str]]:
    """Return the table's rows for one batch size."""
    found = [
        [str(batch), PLAIN, f"{median(runs[PLAIN], step_us):.0f}", "1", "", f"{1e3 * median(runs[PLAIN], evaluation_s):.0f}", "1"]
    ]
    for method in methods:
        over_naive = spread(ratios(runs, method, "naive", step_us)) if method != "naive" and "naive" in methods else ""
        found.append(
            [
                str(batch),
                method,
                f"{median(runs[method], step_us):.0f}",
                spread(ratios(runs, method, PLAIN, step_us)),
                over_naive,
                f"{1e3 * median(runs[method], evaluation_s):.0f}",
                spread(ratios(runs, method, PLAIN, evaluation_s)),
            ]
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with FashionMNIST/raw; default: the search path CLBENCH_DATA")
    parser.add_argument("--batches", type=numbers, default=[10, 64], help="batch sizes, for example 10,64,256")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the table shows medians")
    parser.add_argument("--methods", type=words, default=["naive"], help="clbench's methods, for example naive,er,ewc,gpm")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu leaves out waiting for a core: for a machine that others use",
    )
    args = parser.parse_args()
    try:
        root = data_root(args.root)
    except DataError as error:
        parser.error(str(error))
    lines, accuracies, equal = [], [], True
    for batch in args.batches:
        contenders = {PLAIN: script("plain_loop.py", args.clock, root=root, batch=batch)}
        contenders |= {method: script("clbench_trial.py", args.clock, method=method, batch=batch) for method in args.methods}
        runs = take_turns(contenders, args.repeats, root)
        lines += rows(runs, batch, args.methods)
        if "naive" in args.methods:
            text, same = compare_learned(runs, [PLAIN, "naive"])
            accuracies.append(f"Batch {batch}:\n\n{text}")
            equal = equal and same
    header = ["batch", "", "us/step", "over plain loop", "over naive", "ms/evaluation", "over plain loop"]
    print("\n\n".join([table(header, lines), *accuracies]))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
