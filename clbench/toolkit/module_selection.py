"""The modules of a backbone that a configuration names."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from clbench.errors import ConfigError, RefusedError

Targets = list[str] | Literal["all-linear"]
"""Endings of module names, matched at dots (`q_proj`, `mlp.up_proj`), or all linear modules."""


def linear_kinds() -> tuple[type[nn.Module], ...]:
    """Return the types of plain linear modules: torch's, and the transposed one of transformers if that is loaded.

    Subclasses are left out: `nn.MultiheadAttention` reads the weights of its own projections directly.
    """
    loaded: Any = sys.modules.get("transformers.pytorch_utils")
    return (nn.Linear,) if loaded is None else (nn.Linear, loaded.Conv1D)


def modules_named(backbone: nn.Module, targets: Targets, kinds: Sequence[type[nn.Module]]) -> dict[str, nn.Module]:
    """Return the modules with exactly the types `kinds` that `targets` name, by name, in the backbone's order.

    Args:
        backbone: names are relative to this module.
        targets: see `Targets`. An ending matches only whole parts of a name: `1` is not `11`, `proj` not `q_proj`.
        kinds: the types.

    Raises:
        ConfigError: an ending matches nothing, or there is no module of these types.
    """
    able = {name: module for name, module in backbone.named_modules() if type(module) in kinds}
    what = " or ".join(kind.__name__ for kind in kinds)
    if not able:
        raise ConfigError(
            f"method.targets={targets}: {type(backbone).__name__} has no {what} module below its heads",
            "choose a model with linear layers (model=mlp, a transformer), or another method",
        )
    if targets == "all-linear":
        return able
    selected: set[str] = set()
    for target in targets:
        found = {name for name in able if name == target or name.endswith(f".{target}")}
        if not found:
            endings = sorted({name.rpartition(".")[2] for name in able})
            raise ConfigError(
                f"method.targets: {target!r} names no {what} module of {type(backbone).__name__}",
                f"give endings of names such as {', '.join(endings[:12])}, or method.targets=all-linear",
            )
        selected |= found
    if not selected:
        raise ConfigError("method.targets is empty", "give method.targets=all-linear, or endings of module names")
    return {name: module for name, module in able.items() if name in selected}


def refuse_tied(model: nn.Module, modules: dict[str, nn.Module], prefix: str = "backbone.") -> None:
    """Refuse modules that share their weight with another module of `model`.

    Args:
        model: the whole model.
        modules: by their names below `prefix`.
        prefix: the start of their names in the model.

    Raises:
        RefusedError: one of them shares its weight.
    """
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    for name, module in modules.items():
        others = [other for other in owners[id(module.get_parameter("weight"))] if other != prefix + name]
        if others:
            raise RefusedError(
                f"the weight of {prefix}{name} is also that of {others[0]}: one cannot be replaced without the other",
                "name other layers by method.targets, or use a model without tied weights",
            )
