"""One run of an Avalanche strategy on Split-Fashion-MNIST. Prints its cost as one JSON line.

    python avalanche_loop.py --root DATA --strategy naive --batch 64 --seed 0

Avalanche as its documentation shows it: the classic benchmark `SplitFMNIST` with its own transforms, `Naive` (or
`Replay`, `EWC`, `AGEM`, `LwF`), `EvaluationPlugin` with the accuracy of each experience, loggers off, all test sets evaluated
after each task. `--data tensors` gives it the images as normalised float tensors instead, so that no transform runs per
sample. `--setting task` gives each task a head of its own (`as_multitask`), known at test.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.datasets import FashionMNIST

TASKS = 5
EVALUATION_BATCH = 1000
"""As clbench's `eval.batch_size`; Avalanche's own default is 1, far slower."""


class Labelled(TensorDataset):
    """Tensors with the attribute `targets`, by which Avalanche divides samples among experiences."""

    def __init__(self, root: str, train: bool) -> None:
        """Read and normalise all images: float32 `[N, 1, 28, 28]`."""
        data = FashionMNIST(root, train=train, download=False)
        super().__init__((data.data.unsqueeze(1).float() / 255 - 0.2860) / 0.3530, data.targets)
        self.targets = data.targets.tolist()


def benchmark(root: str, data: str, heads: bool) -> Any:
    """Return five experiences of two classes each, in the canonical order. Existing files are not downloaded again.

    With `heads`, the labels in each experience are 0 and 1, and the experience is known at test.
    """
    from avalanche.benchmarks import nc_benchmark
    from avalanche.benchmarks.classic import SplitFMNIST

    order = list(range(10))
    if data == "files":
        return SplitFMNIST(TASKS, return_task_id=heads, fixed_class_order=order, shuffle=False, dataset_root=root)
    return nc_benchmark(
        Labelled(root, train=True),
        Labelled(root, train=False),
        TASKS,
        task_labels=heads,
        class_ids_from_zero_in_each_exp=heads,
        fixed_class_order=order,
        shuffle=False,
    )


def network(heads: bool) -> nn.Module:
    """Return the MLP 784-256-256 with ten outputs, or with one new head per experience."""
    layers = [nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)]
    if not heads:
        return nn.Sequential(*layers)
    from avalanche.models import as_multitask

    model = nn.Sequential()
    model.add_module("body", nn.Sequential(*layers[:-1]))
    model.add_module("classifier", layers[-1])
    return as_multitask(model, "classifier")


def strategy(name: str, model: nn.Module, args: argparse.Namespace) -> Any:
    """Return Avalanche's strategy for one of clbench's methods."""
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import AGEM, EWC, LwF, Naive, Replay

    common = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=args.lr),
        "criterion": nn.CrossEntropyLoss(),
        "device": "cpu",
        "train_mb_size": args.batch,
        "train_epochs": 1,
        "eval_mb_size": EVALUATION_BATCH,
        "evaluator": EvaluationPlugin(accuracy_metrics(experience=True), loggers=[]),
    }
    if name == "er":
        return Replay(mem_size=args.buffer, **common)
    if name == "ewc":
        # No factor 1/2 as in the paper; squares of mean gradients of a batch: about 1/batch of the Fisher information.
        return EWC(ewc_lambda=args.strength / 2 * args.batch, **common)
    if name == "agem":
        return AGEM(patterns_per_exp=args.buffer // TASKS, sample_size=args.reference, **common)
    if name == "lwf":
        return LwF(alpha=args.strength, temperature=2.0, **common)
    return Naive(**common)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--strategy", choices=("naive", "er", "ewc", "agem", "lwf"), default="naive")
    parser.add_argument("--setting", choices=("class", "task"), default="class")
    parser.add_argument("--data", choices=("files", "tensors"), default="files")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--buffer", type=int, default=200, help="samples in memory (er, agem)")
    parser.add_argument("--reference", type=int, default=64, help="samples drawn per step (agem)")
    parser.add_argument("--strength", type=float, default=1.0, help="of ewc (as clbench's) and lwf")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")  # no quadratic solver, no loggers: neither is wanted here
    torch.manual_seed(args.seed)
    heads = args.setting == "task"
    stream = benchmark(args.root, args.data, heads)
    learner = strategy(args.strategy, network(heads), args)
    train_s, eval_s, matrix = 0.0, 0.0, []
    for experience in stream.train_stream:
        start = time.perf_counter()
        learner.train(experience, num_workers=0)
        train_s += time.perf_counter() - start
        start = time.perf_counter()
        found = learner.eval(stream.test_stream, num_workers=0)
        eval_s += time.perf_counter() - start
        name = "Top1_Acc_Exp/eval_phase/test_stream/Task{:03d}/Exp{:03d}"
        own = [name.format(task if heads else 0, task) for task in range(TASKS)]
        # Where a task has no head yet, there is no accuracy.
        matrix.append([round(100 * float(found.get(key, 0.0)), 2) for key in own])
    print(json.dumps({"train_s": train_s, "eval_s": eval_s, "accuracy": matrix}))


if __name__ == "__main__":
    main()
