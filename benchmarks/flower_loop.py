"""The rounds of benchmarks/federated.py as a user of Flower would write them: a ClientApp under Flower's simulation engine."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

CLASSES, INPUTS, RATE = 10, 784, 0.1

clients = ClientApp()


def network(hidden: list[int]) -> nn.Module:
    widths = [INPUTS, *hidden]
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES))


@clients.train()
def train(message: Message, context: Context) -> Message:
    how = message.content["how"]
    torch.set_num_threads(1)
    draws = torch.Generator().manual_seed(int(context.node_config["partition-id"]))
    x = torch.rand(how["samples"], INPUTS, generator=draws)
    y = torch.randint(0, CLASSES, (how["samples"],), generator=draws)
    model = network(list(how["hidden"]))
    model.load_state_dict(message.content["model"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(how["epochs"]):
        for batch in torch.randperm(len(x)).split(how["batch"]):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return Message(RecordDict({"model": ArrayRecord(model.state_dict())}), reply_to=message)


def rounds(count: int, samples: int, batch: int, epochs: int, hidden: list[int], repeats: int, actors: int) -> list[float]:
    """Return the seconds of each of `repeats` rounds with `count` clients, after one round that does not count."""
    server, seconds = ServerApp(), list[float]()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        state = network(hidden).state_dict()
        while len(nodes := list(grid.get_node_ids())) < count:
            time.sleep(0.01)
        how = ConfigRecord({"samples": samples, "batch": batch, "epochs": epochs, "hidden": hidden})
        for _ in range(repeats + 1):
            start = time.perf_counter()
            content = RecordDict({"how": how, "model": ArrayRecord(state)})
            replies = grid.send_and_receive([Message(content, dst_node_id=node, message_type="train") for node in nodes])
            models = [reply.content["model"].to_torch_state_dict() for reply in replies]
            state = {name: torch.stack([each[name] for each in models]).mean(0) for name in state}
            seconds.append(time.perf_counter() - start)

    backend: dict[str, Any] = {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"address": "local", "num_cpus": actors, "include_dashboard": False},
    }
    run_simulation(server, clients, count, backend_config=backend)
    return seconds[1:]
