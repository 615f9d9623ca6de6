"""Cost of clbench's training step relative to the shortest honest PyTorch loop, and of each method relative to naive.

    python benchmarks/step_overhead.py --batches 10,64,256 --repeats 7 --methods naive,er,ewc,gpm
    python benchmarks/step_overhead.py --batches 64 --repeats 5 --methods all

`plain_loop.py`, `floor.py` (the step by hand, and its matrix products alone) and `clbench_run.py` (one per method) take
turns on the same data, model, optimiser and batch size; round r uses seed r for all. Prints Markdown; exit status 1 if naive
or the step by hand does not learn the same as the plain loop.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from common import Runs, compare_learned, data_root, median, numbers, ratios, script, spread, table, take_turns, words

from clbench.errors import DataError

PLAIN, HAND, PRODUCTS = "plain loop", "by hand", "products alone"

WHY = {
    "naive": "",
    "er": "trains on twice the samples: as many replayed as new",
    "er_ace": "as er, with two losses",
    "der": "twice the samples: replayed ones are held to stored logits",
    "derpp": "three times the samples: a second draw is held to its labels",
    "agem": "a second gradient, on 128 stored samples; two inner products over all weights",
    "gem": "a gradient for each earlier task, and a quadratic programme on the host",
    "icarl": "learns the task beside its exemplars, held to the earlier model's outputs; chooses exemplars after it",
    "ewc": "four passes over all weights; after a task Fisher information of all its samples, one backward pass per class",
    "ewc_online": "as ewc",
    "mas": "the penalty's passes over all weights; after a task one backward pass over all its samples",
    "si": "path integral and penalty: some ten passes over all weights",
    "lwf": "a second forward pass, through the earlier model",
    "ogd": "steps are projected off stored gradients, each as long as all weights; after a task 200 more are made orthogonal",
    "owm": "every layer's step is multiplied by a square matrix; it is updated by what entered, after the task",
    "adam_nscl": "every layer's step is projected; after a task one forward pass over its samples",
    "gpm": "every layer's step is projected (small batches: its inputs); after a task a decomposition of 300 samples",
    "sgp": "as gpm, with importance",
}
"""What a method does beside the step of naive; without those whose steps are no steps on the task's own samples."""


def step_us(run: Mapping[str, Any]) -> float:
    """Return microseconds of training per step."""
    return float(run["us_per_step"])


def evaluation_s(run: Mapping[str, Any]) -> float:
    """Return seconds for one evaluation of all test sets (the plain loop has five of them, a run six)."""
    return float(run["eval_s"]) / float(run.get("evaluations", len(run["accuracy"])))


def rows(runs: Runs, batch: int, methods: list[str]) -> list[list[str]]:
    """Return the table's rows for one batch size."""
    found = []
    for name, value in ((PLAIN, step_us), (HAND, step_us), (PRODUCTS, lambda run: run["products_us"])):
        source = {PRODUCTS: HAND}.get(name, name)
        over = [value(a) / step_us(b) for a, b in zip(runs[source], runs[PLAIN], strict=True)]
        evaluation = [f"{1e3 * median(runs[PLAIN], evaluation_s):.0f}", "1"] if name == PLAIN else ["", ""]
        step = f"{median(runs[source], value):.0f}"
        found.append([str(batch), name, step, "1" if name == PLAIN else spread(over), "", *evaluation, ""])
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
                WHY.get(method, ""),
            ]
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with FashionMNIST/raw; default: the search path CLBENCH_DATA")
    parser.add_argument("--batches", type=numbers, default=[10, 64], help="batch sizes, for example 10,64,256")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the table shows medians")
    parser.add_argument("--methods", type=words, default=["naive"], help="clbench's, for example naive,er,ewc,gpm; or all")
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
    if args.methods == ["all"]:
        args.methods = list(WHY)
    lines, accuracies, equal = [], [], True
    for batch in args.batches:
        contenders = {PLAIN: script("plain_loop.py", args.clock, root=root, batch=batch)}
        contenders[HAND] = script("floor.py", args.clock, root=root, batch=batch)
        contenders |= {method: script("clbench_run.py", args.clock, method=method, batch=batch) for method in args.methods}
        runs = take_turns(contenders, args.repeats, root)
        lines += rows(runs, batch, args.methods)
        text, same = compare_learned(runs, [PLAIN, HAND, *(method for method in args.methods if method == "naive")])
        accuracies.append(f"Batch {batch}:\n\n{text}")
        equal = equal and same
    header = ["batch", "", "us/step", "over plain loop", "over naive", "ms/evaluation", "over plain loop", "what it does more"]
    print("\n\n".join([table(header, lines), *accuracies]))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
