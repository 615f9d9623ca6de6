"""A trial under Flower's simulation engine, whose nodes are actors on Ray."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from clbench.errors import ConfigError
from clbench.federated.clients import Clients
from clbench.federated.transport import Exchange
from clbench.records import Record
from clbench.run_spec import RunSpec
from clbench.runs.run import Report, run_with

Result = TypeVar("Result")
Connect = Callable[[Clients], Exchange]


def run_in_simulation(spec: RunSpec, report: Report) -> Record:
    """Do as `clbench.runs.run.run_trial`, with Flower's messages between server and clients."""
    return simulated(spec, lambda connect: run_with(spec, report, connect), spec.timeout)


def simulated(spec: RunSpec, work: Callable[[Connect], Result], timeout: float) -> Result:
    """Return what `work` returns, run as a Flower ServerApp whose clients are actors.

    Args:
        spec: what clients make their side from; one node for each client.
        work: gets a function that connects a server to its clients.
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
    from clbench.flower.grid_transport import GridExchange

    server, outcome = ServerApp(), list[Any]()

    @server.main()
    def main(grid: Grid, context: Any) -> None:
        try:
            outcome.append(work(lambda side: GridExchange(grid, side, spec, timeout)))
        except Exception as error:
            outcome.append(error)

    gpus = torch.cuda.device_count() if spec.device != "cpu" else 0
    backend = {
        "client_resources": {"num_cpus": spec.threads, "num_gpus": 0.5 if gpus else 0.0},
        "init_args": {"address": "local", "include_dashboard": False},
    }
    run_simulation(server, clients, spec.config["federated"]["clients"], backend_config=backend)
    if not outcome:
        raise RuntimeError("Flower's simulation ended before the trial did")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]  # type: ignore[no-any-return]
