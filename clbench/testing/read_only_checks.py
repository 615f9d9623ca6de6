"""The check that a method which declares to read the step does not change it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from clbench.engine.learner.learner import Learner
from clbench.instantiate import instantiate
from clbench.method import Method, Trait
from clbench.testing.hidden_data_checks import equal, learned
from clbench.testing.make_run import make_spec


def check_read_only(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that `edit_update` changes nothing of a step, if the method or a part of it declares `Trait.READ_ONLY_UPDATE`.

    A run of all tasks is made; updates, gradients, parameters, rates and the optimiser's state must be the same after each call.

    Args:
        method: as in `make_spec`.
        overrides: as in `make_spec`.
        config_dirs: as in `make_spec`.
    """
    made = instantiate(make_spec(method, overrides, config_dirs).config["method"], "method")
    parts = [part for part in (made, *getattr(made, "parts", {}).values()) if "edit_update" in _own_hooks(part)]
    readers = {type(part) for part in parts if Trait.READ_ONLY_UPDATE in part.traits}
    if not readers:
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        for cls in readers:
            patches.enter_context(patch.object(cls, "edit_update", _watched(cls.edit_update)))
        learned(make_spec(method, overrides, config_dirs, results_dir=folder))


def _own_hooks(part: Method) -> set[str]:
    return {name for kind in type(part).__mro__ if kind is not Method and issubclass(kind, Method) for name in vars(kind)}


def _watched(inner: Any) -> Any:
    """Return `edit_update` with a comparison of the step before and after it."""

    def edit_update(self: Method, learner: Learner, updates: dict[str, torch.Tensor]) -> None:
        before = _copy(_step(learner, updates))
        inner(self, learner, updates)
        after = _step(learner, updates)
        for what, value in before.items():
            assert equal(value, after[what]), (
                f"{type(self).__name__}.edit_update changes {what}, and declares Trait.READ_ONLY_UPDATE: "
                "leave the trait out, or change nothing of the step"
            )

    return edit_update


def _step(learner: Learner, updates: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    parameters = {name: parameter.detach() for name, parameter in learner.parameters.items()}
    return {
        "the updates": dict(updates),
        "the gradients": dict(learner.gradients),
        "the parameters": parameters,
        "the learning rate": (learner.lr, learner.base_lr),
        "the optimiser's state": learner.optimizer.state(),
    }


def _copy(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree.clone()
    if isinstance(tree, Mapping):
        return {key: _copy(value) for key, value in tree.items()}
    return [_copy(value) for value in tree] if isinstance(tree, (list, tuple)) else tree
