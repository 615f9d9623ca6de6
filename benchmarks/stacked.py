"""Stacked seeds: cost of N seeds that share every step, compared with one seed alone.

    python benchmarks/stacked.py                  # 16 seeds of the MLP on permuted MNIST, 8 of the reduced ResNet-18 on CIFAR-10
    python benchmarks/stacked.py --cases mlp --seeds 32
    python benchmarks/stacked.py --cases digits --device cpu --seeds 4     # any machine: embedded data; no gain on a CPU

Every measurement is a separate process with clbench's normal code (`runs.parallel_seeds.run_stacked`); both sides take turns.
Seconds are those of training and evaluation of all seeds together. Prints Markdown: the ratio, samples per second, the load of
the GPU (by `nvidia-smi`, if installed), and A[j, j] of the seed that both sides have. Exit status 1 if seeds were not stacked,
or if this seed does not learn the same as alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from typing import Any

from common import compare_learned, median, ratios, spread, table, take_turns, words

CASES: dict[str, tuple[list[str], int]] = {
    "mlp": (["scenario=permuted_mnist", "scenario.n_tasks=5", "model=mlp_256", "trainer.batch_size=64"], 16),
    "resnet": (["scenario=split_cifar10", "model=resnet18_reduced", "trainer.batch_size=32", "trainer.epochs=1"], 8),
    "digits": (["scenario=permuted_digits"], 4),
}
"""Overrides, and how many seeds."""
STRIDE = 1000
"""Between the first seeds of two rounds."""


class Watch(threading.Thread):
    """Measures the load of the GPU, twice a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[float] = []
        self._over = threading.Event()

    def run(self) -> None:
        """Measure until `stop` is called."""
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
        while shutil.which("nvidia-smi") and not self._over.wait(0.5):
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
            if said.isdigit():
                self.seen.append(float(said))

    def stop(self) -> float | None:
        """Stop, and return the mean in percent; None without a measurement."""
        self._over.set()
        return statistics.mean(self.seen) if self.seen else None


def measure(case: str, method: str, device: str, count: int, seed: int) -> dict[str, Any]:
    """Train `count` stacked seeds in this process, and return their cost.

    Raises:
        RuntimeError: a seed failed.
    """
    from clbench.config.hydra_compose import new_composer
    from clbench.config.job import make_job
    from clbench.records import Record
    from clbench.runs.parallel_seeds import run_stacked

    seeds = ",".join(str(seed * STRIDE + i) for i in range(count))
    with tempfile.TemporaryDirectory() as folder:
        composer = new_composer()
        given = [*CASES[case][0], f"method={method}", f"device={device}", f"seeds=[{seeds}]", f"results_dir={folder}"]
        specs = make_job(composer([*given, "logger=none"]), composer).specs()
        watch = Watch()
        watch.start()
        records = run_stacked(specs, lambda spec, message: None)
        busy = watch.stop()
    good = [record for record in records if isinstance(record, Record)]
    if len(good) < count:
        raise RuntimeError(str(next(record for record in records if not isinstance(record, Record))))
    accuracy = [[100 * hit / n for hit, n in row] for row in good[0].result["matrix"][1:]]  # row 0: untrained
    train = sum(record.cost["train_seconds"] for record in good)
    return {
        "train_s": train,
        "eval_s": sum(record.cost["eval_seconds"] for record in good),
        "samples_per_s": sum(record.cost["samples"] for record in good) / train,
        "stacked": good[0].provenance["stacked"],
        "busy": busy,
        "accuracy": accuracy,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=words, default=["mlp", "resnet"], help=f"of {', '.join(CASES)}")
    parser.add_argument("--methods", type=words, default=["naive", "ewc", "er"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seeds", type=int, help="seeds in the stack; default: 16 for mlp, 8 for resnet")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the table shows medians")
    parser.add_argument(
        "--measure", nargs=3, metavar=("CASE", "METHOD", "COUNT"), help="one measurement; the script starts these itself"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.measure:
        case, method, count = args.measure
        print(json.dumps(measure(case, method, args.device, int(count), args.seed)))
        return 0
    unknown = [case for case in args.cases if case not in CASES]
    if unknown:
        parser.error(f"--cases {unknown[0]}: it is one of {', '.join(CASES)}")
    lines, texts, fine = [], [], True
    for case in args.cases:
        count = args.seeds or CASES[case][1]
        for method in args.methods:
            command = [sys.executable, __file__, "--device", args.device, "--measure", case, method]
            sides = {"one seed": [*command, "1"], f"{count} seeds": [*command, str(count)]}
            runs = take_turns(sides, args.repeats)
            one, many = sides
            busy = [run["busy"] for run in runs[many] if run["busy"] is not None]
            lines.append(
                [
                    case,
                    method,
                    str(count),
                    *(f"{median(runs[side], lambda run: run['train_s'] + run['eval_s']):.2f}" for side in sides),
                    spread(ratios(runs, many, one, lambda run: run["train_s"] + run["eval_s"])),
                    *(f"{median(runs[side], lambda run: run['samples_per_s']):.0f}" for side in sides),
                    f"{statistics.mean(busy):.0f} %" if busy else "–",
                ]
            )
            text, same = compare_learned(runs, list(sides))
            texts.append(f"{case}, {method}:\n\n{text}")
            fine = fine and same and all(run["stacked"] == count for run in runs[many])
    header = ["case", "method", "seeds", "one: s", "all: s", "all / one", "one: samples/s", "all: samples/s", "GPU busy"]
    print("\n\n".join([table(header, lines), *texts]))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
