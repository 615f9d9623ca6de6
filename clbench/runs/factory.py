"""From the description of a run to its objects: stream, method, learner, training, checked for compatibility."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from clbench.contract.kinds import check_kinds
from clbench.engine.evaluation.text_metrics import METRICS
from clbench.engine.learner.learner import Learner
from clbench.engine.resumable import check_after_setup
from clbench.engine.training.batch_statistics import check_evaluation, check_shares, check_single_samples
from clbench.engine.training.loop import Trainer, Training
from clbench.errors import ConfigError, RefusedError
from clbench.federated.assign_clients import divide
from clbench.federated.clients import Clients
from clbench.federated.federated_training import FederatedTraining
from clbench.federated.options import Federated
from clbench.federated.transport import LocalTransport, Transport
from clbench.instantiate import instantiate, locate, parameters
from clbench.method import Method
from clbench.models import build_model
from clbench.models.classifier import Classifier
from clbench.run_spec import RunSpec
from clbench.runs.idle_settings import refuse_idle_settings
from clbench.scenarios.ability import add_ability_sets
from clbench.scenarios.client_checks import check_clients
from clbench.scenarios.placement import place_stream, with_residence
from clbench.scenarios.scenario_options import DataAccess, make_stream
from clbench.scenarios.separate_pools import separate_pools
from clbench.scenarios.stream_checks import check_stream
from clbench.scenarios.validation_sets import measure_validation
from clbench.sources.confirm import confirm
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


def load_stream(spec: RunSpec, device: torch.device) -> Stream:
    """Return the stream of a run, checked, with its data on the device or where `runner.residence` says.

    Training and evaluation data share no tensor.

    Raises:
        ConfigError: the scenario cannot be made as configured.
        DataError: the data cannot be read, or `check_stream` or `check_clients` finds a fault in the stream.
    """
    config, seed, name = spec.config, spec.seed, f"scenario={spec.names['scenario']}"
    search = [Path(folder) for folder in spec.execution.search]
    check_kinds({**config, "logger": spec.logger})
    split = config["eval"].get("split", "test")
    access = DataAccess(seed, spec.identity["data_sha256"], search, spec.execution.download, split=split)
    made = make_stream(with_residence(config["scenario"], spec.execution.residence), access)
    schedule = instantiate(config["trainer"], "trainer").schedule
    made = measure_validation(made, split, access.data_sha256, schedule.needs_validation)
    made = add_ability_sets(made, config["eval"], access)
    check_stream(made, name)
    stream = place_stream(separate_pools(made), device, spec.execution.residence, spec.execution.residence_share)
    if "federated" in config:
        stream = divide(stream, instantiate(config["federated"], "federated"), seed)
        check_clients(stream, name)
    return stream


def assemble(
    spec: RunSpec, device: torch.device, connect: Connect | None = None, stream: Stream | None = None
) -> tuple[Stream, Method, Learner, AnyTraining]:
    """Return stream, method, learner and training of a run, checked for compatibility.

    The learner and everything else that a method gets has the stream without the samples of its evaluation sets
    (`Stream.for_learning`). The run keeps the whole stream.

    Args:
        spec: the run.
        device: of the run.
        connect: makes the transport between the server of a federated run and its clients; None: all are in this process.
        stream: of the run, from `load_stream`; None: it is loaded.
    """
    config, seed = spec.config, spec.seed
    confirm(spec.identity.get("sources") or {})
    stream = load_stream(spec, device) if stream is None else stream
    federated = instantiate(config["federated"], "federated") if "federated" in config else None
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
    learning = stream.for_learning()
    learner = Learner(learning, _initial(spec, learning), optimizer, device, seed)
    check_evaluation(learner, stream.evaluation, config["eval"]["batch_size"])
    if federated is not None:
        connected = connect or partial(LocalTransport, chunk=spec.execution.chunk)
        method, learner, clients = federate(config["method"], learner, trainer, federated, connected)
        refuse_idle_settings(clients, False, config["eval"]["every"])
        return stream, method, learner, clients
    method.setup(learner, learning)
    check_after_setup(method)
    check_single_samples(learner, method, trainer)
    training = Training(learner, method, trainer)
    refuse_idle_settings(training, bool(config["scenario"].get("online")), config["eval"]["every"])
    return stream, method, learner, training


def _initial(spec: RunSpec, learning: Stream) -> Callable[[], Classifier]:
    """Return the function that builds the run's model; methods can reach it and its arguments.

    Only a model that looks for pre-trained weights gets the folders with data.
    """
    node = spec.config["model"]
    accepted, _ = parameters(locate(node.get("_target_"), "model"))
    search = [Path(folder) for folder in spec.execution.search] if "search" in accepted else []
    return partial(build_model, node, learning, spec.seed, search, spec.execution.download)


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
    check_shares(learner, clients.method, trainer)
    return clients.method, learner, training


def _check_metrics(stream: Stream) -> None:
    """Refuse unknown metrics before training."""
    for column in stream.evaluation:
        if stream.vocabulary is not None and column.metric not in METRICS:
            raise ConfigError(f"scenario.metric={column.metric!r} ({column.name}) is unknown", f"one of: {', '.join(METRICS)}")
