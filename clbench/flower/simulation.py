"""A run under Flower's simulation engine; its nodes are actors of Ray."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from clbench.errors import ConfigError
from clbench.federated.clients import Clients
from clbench.federated.transport import Transport
from clbench.records import Record
from clbench.run_spec import RunSpec
from clbench.runs.run import Report, train_run

Result = TypeVar("Result")
Connect = Callable[[Clients], Transport]


def run_in_simulation(spec: RunSpec, report: Report) -> Record:
    """Execute a run as `clbench.runs.run.train_run` does, with Flower's messages between server and clients."""
    return simulated(spec, lambda connect: train_run(spec, report, connect), spec.execution.timeout)


def simulated(spec: RunSpec, work: Callable[[Connect], Result], timeout: float) -> Result:
    """Execute `work` as a Flower ServerApp with actors as clients, and return its result.

    Args:
        spec: the run, from which clients make their side; one node for each client.
        work: takes a function that connects a server to its clients.
        timeout: seconds to wait for replies.

    Raises:
        ConfigError: Flower is not installed.
    """
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from flwr.serverapp import Grid, ServerApp
        from flwr.simulation import run_simulation
    except ImportError as error:
        raise ConfigError(f"runner.federated=flower: {error}", "pip install 'clbench[federated]'") from error
    from clbench.flower.client_app import app as clients
    from clbench.flower.grid_transport import GridTransport

    server, outcome = ServerApp(), list[Any]()

    @server.main()
    def main(grid: Grid, context: Any) -> None:
        try:
            outcome.append(work(lambda side: GridTransport(grid, side, spec, timeout)))
        except Exception as error:
            outcome.append(error)

    gpus = torch.cuda.device_count() if spec.execution.device != "cpu" else 0
    backend = {
        "client_resources": {"num_cpus": spec.execution.threads, "num_gpus": 0.5 if gpus else 0.0},
        "init_args": {"address": "local", "include_dashboard": False},
    }
    run_simulation(server, clients, spec.config["federated"]["clients"], backend_config=backend)
    if not outcome:
        raise RuntimeError("Flower's simulation ended before the run")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]  # type: ignore[no-any-return]
