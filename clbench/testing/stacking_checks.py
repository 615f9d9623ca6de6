"""The check that a method's per-step hooks are right for tensors with a leading replica axis."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clbench.engine.replicas.stack import stack_trees
from clbench.instantiate import instantiate
from clbench.method import Method
from clbench.stream import Stream
from clbench.testing.make_run import make_spec


def check_stackable(
    method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path], tolerance: float = 1e-6
) -> None:
    """Check that the per-step hooks are right for tensors with a leading replica axis.

    Two replicas with different seeds learn two tasks separately. Then `edit_gradients` and `edit_update` are called on random
    tensors, the parameters move by the edited update, and `after_step` is called. This is done once per replica, and once on the
    stack `[2, ...]`, with the method's state stacked too. Updates and parameters must agree to `tolerance`, relative to the
    largest entry. A method with its own `extend_batch`, `criterion`, `penalty` or `predict` cannot
    be checked this way and must not declare `stackable`.

    Args:
        method: as in `make_spec`.
        overrides: as in `make_spec`.
        config_dirs: as in `make_spec`.
        tolerance: largest relative difference.
    """
    replicas = [_after_two_tasks(method, overrides, config_dirs, seed) for seed in (0, 1)]
    stream, one, learner = replicas[0]
    unchecked = [hook for hook in ("extend_batch", "criterion", "penalty", "predict") if one.overrides(hook)]
    assert not unchecked, f"a method with its own {unchecked[0]} cannot declare stackable"
    stacked_method = instantiate(make_spec(method, overrides, config_dirs).config["method"], "method")
    stacked_method.setup(learner, stream)
    stacked_method.load_state(learner, stack_trees([made.state() for _, made, _ in replicas]))
    draws = torch.Generator().manual_seed(0)
    noise = [{n: torch.randn(p.shape, generator=draws) for n, p in lrn.parameters.items()} for _, _, lrn in replicas]
    stacked = stack_trees(noise)
    parameters = stack_trees([{n: p.detach() for n, p in lrn.parameters.items()} for _, _, lrn in replicas])
    with torch.no_grad():
        for (_, made, lrn), values in zip(replicas, noise, strict=True):
            lrn.gradients = values
            made.edit_gradients(lrn, None)  # type: ignore[arg-type]
            made.edit_update(lrn, values)
            _move(made, lrn, values)
        apart = stack_trees([{n: p.detach() for n, p in lrn.parameters.items()} for _, _, lrn in replicas])
        learner.gradients, learner.parameters = stacked, parameters
        stacked_method.edit_gradients(learner, None)
        stacked_method.edit_update(learner, stacked)
        _compare("edit_gradients or edit_update", stacked, stack_trees(noise), tolerance)
        _move(stacked_method, learner, stacked)
    _compare("after_step", parameters, apart, tolerance)


def _move(method: Method, learner: Any, updates: Mapping[str, torch.Tensor]) -> None:
    """Take a step at a learning rate of 1, and call `after_step`."""
    for name, parameter in learner.parameters.items():
        parameter -= updates[name]
    method.after_step(learner)


def _compare(hook: str, stacked: Mapping[str, torch.Tensor], apart: Mapping[str, torch.Tensor], tolerance: float) -> None:
    for name, value in stacked.items():
        error = float((value - apart[name]).abs().max() / apart[name].abs().max().clamp(min=1e-12))
        assert error <= tolerance, (
            f"stacked hooks differ from single ones: {hook} on {name} by {error:.1e} (allowed {tolerance:.0e})"
        )


def _after_two_tasks(
    method: Any, overrides: Sequence[str], config_dirs: Sequence[str | Path], seed: int
) -> tuple[Stream, Method, Any]:
    from clbench.runs.run import assemble

    with tempfile.TemporaryDirectory() as folder:
        spec = make_spec(method, overrides, config_dirs, seed=seed, results_dir=folder)
        stream, made, learner, training = assemble(spec, torch.device("cpu"))
        for task in stream.tasks[:2]:
            training.learn(task)
    return stream, made, learner
