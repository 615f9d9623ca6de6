"""The proof that a method's per-step hooks hold with a leading replica axis."""

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
    """Check that the per-step hooks hold with a leading replica axis.

    Two replicas with different seeds learn two tasks apart. Then `edit_gradients` and `edit_update` are called on random
    tensors once per replica, and once on all stacked `[2, ...]` with the method's state stacked likewise; the results must
    agree to `tolerance`, relative to the largest entry. A method that changes `extend_batch`, `criterion`, `penalty` or
    `predict` cannot be proved this way and must not declare `stackable`.

    Args:
        method: as `make_spec`.
        overrides: as `make_spec`.
        config_dirs: as `make_spec`.
        tolerance: see above.
    """
    replicas = [_after_two_tasks(method, overrides, config_dirs, seed) for seed in (0, 1)]
    stream, one, learner = replicas[0]
    unproved = [hook for hook in ("extend_batch", "criterion", "penalty", "predict") if one.overrides(hook)]
    assert not unproved, f"a method that changes {unproved[0]} cannot declare stackable"
    together = instantiate(make_spec(method, overrides, config_dirs).config["method"], "method")
    together.setup(learner, stream)
    together.load_state(learner, stack_trees([made.state() for _, made, _ in replicas]))
    draws = torch.Generator().manual_seed(0)
    noise = [{n: torch.randn(p.shape, generator=draws) for n, p in lrn.parameters.items()} for _, _, lrn in replicas]
    stacked = stack_trees(noise)
    parameters = stack_trees([{n: p.detach() for n, p in lrn.parameters.items()} for _, _, lrn in replicas])
    with torch.no_grad():
        for (_, made, lrn), values in zip(replicas, noise, strict=True):
            lrn.gradients = values
            made.edit_gradients(lrn, None)  # type: ignore[arg-type]
            made.edit_update(lrn, values)
        learner.gradients, learner.parameters = stacked, parameters
        together.edit_gradients(learner, None)
        together.edit_update(learner, stacked)
    for name, value in stacked.items():
        apart = torch.stack([values[name] for values in noise])
        error = float((value - apart).abs().max() / apart.abs().max().clamp(min=1e-12))
        assert error <= tolerance, f"stacked hooks differ from single ones on {name} by {error:.1e} (allowed {tolerance:.0e})"


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
