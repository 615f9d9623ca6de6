"""One run of clbench on Split-Fashion-MNIST, in this process and by the code of any run. Prints its cost as one JSON line.

    python clbench_run.py --method naive --batch 64 --seed 0

Class-incremental, all outputs from the start, MLP 784-256-256-10, SGD, as `plain_loop.py`. The seconds are those of the run's
record. Training is everything from `begin_task` to `end_task`: shuffling, gathering, normalising, steps, consolidation.
Evaluation is all five test sets, once untrained and once after each task.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile

import torch

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.runs.run import train_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="naive")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--override", action="append", default=[], help="more, as on clbench's command line")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            f"method={args.method}",
            "scenario=split_fashion_mnist",
            "scenario.setting=class",
            "scenario.outputs=all",
            "model=mlp_256",
            "optimizer=sgd",
            f"optimizer.lr={args.lr}",
            f"trainer.epochs={args.epochs}",
            f"trainer.batch_size={args.batch}",
            f"seeds=[{args.seed}]",
            "device=cpu",
            f"results_dir={folder}",
            *args.override,
        ]
        composer = new_composer()
        (spec,) = make_job(composer(overrides), composer).specs()
        record = train_run(spec, lambda event: None)
    cost, result = record.cost, record.result
    passes = result["n_tasks"] * args.epochs
    steps = passes * math.ceil(cost["samples"] / passes / args.batch)  # all tasks have the same number of samples
    print(
        json.dumps(
            {
                "train_s": cost["train_seconds"],
                "eval_s": cost["eval_seconds"],
                "evaluations": len(result["events"]),
                "us_per_step": 1e6 * cost["train_seconds"] / steps,
                "steps": steps,
                "accuracy": [[round(100 * hit / n, 2) for hit, n in row] for row in result["matrix"][1:]],  # row 0: untrained
            }
        )
    )


if __name__ == "__main__":
    main()
