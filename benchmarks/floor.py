"""The lowest cost of the plain loop's step: a step by hand, and its matrix products alone. Prints one JSON line.

    python floor.py --root DATA --batch 64 --seed 0

By hand: the same stream, model, optimiser and order of work as `plain_loop.py`, with forward, backward and update written out:
no autograd, no module, no optimiser. This loop learns, and prints its accuracies. Matrix products: only the eight of a step
(three forward, three for the weights' gradients, two for the inputs'), for as many steps. They use clbench's library on this
processor (`clbench.utils.cpu_matmul`); the loop by hand uses torch's products.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise

import torch
from plain_loop import tensors
from torch import Tensor, nn

from clbench.utils.cpu_matmul import mm

WIDTHS = (784, 256, 256, 10)
TASKS = 5


def step(x: Tensor, y: Tensor, weights: list[Tensor], biases: list[Tensor], lr: float) -> None:
    """Move `weights` `[out, in]` and `biases` once against the gradient of the mean cross-entropy."""
    (w1, w2, w3), (b1, b2, b3) = weights, biases
    h1 = torch.addmm(b1, x, w1.t()).relu_()
    h2 = torch.addmm(b2, h1, w2.t()).relu_()
    delta = torch.softmax(torch.addmm(b3, h2, w3.t()), 1)
    delta[torch.arange(len(y)), y] -= 1
    delta /= len(y)
    d2 = (delta @ w3).mul_(h2 > 0)
    d1 = (d2 @ w2).mul_(h1 > 0)
    for weight, bias, d, h in ((w3, b3, delta, h2), (w2, b2, d2, h1), (w1, b1, d1, x)):
        weight.addmm_(d.t(), h, alpha=-lr)
        bias.sub_(d.sum(0), alpha=lr)


def products(batch: int, steps: int) -> float:
    """Return the seconds of the matrix products of `steps` steps."""
    h = [torch.randn(batch, width) for width in WIDTHS]
    w = [torch.randn(b, a) for a, b in pairwise(WIDTHS)]
    start = time.perf_counter()
    for _ in range(steps):
        for i, weight in enumerate(w):
            mm(h[i], weight.t())
        for i in (2, 1, 0):
            mm(h[i + 1].t(), h[i])
            if i:
                mm(h[i + 1], w[i])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    x, y = tensors(args.root, train=True)
    x_test, y_test = tensors(args.root, train=False)
    layers = [nn.Linear(a, b) for a, b in pairwise(WIDTHS)]
    weights, biases = [layer.weight.detach() for layer in layers], [layer.bias.detach() for layer in layers]
    steps, train_s, eval_s, matrix = 0, 0.0, 0.0, []
    with torch.inference_mode():
        for task in range(TASKS):
            own = torch.nonzero(y // 2 == task).squeeze(1)
            start = time.perf_counter()
            for batch in own[torch.randperm(len(own))].split(args.batch):
                step(x[batch], y[batch], weights, biases, args.lr)
                steps += 1
            train_s += time.perf_counter() - start
            start = time.perf_counter()
            h1 = torch.addmm(biases[0], x_test, weights[0].t()).relu_()
            h2 = torch.addmm(biases[1], h1, weights[1].t()).relu_()
            right = torch.addmm(biases[2], h2, weights[2].t()).argmax(1) == y_test
            matrix.append([round(100 * right[y_test // 2 == t].float().mean().item(), 2) for t in range(TASKS)])
            eval_s += time.perf_counter() - start
        products(args.batch, 20)  # warm
        alone = products(args.batch, steps)
    found = {"us_per_step": 1e6 * train_s / steps, "products_us": 1e6 * alone / steps, "steps": steps, "accuracy": matrix}
    print(json.dumps({"train_s": train_s, "eval_s": eval_s, **found}))


if __name__ == "__main__":
    main()
