"""Several seeds on all cores: a sweep through clbench's runner, compared with parallel plain loops.

    python benchmarks/seeds.py --seeds 6 --workers 2 --repeats 5

clbench: one command, `clbench ... seeds=6 runner.workers=2`, from start to leaderboard: imports, two workers, checkpoints,
records. Plain: as many parallel lanes as workers. A lane is one process that runs the unchanged `plain_loop.py` for its share
of the seeds, one after the other; like a worker, it imports torch once. Both sides train and evaluate Split-Fashion-MNIST with
the same model and batches, and take turns.

Throughput is runs per second. By the clocks of the runs: number of lanes divided by the mean seconds of a run for
training and evaluation. By wall time: number of runs divided by the seconds from start to exit. Ratios: clbench's throughput
divided by that of the plain lanes (1: equal). Prints Markdown; exit status 1 if the two do not learn the same.

Seeds that share every step, on a GPU: `stacked.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import compare_learned, data_root, spread, table

from clbench.errors import DataError

Side = dict[str, Any]
"""One round of one side: `runs` as `common.Runs` has them, and `wall_s`."""


def environment(root: str) -> dict[str, str]:
    """Return the environment of either side: one thread per process, data from `root`."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **threads, "CLBENCH_DATA": root}


def sweep(args: argparse.Namespace, root: str, seeds: list[int]) -> Side:
    """Run clbench once over all seeds; the runs are its records.

    Raises:
        RuntimeError: the command fails; the message holds its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-c", "import sys; from clbench.cli.main import main; sys.exit(main())"),
            *("method=naive", "scenario=split_fashion_mnist", "scenario.setting=class", "scenario.outputs=all"),
            *("model=mlp_256", "optimizer=sgd", f"optimizer.lr={args.lr}", f"trainer.epochs={args.epochs}"),
            *(f"trainer.batch_size={args.batch}", f"seeds=[{','.join(map(str, seeds))}]", f"runner.workers={args.workers}"),
            *("device=cpu", f"results_dir={folder}", *args.override),
        ]
        start = time.perf_counter()
        done = subprocess.run(command, env=environment(root), capture_output=True, text=True)
        wall = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"clbench failed:\n{done.stdout}\n{done.stderr}")
        records = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    runs = [
        {
            "train_s": record["cost"]["train_seconds"],
            "eval_s": record["cost"]["eval_seconds"],
            "accuracy": [[100 * hit / n for hit, n in row] for row in record["result"]["matrix"][1:]],  # row 0: untrained
        }
        for record in sorted(records, key=lambda record: record["identity"]["seed"])
    ]
    return {"runs": runs, "wall_s": wall}


def lanes(args: argparse.Namespace, root: str, seeds: list[int]) -> Side:
    """Run plain loops, `args.workers` at a time.

    Raises:
        RuntimeError: a lane fails; the message holds its output.
    """
    options = [word for key in ("lr", "epochs", "batch") for word in (f"--{key}", str(getattr(args, key)))]
    start = time.perf_counter()
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "--root", root, *options, "--lane", ",".join(map(str, seeds[lane :: args.workers]))],
            env=environment(root),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for lane in range(min(args.workers, len(seeds)))
    ]
    said = [process.communicate() for process in started]
    wall = time.perf_counter() - start
    for process, (_, errors) in zip(started, said, strict=True):
        if process.returncode:
            raise RuntimeError(f"a plain loop failed:\n{errors}")
    return {"runs": [json.loads(line) for output, _ in said for line in output.splitlines()], "wall_s": wall}


def lane(args: argparse.Namespace, root: str) -> None:
    """Run the plain loop in this process for some seeds, and print its output."""
    path = str(Path(__file__).with_name("plain_loop.py"))
    for seed in args.lane.split(","):
        sys.argv = [path, "--root", root, "--seed", seed]
        sys.argv += [word for key in ("lr", "epochs", "batch") for word in (f"--{key}", str(getattr(args, key)))]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            runpy.run_path(path, run_name="__main__")
        print(said.getvalue().strip(), flush=True)


def throughputs(side: Side, workers: int) -> dict[str, float]:
    """Return runs per second: by the clocks of the runs (training and evaluation), and by wall time."""
    spent = [run["train_s"] + run["eval_s"] for run in side["runs"]]
    training = [run["train_s"] for run in side["runs"]]
    return {
        "training, by the runs' clocks": workers / statistics.mean(training),
        "training and evaluation, by the runs' clocks": workers / statistics.mean(spent),
        "start to exit, by wall time": len(spent) / side["wall_s"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with FashionMNIST/raw; default: the search path CLBENCH_DATA")
    parser.add_argument("--seeds", type=int, default=6, help="how many")
    parser.add_argument("--workers", type=int, default=2, help="processes side by side; not more than there are cores")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the table shows medians")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3, help="more make imports weigh less in the wall time")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--override", action="append", default=[], help="more, as on clbench's command line")
    parser.add_argument("--lane", help="run the plain loop here for these seeds (what the script starts itself)")
    args = parser.parse_args()
    try:
        root = data_root(args.root)
    except DataError as error:
        parser.error(str(error))
    if args.lane:
        lane(args, root)
        return 0
    seeds = list(range(args.seeds))
    found: dict[str, list[dict[str, float]]] = {"clbench": [], "plain loops": []}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in found}
    for number in range(args.repeats):
        for name, run in (("plain loops", lanes), ("clbench", sweep)):
            side = run(args, root, seeds)
            found[name].append(throughputs(side, min(args.workers, args.seeds)))
            runs[name] += side["runs"]
            print(f"round {number + 1}/{args.repeats} {name}: {side['wall_s']:.1f} s from start to exit", file=sys.stderr)
    lines = []
    for key in found["clbench"][0]:
        ours, theirs = ([one[key] for one in found[name]] for name in ("clbench", "plain loops"))
        over = [a / b for a, b in zip(ours, theirs, strict=True)]
        lines.append([key, f"{statistics.median(ours):.3f}", f"{statistics.median(theirs):.3f}", spread(over)])
    header = [f"{args.seeds} seeds, {args.workers} at a time", "clbench runs/s", "plain loops runs/s", "clbench over plain"]
    text, same = compare_learned(runs, list(runs))
    print(f"{table(header, lines)}\n\n{text}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
