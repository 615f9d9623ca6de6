"""From a run to what its trial consists of, checked to go together."""

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
from clbench.federated.transport import Exchange, LocalExchange
from clbench.instantiate import instantiate
from clbench.method import Method
from clbench.models import build_model
from clbench.run_spec import RunSpec
from clbench.scenarios.ability import beside
from clbench.scenarios.placement import declare, place
from clbench.stream import Stream


def pick_device(name: str) -> torch.device:
    """Return the device that `auto`, `cpu` or `cuda` names.

    Raises:
        ConfigError: `cuda` on a machine without it.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but torch sees no CUDA device here", "use device=auto or device=cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


AnyTraining = Training | FederatedTraining
"""What lets a method learn tasks: here, or at clients."""


Connect = Callable[[Clients], Exchange]


def assemble(spec: RunSpec, device: torch.device, connect: Connect | None = None) -> tuple[Stream, Method, Learner, AnyTraining]:
    """Make the four things a trial consists of, and check that they go together.

    Args:
        spec: what the trial is.
        device: where it runs.
        connect: makes what connects the server of a federated trial with its clients; None: all are in this process.
    """
    config, seed = spec.config, spec.seed
    search = [Path(folder) for folder in spec.search]
    made = instantiate(
        declare(config["scenario"], spec.residence),
        "scenario",
        seed=seed,
        data_sha256=spec.identity["data_sha256"],
        search=search,
        download=spec.download,
        device=torch.device("cpu"),
    )
    made = beside(made, config["eval"], search, spec.download)
    stream = place(made, device, spec.residence, spec.residence_share)
    federated = instantiate(config["federated"], "federated") if "federated" in config else None
    if federated is not None:
        stream = divide(stream, federated, seed)
    method = make_method(config["method"])
    if stream.setting not in method.settings:
        raise RefusedError(
            f"method={spec.names['method']} does not support scenario.setting={stream.setting}",
            f"it declares {', '.join(sorted(method.settings))}: give scenario.setting=... or another method",
        )
    if stream.vocabulary is not None and not method.answers:
        raise RefusedError(
            f"method={spec.names['method']} works on samples with a label; in this stream answers are written, token by token",
            "choose an encoder (model=minilm, say), so that scenario.form=classes; or another method",
        )
    if stream.requests and federated is not None:
        raise RefusedError(
            "requests to forget in a federated stream: nothing says whose samples they are", "leave +federated out"
        )
    if stream.requests and method.requests == "refused":
        raise RefusedError(
            f"method={spec.names['method']} does not say what it does when something is to be forgotten, and this stream has "
            f"{len(stream.requests)} requests",
            "choose a method that unlearns (method=ga, retrain, ...), or method=naive, which passes over requests",
        )
    _check_metrics(stream)
    trainer = instantiate(config["trainer"], "trainer")
    optimizer = instantiate(config["optimizer"], "optimizer")
    learner = Learner(stream, lambda: build_model(config["model"], stream, seed, search, spec.download), optimizer, device, seed)
    if federated is not None:
        return stream, *federate(
            config["method"], learner, trainer, federated, connect or partial(LocalExchange, chunk=spec.chunk)
        )
    method.setup(learner, stream)
    return stream, method, learner, Training(learner, method, trainer)


def make_method(node: Mapping[str, Any]) -> Method:
    """Return the method of a node.

    Raises:
        ConfigError: it is none.
    """
    method = instantiate(node, "method")
    if not isinstance(method, Method):
        raise ConfigError(f"method._target_={node['_target_']} is not a Method", "derive it from clbench.method.Method")
    return method


def federate(
    node: Mapping[str, Any], learner: Learner, trainer: Trainer, federated: Federated, connect: Connect
) -> tuple[Method, Learner, FederatedTraining]:
    """Return what a federated trial consists of beside its stream: the method that predicts, the learner, the training.

    Args:
        node: of the clients' method.
        learner: the server's, which local clients use, too.
        trainer: how a client passes over its samples.
        federated: what is federated, and how.
        connect: makes what connects server and clients.
    """
    clients = Clients(learner, lambda: make_method(node), trainer, federated)
    training = FederatedTraining(clients, connect(clients))
    return clients.method, learner, training


def _check_metrics(stream: Stream) -> None:
    """Refuse a metric that nobody knows before anything is trained."""
    for column in stream.evaluation:
        if stream.vocabulary is not None and column.metric not in METRICS:
            raise ConfigError(f"scenario.metric={column.metric!r} ({column.name}) is unknown", f"one of: {', '.join(METRICS)}")
