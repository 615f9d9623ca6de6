"""From the description of a run to its objects: stream, method, learner, training, checked for compatibility."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from clbench.engine.evaluation.text_metrics import METRICS
from clbench.engine.learner.learner import Learner
from clbench.engine.training.loop import Trainer, Training
from clbench.errors import ConfigError, RefusedError
from clbench.federated.assign_clients import divide
from clbench.federated.clients import Clients
from clbench.federated.federated_training import FederatedTraining
from clbench.federated.options import Federated
from clbench.federated.transport import LocalTransport, Transport
from clbench.instantiate import instantiate
from clbench.method import Method
from clbench.models import build_model
from clbench.run_spec import RunSpec
from clbench.scenarios.ability import add_ability_sets
from clbench.scenarios.placement import place_stream, with_residence
from clbench.scenarios.scenario_options import DataAccess, make_stream
from clbench.stream import Stream


def pick_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`.

    Raises:
        ConfigError: `cuda` on a machine without it.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but torch sees no CUDA device here", "use device=auto or device=cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


AnyTraining = Training | FederatedTraining
"""Trains a method on tasks: in this process, or at clients."""


Connect = Callable[[Clients], Transport]


def assemble(spec: RunSpec, device: torch.device, connect: Connect | None = None) -> tuple[Stream, Method, Learner, AnyTraining]:
    """Return stream, method, learner and training of a run, checked for compatibility.

    Args:
        spec: the run.
        device: of the run.
        connect: makes the transport between the server of a federated run and its clients; None: all are in this process.
    """
    config, seed = spec.config, spec.seed
    search = [Path(folder) for folder in spec.execution.search]
    access = DataAccess(seed, spec.identity["data_sha256"], search, spec.execution.download)
    made = make_stream(with_residence(config["scenario"], spec.execution.residence), access)
    made = add_ability_sets(made, config["eval"], access)
    stream = place_stream(made, device, spec.execution.residence, spec.execution.residence_share)
    federated = instantiate(config["federated"], "federated") if "federated" in config else None
    if federated is not None:
        stream = divide(stream, federated, seed)
    method = make_method(config["method"])
    if stream.setting not in method.settings:
        raise RefusedError(
            f"method={spec.names['method']} does not support scenario.setting={stream.setting}",
            f"it declares {', '.join(sorted(method.settings))}: give scenario.setting=... or another method",
        )
    if stream.vocabulary is not None and not method.supports_generation:
        raise RefusedError(
            f"method={spec.names['method']} needs one label per sample; in this stream answers are generated token by token",
            "choose an encoder, such as model=minilm, so that scenario.form=classes; or another method",
        )
    if stream.requests and federated is not None:
        raise RefusedError("a federated stream has requests to forget, which name no client", "leave +federated out")
    if stream.requests and method.requests == "refused":
        raise RefusedError(
            f"method={spec.names['method']} does not handle requests to forget, and this stream has "
            f"{len(stream.requests)} requests",
            "choose a method that unlearns (method=ga, retrain, ...), or method=naive, which ignores requests",
        )
    _check_metrics(stream)
    trainer = instantiate(config["trainer"], "trainer")
    optimizer = instantiate(config["optimizer"], "optimizer")
    learner = Learner(
        stream, lambda: build_model(config["model"], stream, seed, search, spec.execution.download), optimizer, device, seed
    )
    if federated is not None:
        return stream, *federate(
            config["method"], learner, trainer, federated, connect or partial(LocalTransport, chunk=spec.execution.chunk)
        )
    method.setup(learner, stream)
    return stream, method, learner, Training(learner, method, trainer)


def make_method(node: Mapping[str, Any]) -> Method:
    """Return the method of a node.

    Raises:
        ConfigError: the node is not a method.
    """
    method = instantiate(node, "method")
    if not isinstance(method, Method):
        raise ConfigError(f"method._target_={node['_target_']} is not a Method", "derive it from clbench.method.Method")
    return method


def federate(
    node: Mapping[str, Any], learner: Learner, trainer: Trainer, federated: Federated, connect: Connect
) -> tuple[Method, Learner, FederatedTraining]:
    """Return method, learner and training of a federated run; the method predicts with the server's model.

    Args:
        node: of the clients' method.
        learner: of the server; clients in this process use it, too.
        trainer: of a client's local training.
        federated: the options of federated learning.
        connect: makes the transport between server and clients.
    """
    clients = Clients(learner, lambda: make_method(node), trainer, federated)
    training = FederatedTraining(clients, connect(clients))
    return clients.method, learner, training


def _check_metrics(stream: Stream) -> None:
    """Refuse unknown metrics before training."""
    for column in stream.evaluation:
        if stream.vocabulary is not None and column.metric not in METRICS:
            raise ConfigError(f"scenario.metric={column.metric!r} ({column.name}) is unknown", f"one of: {', '.join(METRICS)}")
