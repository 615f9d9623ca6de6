"""Clients per second of the engine: one by one, stacked, and compared with a plain torch loop of the same steps.

    python benchmarks/federated.py                                    # 10, 100 clients of 60 samples each
    python benchmarks/federated.py --clients 1000 --chunk 1000 --device cuda
    python benchmarks/federated.py --hidden 16 --batch 5
    python benchmarks/federated.py --flower                           # and Flower's simulation engine (clbench[federated])

The contenders take turns in one process: `--repeats` rounds of local training of all clients, with ratios within a round.
Flower's rounds come after the others, and include messages and the mean of the models. Images are noise of 784 bytes: the
arithmetic does not depend on them. Prints Markdown; exit status 1 if stacked clients get other models than clients one by one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from common import numbers, spread, table
from torch import Tensor, nn

from clbench.data.pool import Pool, Split
from clbench.data.preprocess import Preprocess
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.engine.schedules import Constant
from clbench.engine.training.trainer import Trainer
from clbench.federated.clients import Clients
from clbench.federated.options import Federated
from clbench.federated.partitions import IID
from clbench.federated.servers.fedavg import FedAvg
from clbench.federated.transport import LocalTransport
from clbench.methods.naive import Naive
from clbench.models import build_model
from clbench.stream import EvaluationSet, Stream, Task

RATE, CLASSES, INPUTS = 0.05, 10, 784


def made(clients: int, args: argparse.Namespace, chunk: int) -> LocalTransport:
    """Return clients with `args.samples` images of noise each."""
    draws, n, device = torch.Generator().manual_seed(args.seed), clients * args.samples, torch.device(args.device)
    inputs = torch.randint(0, 256, (n, 1, 28, 28), generator=draws, dtype=torch.uint8)
    pool = Pool(inputs, torch.randint(0, CLASSES, (n,), generator=draws)).to(device)
    split = Split(pool, torch.arange(n, device=device), pool.targets, 0)
    task = Task(0, "noise", tuple(range(CLASSES)), split, clients=tuple(torch.arange(n).split(args.samples)))
    stream = Stream("class", "all", (task,), (EvaluationSet("noise", split),), (1, 28, 28), Preprocess((0.5,), (0.25,)))
    node = {"_target_": "clbench.models.mlp.MLP", "hidden": args.hidden, "bias": True, "dropout": 0.0, "head": {"bias": True}}
    learner = Learner(stream, lambda: build_model(node, stream, args.seed), SGD(RATE), device, args.seed)
    trainer = Trainer(args.epochs, args.batch, args.batch, Constant(), None)
    options = Federated(IID(), FedAvg("samples"), clients, 1.0, 1, args.epochs, None, 1, 0.0, 0.0, 0.5)
    return LocalTransport(Clients(learner, Naive, trainer, options), chunk)


def engine(transport: LocalTransport, device: str) -> tuple[float, dict[str, Tensor]]:
    """Return the seconds of one round of local training, and the sums of the clients' models in double precision."""
    learner = transport.clients.learner
    task = learner.stream.tasks[0]
    transport.clients.begin(task)
    down = {name: value.clone() for name, value in learner.model.state_dict().items()}
    sums = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in down.items()}
    assert task.clients is not None
    work = dict.fromkeys(range(len(task.clients)), 1.0)
    wait(device)
    start = time.perf_counter()
    for reply in transport.train(task, 0, down, list(down), work, None):
        for name, tensor in reply.tensors.items():
            sums[name].add_(tensor)
    wait(device)
    seconds = time.perf_counter() - start
    learner.model.load_state_dict(down)
    return seconds, sums


def plain(side: Clients, args: argparse.Namespace) -> float:
    """Return the seconds of a plain torch loop with as many steps, on prepared float images."""
    task = side.learner.stream.tasks[0]
    assert task.clients is not None
    x = side.learner.stream.preprocess(task.train.raw()).flatten(1)
    y, shares = task.train.labels, [own.to(x.device) for own in task.clients]
    widths = [INPUTS, *args.hidden]
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES)).to(x.device)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    wait(args.device)
    start = time.perf_counter()
    for own in shares:
        model.load_state_dict(first)
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        for _ in range(args.epochs):
            for batch in own[torch.randperm(len(own), device=x.device)].split(args.batch):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
    wait(args.device)
    return time.perf_counter() - start


def flower(clients: int, args: argparse.Namespace) -> list[float]:
    """Return the seconds of rounds under Flower's simulation engine, in one actor, as the others run in one thread."""
    from flower_loop import rounds

    return rounds(clients, args.samples, args.batch, args.epochs, args.hidden, args.repeats, actors=1)


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=numbers, default=[10, 100])
    parser.add_argument("--chunk", type=int, default=50, help="clients side by side")
    parser.add_argument("--samples", type=int, default=60, help="of each client")
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--hidden", type=numbers, default=[100, 100])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--flower", action="store_true", help="Flower's simulation engine too, with one actor")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lines, largest = [], 0.0
    for clients in args.clients:
        alone, beside = made(clients, args, 1), made(clients, args, args.chunk)
        one, many = engine(alone, args.device)[1], engine(beside, args.device)[1]  # warm, and the same?
        largest = max(largest, *(float((one[name] - many[name]).abs().max()) / clients for name in one))
        sides: dict[str, Callable[[], float]] = {
            "bare loop": lambda side=alone: plain(side.clients, args),
            "one by one": lambda side=alone: engine(side, args.device)[0],
            "side by side": lambda side=beside: engine(side, args.device)[0],
        }
        sides["bare loop"]()  # the first call of a process is no measure of anything
        found: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(args.repeats):
            for name, run in sides.items():
                found[name].append(run())
        if args.flower:
            found["Flower"] = flower(clients, args)
        for name, seconds in found.items():
            over = [a / b for a, b in zip(seconds, found["bare loop"], strict=True)]
            lines.append([str(clients), name, f"{clients / statistics.median(seconds):.0f}", spread(over)])
    print(table(["clients", "side", "clients/s", "time over bare loop"], lines))
    print(f"\nMean models of the two ways differ by at most {largest:.1e}.")
    return 0 if largest < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
