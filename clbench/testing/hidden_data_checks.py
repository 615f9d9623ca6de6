"""Checks that nothing that learns depends on test samples, or can reach them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clbench.engine.learner.learner import Learner
from clbench.loggers.base import Loggers, RunInfo
from clbench.run_spec import RunSpec
from clbench.runner.execute import thread_limit
from clbench.stream import Stream
from clbench.testing.make_run import make_spec
from clbench.testing.noise import with_noise
from clbench.testing.reach import reachable
from clbench.testing.sought_data import SoughtData


def check_hidden_data(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that what a run learns does not depend on its test samples, and that no test sample can be reached.

    The run is made twice, the second time with noise in the place of all test samples. Weights, state and tensors of the method
    must be equal bit for bit. After the last evaluation, nothing that hooks get may lead to test samples, their rows or labels.
    Attributes, containers, closures, weak references and classes are followed (`clbench.testing.reach`).

    What a method reads from a file by itself cannot be seen.

    Args:
        method: as in `make_spec`.
        overrides: as in `make_spec`.
        config_dirs: as in `make_spec`.
    """
    kept = []
    for change in (None, with_noise):
        with tempfile.TemporaryDirectory() as folder:
            spec = make_spec(method, overrides, config_dirs, results_dir=folder)
            run = learned(spec, change)
            if change is None:
                check_unreachable(run)
            kept.append(_kept(run))
    clean, noisy = kept
    for name, value in clean.items():
        assert equal(value, noisy.get(name)), (
            f"{name} depends on test samples: it differs if noise takes their place. Learn from task.train and history, and keep "
            "nothing of the inputs that predict gets"
        )
    new = noisy.keys() - clean.keys()
    assert not new, f"{min(new)} depends on test samples: it is there only if noise takes their place"


def learned(spec: RunSpec, change: Callable[[Stream], Stream] | None = None) -> Any:
    """Execute a run in this process and return it (`clbench.runs.run.Run`).

    Args:
        spec: the run.
        change: returns the stream to use in the place of the run's own; None: it stays.
    """
    from clbench.runs.factory import assemble, load_stream
    from clbench.runs.run import Run

    device = torch.device("cpu")
    with thread_limit(spec.execution.threads):
        stream = load_stream(spec, device)
        stream = stream if change is None else change(stream)
        about = RunInfo.of(spec.identity, spec.id, spec.variant, spec.results_dir, spec.n_runs, spec.color)
        run = Run(spec, *assemble(spec, device, stream=stream), Loggers([], about, print), lambda message: None)
        run.run()
    return run


def check_unreachable(run: Any) -> None:
    """Check that nothing that hooks get in a finished run leads to test samples."""
    roots = {"learner": run.learner, "method": run.method, "training": run.training, "task": run.learner.stream.tasks[-1]}
    found = next(SoughtData(run.stream, files_of(run.spec.config["scenario"])).among(reachable(roots)), None)
    assert found is None, f"test data can be reached while learning: {found}"


def files_of(node: Any) -> list[str]:
    """Return the files and folders that a scenario's configuration names."""
    if isinstance(node, Mapping):
        return [name for value in node.values() for name in files_of(value)]
    if isinstance(node, (list, tuple)):
        return [name for value in node for name in files_of(value)]
    return [node] if isinstance(node, str) and ("/" in node or "." in node) and Path(node).exists() else []


def _kept(run: Any) -> dict[str, Any]:
    """Return what a run has learned, by name: weights, optimiser, the method's state, and every tensor of the method."""
    kept = {f"the weight {name}": value for name, value in run.learner.model.state_dict().items()}
    kept["the optimiser's state"] = run.learner.optimizer.state()
    kept["the method's state"] = run.training.state()
    for name, part in _parts(run).items():
        kept |= dict(_leaves(_without(vars(part), {}), name))
    return kept


def _leaves(tree: Any, way: str) -> Iterator[tuple[str, Any]]:
    """Yield the tensors and bytes of a tree with their places; functions are left out (numbers of hooks differ between runs)."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{way}[{key!r}]")
    elif isinstance(tree, list):
        for place, value in enumerate(tree):
            yield from _leaves(value, f"{way}[{place}]")
    elif isinstance(tree, (Tensor, np.ndarray, bytes, bytearray)):
        yield way, tree


def _parts(run: Any) -> dict[str, Any]:
    """Return the method of a run, or the rule of its server and the methods of its clients."""
    clients = getattr(run.training, "clients", None)
    if clients is None:
        return {"method": run.method}
    methods = {f"client {number}": clients.training(number).method for number in range(run.training.federated.clients)}
    return {"server": run.training.server, **methods}


def _without(value: Any, seen: dict[int, Any]) -> Any:
    """Return the content of an object as a tree, without learner and stream, which are compared by themselves."""
    if isinstance(value, torch.nn.Module):
        return dict(value.state_dict())
    if isinstance(value, (Learner, Stream)):
        return None
    if id(value) in seen:
        return None
    seen[id(value)] = value
    if isinstance(value, Mapping):
        return {str(key): _without(item, seen) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(item, seen) for item in value]
    if isinstance(value, (Tensor, np.ndarray)) or not hasattr(value, "__dict__") or isinstance(value, type):
        return value
    return {name: _without(item, seen) for name, item in vars(value).items()}


def equal(one: Any, other: Any) -> bool:
    """Return whether two trees are equal, tensors bit for bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other or one != one)
