"""Checks of the suite's promises about a server rule."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clbench.errors import RefusedError
from clbench.federated.clients import load, weights
from clbench.federated.federated_training import FederatedTraining
from clbench.federated.messages import Tensors, finite
from clbench.federated.servers.base import Server
from clbench.instantiate import instantiate
from clbench.run_spec import RunSpec
from clbench.testing.hidden_data_checks import check_hidden_data
from clbench.testing.make_run import make_spec, run
from clbench.testing.method_checks import check_repeats, check_resumes

BRIEF = ("federated.clients=4", "federated.rounds=2", "scenario.n_tasks=2", "scenario.setting=task")
"""Overrides of a short check: two rounds of four clients in each of two tasks of digits."""


def check_server(
    server: str | Mapping[str, Any],
    method: str | Mapping[str, Any] = "naive",
    overrides: Sequence[str] = (),
    config_dirs: Sequence[str | Path] = (),
    rests: bool = True,
) -> None:
    """Check all promises of the suite about a server rule. The first broken one is raised as an AssertionError.

    The checks cover the interface, the result of `aggregate`, determinism, equality after resuming at every task, independence of
    test samples, a single client, clients that fail, and rounds with a part of the clients. The rule's code at clients must not
    need its state at the server.

    Args:
        server: name of a configuration in the group `federated/server`, or a node with `_target_` and hyper-parameters.
        method: the clients' method, as in `make_spec`, such as `seq_lora` for a rule that averages adapters.
        overrides: further overrides for every run.
        config_dirs: as in `make_spec`.
        rests: True: if clients return their model unchanged, the next model must compute the same. False: for a rule that moves
            the model by itself, such as by weight decay.
    """
    options = _options(server, overrides)
    check_server_interface(instantiate(make_spec(method, options, config_dirs).config["federated"], "federated").server)
    check_aggregation(server, method, overrides, config_dirs, rests)
    check_apart(server, method, overrides, config_dirs)
    check_repeats(method, options, config_dirs)
    check_resumes(method, options, config_dirs)
    check_hidden_data(method, options, config_dirs)
    for few in (["federated.clients=1"], ["federated.clients=6", "federated.participation=0.5", "federated.dropout=0.5"]):
        with tempfile.TemporaryDirectory() as folder:
            run(make_spec(method, [*options, *few], config_dirs, results_dir=folder))


def check_server_interface(rule: Any) -> None:
    """Check the class and the declarations of a rule."""
    assert isinstance(rule, Server), f"{type(rule).__name__} is not derived from clbench.federated.servers.base.Server"
    assert rule.weighting in ("samples", "uniform"), f"unknown weighting {rule.weighting!r}"
    known = {name for name in vars(Server) if not name.startswith("_")}
    near = {name for name in vars(type(rule)) if not name.startswith("_") and name not in known}
    typos = [name for name in near if any(name.replace("_", "") == other.replace("_", "") for other in known)]
    assert not typos, f"{typos[0]} looks like a hook but is none; hooks are {sorted(known)}"
    assert rule.asked in ("sampled", "all"), f"unknown asked {rule.asked!r}"


def check_aggregation(
    server: str | Mapping[str, Any],
    method: str | Mapping[str, Any],
    overrides: Sequence[str],
    config_dirs: Sequence[str | Path],
    rests: bool,
) -> None:
    """Check names, shapes and values of every next model, that inputs do not change, and that the rule rests if clients do."""
    with tempfile.TemporaryDirectory() as folder:
        training = _training(make_spec(method, _options(server, overrides), config_dirs, results_dir=folder))
        rule, learner = training.server, training.learner
        inner = rule.aggregate

        def watched(learner: Any, start: Tensors, mean: Tensors) -> Tensors:
            before = [{name: tensor.clone() for name, tensor in given.items()} for given in (start, mean)]
            moved: Tensors = inner(learner, start, mean)
            for given, kept, label in zip((start, mean), before, ("start", "mean"), strict=True):
                assert given.keys() == kept.keys(), f"aggregate removes names from {label}, or adds some"
                changed = [name for name in kept if not torch.equal(given[name], kept[name])]
                assert not changed, f"aggregate changes {label}[{changed[0]!r}] in place; return a new tensor"
            model = learner.model.state_dict()
            for name, tensor in moved.items():
                assert name in model, f"aggregate returns {name}, which the model does not have"
                shape, wanted = list(tensor.shape), list(model[name].shape)
                assert shape == wanted, f"aggregate returns {name} of the shape {shape}; the model's is {wanted}"
            assert finite(moved), "aggregate returns values that are not finite, for finite inputs"
            return moved

        rule.aggregate = watched
        training.learn(learner.stream.tasks[0])
        if rests:
            _check_rest(training, inner)


def _check_rest(training: FederatedTraining, aggregate: Any) -> None:
    """Check that a new rule does not change the model's outputs if clients return their model unchanged."""
    learner, task = training.learner, training.learner.stream.tasks[0]
    rule = training.server
    rule.setup(learner, learner.stream)
    rule.begin_task(learner, task)
    names = [*rule.trained(learner.trainable()[0])]
    batch = learner.batch(task.train, torch.arange(min(32, len(task.train))))
    learner.model.eval()
    with torch.no_grad():
        before = learner.forward(batch)
        start = weights(learner, names)
        load(learner, aggregate(learner, start, weights(learner, names)))
        after = learner.forward(batch)
    apart = float((after - before).abs().max())
    limit = 1e-4 * max(1.0, float(before.abs().max()))
    assert apart <= limit, (
        f"clients returned their model unchanged, but the next model has other outputs (logits differ by {apart:.2g}): "
        "if the rule is meant to move by itself, check it with rests=False"
    )


def check_apart(
    server: str | Mapping[str, Any],
    method: str | Mapping[str, Any],
    overrides: Sequence[str],
    config_dirs: Sequence[str | Path],
) -> None:
    """Check that clients with only the rule's configuration give the same model as clients with the server's own rule."""
    models = []
    for apart in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            spec = make_spec(method, _options(server, overrides), config_dirs, results_dir=folder)
            training = _training(spec)
            if apart:
                clients = training.clients
                clients.federated = instantiate(spec.config["federated"], "federated")
            try:
                for task in training.learner.stream.tasks:
                    training.learn(task)
            except (AttributeError, KeyError) as error:
                if not apart:
                    raise
                raise AssertionError(f"the rule's code at clients needs its state at the server: {error}") from error
            models.append(weights(training.learner))
    same = all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())
    assert same, "the rule's code at clients depends on its state at the server: send it down instead (`down`, `ask`)"


def _training(spec: RunSpec) -> FederatedTraining:
    """Return the training of a federated run, before the first task."""
    from clbench.runs.run import assemble

    training = assemble(spec, torch.device("cpu"))[-1]
    assert isinstance(training, FederatedTraining)
    return training


def _options(server: str | Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a run: a short federated stream with this rule."""
    if isinstance(server, str):
        own = [f"federated/server={server}"]
    else:
        if "_target_" not in server:
            raise RefusedError("a rule's node needs _target_", "give the dotted name of your class")
        own = [f"++federated.server.{key}={_spelled(value)}" for key, value in server.items()]
    return ["+federated=iid", *BRIEF, *own, *overrides]


def _spelled(value: Any) -> str:
    """Return a plain value in the syntax of overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_spelled(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_spelled(item)}" for key, item in value.items()) + "}"
    return str(value)
