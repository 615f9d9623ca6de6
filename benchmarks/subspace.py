"""`clbench.subspace` compared with the authors' GPM program: the update of the subspaces alone, and a stream end to end.

    git clone https://github.com/sahagobinda/GPM
    python benchmarks/subspace.py --authors GPM --repeats 5

Update: the layer inputs of one network become rows, and the rows extend the bases, task after task. The program's
`get_representation_matrix` and `update_GPM` and clbench's `subspace` take turns in this process, on one thread, on the same
samples. Networks: the MLP of their PMNIST, their AlexNet for CIFAR-100. Both must find the same spaces. End to end: permuted
Fashion-MNIST, MLP 784-100-100-10 without biases, batches of 10, one epoch, plain SGD, each side in a separate process; A[j, j]
must be equal. Prints Markdown; exit status 1 if spaces or accuracies differ.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from authors_gpm import THRESHOLDS, load, quietly
from common import compare_learned, data_root, median, ratios, script, spread, table, take_turns
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torchvision.datasets import FashionMNIST

from clbench import subspace
from clbench.errors import DataError

UPDATES = 4
"""Tasks whose subspaces are built one on the other."""
CASES: dict[str, tuple[str, list[float], list[int], int]] = {
    "MLP": ("main_pmnist.py", THRESHOLDS, [300, 300, 300], 300),
    "AlexNet": ("main_cifar100.py", [0.97] * 5, [24, 100, 100, 125, 125], 125),
}
"""Script, thresholds, samples of each layer, samples drawn."""


def images(root: str, network: str, task: int, count: int) -> Tensor:
    """Return inputs of one task: permuted grey images for the MLP, shifted and coloured ones for the AlexNet."""
    g = torch.Generator().manual_seed(task)
    raw = FashionMNIST(root, train=True, download=False).data[task * count : (task + 1) * count].float() / 255
    if network == "MLP":
        flat = (raw.flatten(1) - 0.2860) / 0.3530
        return flat[:, torch.randperm(784, generator=g)].reshape(-1, 1, 28, 28)
    grey = nn.functional.pad(raw, (2, 2, 2, 2)).unsqueeze(1)
    return grey * torch.rand(count, 3, 1, 1, generator=g) * 2 - torch.rand(count, 3, 1, 1, generator=g)


def entering(model: nn.Module, inputs: Tensor) -> dict[str, tuple[nn.Module, subspace.Call]]:
    """Return every layer with a weight, without the heads, and its inputs."""
    calls: dict[str, tuple[nn.Module, subspace.Call]] = {}

    def hook(name: str) -> Any:
        return lambda layer, arguments: calls.__setitem__(name, (layer, (arguments, {})))

    layers = [(name, layer) for name, layer in model.named_modules() if subspace.weights(layer) and not name.startswith("fc3")]
    handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers]
    with torch.no_grad():
        model(inputs)
    for handle in handles:
        handle.remove()
    return calls


def update(root: str, clone: str, network: str) -> tuple[list[float], list[float], list[list[int]], float]:
    """Return for each task the CPU seconds of both updates and our directions; and the largest sine between the spaces."""
    name, thresholds, counts, drawn = CASES[network]
    program = load(clone, name)
    torch.manual_seed(0)
    model = program.MLPNet() if network == "MLP" else program.AlexNet([(t, 10) for t in range(10)])
    model.eval()
    features: list[Any] = []
    bases: dict[str, Tensor] = {}
    theirs, ours, sizes, angle = [], [], [], 0.0
    for task in range(UPDATES):
        x = images(root, network, task, drawn)
        entered = x.flatten(1) if network == "MLP" else x
        start = time.process_time()
        with torch.no_grad():
            matrices = quietly(program.get_representation_matrix, model, torch.device("cpu"), x)
        features = quietly(program.update_GPM, model, matrices, thresholds, features)
        middle = time.process_time()
        for i, (layer, (own, call)) in enumerate(entering(model, entered).items()):
            (weight,) = subspace.weights(own)
            rows = weight.rows(own, ((call[0][0][: counts[i]],), {}))
            bases[layer] = subspace.extend(bases.get(layer), rows, thresholds[i], stop_short=task == 0)
        ours.append(time.process_time() - middle)
        theirs.append(middle - start)
        sizes.append([basis.shape[1] for basis in bases.values()])
    # Where a layer takes all samples drawn, the two held the same rows, so the spaces must be the same.
    for basis, feature, count in zip(bases.values(), features, counts, strict=True):
        if count == drawn:
            other = torch.from_numpy(feature).to(basis.dtype)
            missed = torch.linalg.matrix_norm(other - basis @ (basis.mT @ other), 2)
            angle = max(angle, float(missed) if basis.shape == other.shape else float("inf"))
    return theirs, ours, sizes, angle


def end_to_end(root: str, clone: str, tasks: int, repeats: int) -> Mapping[str, Any]:
    """Return the end-to-end runs of both sides."""
    overrides = [
        "scenario=permuted_fashion_mnist",
        "scenario.setting=domain",
        f"scenario.n_tasks={tasks}",
        "model=mlp",
        "model.bias=false",
        "model.head.bias=false",
        f"method.threshold={THRESHOLDS}".replace(" ", ""),
        "method.stop_short=true",
    ]
    ours = script("clbench_run.py", "wall", method="gpm", batch=10)
    ours += [word for override in overrides for word in ("--override", override)]
    theirs = script("authors_gpm.py", "wall", clone=clone, tasks=tasks, batch=10)
    return take_turns({"clbench": ours, "authors": theirs}, repeats, root)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--authors", required=True, help="folder with a clone of github.com/sahagobinda/GPM")
    parser.add_argument("--root", help="folder with FashionMNIST/raw; default: the search path CLBENCH_DATA")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the tables show medians")
    parser.add_argument("--tasks", type=int, default=3, help="of the stream, end to end; 0: updates only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)  # numpy's, in the program
    try:
        root = data_root(args.root)
        load(args.authors, "main_pmnist.py")
    except (DataError, FileNotFoundError) as error:
        parser.error(str(error))
    lines, equal = [], True
    for network in CASES:
        rounds = [update(root, args.authors, network) for _ in range(args.repeats)]
        theirs, ours = [sum(r[0]) for r in rounds], [sum(r[1]) for r in rounds]
        angle = max(r[3] for r in rounds)
        equal = equal and angle < 1e-2
        lines.append(
            [
                network,
                *(f"{1000 * sorted(values)[len(values) // 2] / UPDATES:.0f}" for values in (ours, theirs)),
                spread([a / b for a, b in zip(theirs, ours, strict=True)]),
                "/".join(map(str, rounds[0][2][-1])),
                f"{angle:.0e}",
            ]
        )
    header = [
        "subspace update",
        "clbench ms",
        "authors ms",
        "authors / clbench",
        "directions at the end",
        "largest sine between the spaces",
    ]
    print(table(header, lines))
    if args.tasks:
        runs = end_to_end(root, args.authors, args.tasks, args.repeats)
        lines = [
            [
                phase,
                *(f"{median(runs[side], seconds):.2f}" for side in ("clbench", "authors")),
                spread(ratios(runs, "authors", "clbench", seconds)),
            ]
            for phase, seconds in {
                "training, with updates": lambda run: run["train_s"],
                "evaluation": lambda run: run["eval_s"],
                "total": lambda run: run["train_s"] + run["eval_s"],
            }.items()
        ]
        text, same = compare_learned(runs, ["clbench", "authors"])
        equal = equal and same
        print("\n" + table(["end to end", "clbench s", "authors s", "authors / clbench"], lines) + "\n\n" + text)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
