"""A run under Flower's simulation engine; its nodes are actors of Ray."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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
    from clbench.flower.client_app import make_app
    from clbench.flower.grid_transport import GridTransport
    from clbench.flower.installation import Installation

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
    clients = make_app(Installation(spec.execution, nodes=json.dumps(spec.config)))
    with only_loopback() if spec.execution.listen == "loopback" else nullcontext():
        run_simulation(server, clients, spec.config["federated"]["clients"], backend_config=backend)
    if not outcome:
        raise RuntimeError("Flower's simulation ended before the run")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]  # type: ignore[no-any-return]


CONSTANTS = "ray._private.ray_constants"
CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Environment variable of Ray: with 0 its processes listen and connect on the loopback alone, on every system."""


@contextmanager
def only_loopback() -> Iterator[None]:
    """Let Ray's processes that start within the context listen on the loopback interface alone."""
    before, known = os.environ.get(CLUSTERS), getattr(sys.modules.get(CONSTANTS), "ENABLE_RAY_CLUSTER", None)
    os.environ[CLUSTERS] = "0"
    _set(False)
    try:
        yield
    finally:
        if before is None:
            del os.environ[CLUSTERS]
        else:
            os.environ[CLUSTERS] = before
        _set(sys.platform == "linux" if known is None else known)


def _set(value: bool) -> None:
    """Set what Ray has read of the variable, if it is imported: it reads the variable once."""
    if CONSTANTS in sys.modules:
        sys.modules[CONSTANTS].ENABLE_RAY_CLUSTER = value  # type: ignore[attr-defined]
