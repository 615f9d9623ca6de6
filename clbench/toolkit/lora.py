"""Low-rank adapters (LoRA) on linear layers of a backbone, through PEFT: added, read, folded into the weights, removed."""

from __future__ import annotations

import importlib.util
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from clbench import subspace
from clbench.errors import ConfigError, RefusedError

Targets = list[str] | Literal["all-linear"] | None
"""The layers that get an adapter: endings of their names, all linear ones, or (None) PEFT's choice for the model's type."""

Draws = Callable[[str], torch.Generator]
"""Returns the generator (on the CPU) of a layer's A, by the layer's name."""

UNREACHED = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
"""Modules that read the weights of their inner layers directly. An adapter on such a layer would silently do nothing."""


class Holder(Protocol):
    """An object with a model that has a backbone, such as a learner."""

    model: Any


class Adapters:
    """The adapters on a backbone: y = W x + sum over active adapters of scaling * B A dropout(x).

    A is `[r, d_in]` and B is `[d_out, r]`. B starts at zero, so a new adapter changes no output. The adapted layer's own weight
    is then the parameter `backbone.LAYER.base_layer.weight`. The factors of an adapter are the parameters
    `backbone.LAYER.lora_A.ADAPTER.weight` and `backbone.LAYER.lora_B.ADAPTER.weight`.

    Args:
        holder: its `model.backbone` is adapted.
        targets: see `Targets`; endings match whole parts of a name, between dots.
        scaling: s, alpha / r in the literature.

    Raises:
        ConfigError: PEFT is not installed, or `targets` match nothing.
        RefusedError: a target layer shares its weight with another.
    """

    def __init__(self, holder: Holder, targets: Targets, scaling: float) -> None:
        if importlib.util.find_spec("peft") is None:
            raise ConfigError("low-rank adapters need the package peft, which is not installed", "pip install 'clbench[llm]'")
        self.holder, self.scaling = holder, scaling
        self.layers = target_layers(holder.model, targets)
        self.shapes = {name: _shape(holder.model.backbone.get_submodule(name)) for name in self.layers}
        self.present: dict[str, int] = {}
        """Rank of each adapter, in the order of their addition."""
        self._draws: dict[str, Draws] = {}

    def add(self, name: str, rank: int, dropout: float = 0.0, draws: Draws | None = None) -> None:
        """Add an adapter to every target layer.

        Args:
            name: of the adapter, without a dot. An existing adapter does not change.
            rank: r.
            dropout: rate of dropout on its inputs, in training.
            draws: random numbers for A: kaiming uniform with a = sqrt(5), like in PEFT, but from separate generators. None: A and
                B are arbitrary, and `write` must set them.
        """
        if name in self.present:
            return
        from peft import LoraConfig, inject_adapter_in_model

        backbone = self.holder.model.backbone
        if hasattr(backbone, "peft_config"):
            del backbone.peft_config  # PEFT would warn about the last adapter's configuration
        config = LoraConfig(
            r=rank,
            lora_alpha=self.scaling * rank,
            lora_dropout=dropout,
            target_modules="|".join(re.escape(layer) for layer in self.layers),  # a pattern that matches exactly these names
        )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning that a layer of transformers' GPT-2 is transposed; PEFT then handles it
            inject_adapter_in_model(config, backbone, adapter_name=name)
        self.present[name] = rank
        if draws is None:
            return
        self._draws[name] = draws
        self.write(name, self._drawn(name))

    def _drawn(self, name: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the initial A and B of an adapter, by layer."""
        found = {}
        for layer, (a, b) in self.factors(name).items():
            drawn = torch.empty(a.shape)
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=self._draws[name](layer))
            found[layer] = (drawn, torch.zeros(b.shape))
        return found

    def initial(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn the state dict of a model without adapters into that of the model with them, with the adapters' initial values."""
        if not self.present:
            return weights
        places = {f"backbone.{layer}": f"backbone.{layer}.base_layer" for layer in self.layers}
        own = {f"{name}.{kind}": f"{place}.{kind}" for name, place in places.items() for kind in ("weight", "bias")}
        found = {own.get(name, name): value for name, value in weights.items()}
        for name in self._draws:
            for layer, (a, b) in self._drawn(name).items():
                found |= {parameter_name(layer, "A", name): a, parameter_name(layer, "B", name): b}
        return found

    def train(self, name: str) -> None:
        """Activate all adapters, train `name`, and freeze everything else in the backbone (running statistics too)."""
        self.act(list(self.present))
        for parameter in self.holder.model.backbone.parameters():
            parameter.requires_grad_(False)
        for factors in self.factors(name).values():
            for factor in factors:
                factor.requires_grad_(True)

    def act(self, names: Sequence[str]) -> None:
        """Activate exactly these adapters. The caller then says which factors train."""
        for layer in self.layers if self.present else ():
            self._module(layer).set_adapter(list(names))

    def factors(self, name: str) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """Return A `[r, d_in]` and B `[d_out, r]` of an adapter, by layer."""
        return {layer: self._factors(layer, name) for layer in self.layers}

    def output(self, layer: str, name: str) -> nn.Module:
        """Return the module whose output, times the scaling, an adapter adds to the layer's output."""
        part: nn.Module = self._module(layer).lora_B[name]
        return part

    def write(self, name: str, factors: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Set A and B of an adapter, by layer."""
        with torch.no_grad():
            for layer, (a, b) in factors.items():
                own_a, own_b = self._factors(layer, name)
                own_a.copy_(a)
                own_b.copy_(b)

    def fold(self, name: str) -> None:
        """Add an adapter to the weights of its layers, W += scaling * B A, and remove it."""
        with torch.no_grad():
            for layer in self.layers:
                module = self._module(layer)
                module.get_base_layer().weight += module.get_delta_weight(name)
        self.remove(name)

    def remove(self, name: str) -> None:
        """Remove an adapter."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning that another adapter is active now; `train` sets the active ones again
            for layer in self.layers:
                self._module(layer).delete_adapter(name)
        del self.present[name]
        self._draws.pop(name, None)

    def _module(self, layer: str) -> Any:
        return self.holder.model.backbone.get_submodule(layer)

    def _factors(self, layer: str, name: str) -> tuple[nn.Parameter, nn.Parameter]:
        module = self._module(layer)
        return module.lora_A[name].weight, module.lora_B[name].weight


def parameter_name(layer: str, factor: Literal["A", "B"], adapter: str) -> str:
    """Return the name, in the model, of a factor of an adapter."""
    return f"backbone.{layer}.lora_{factor}.{adapter}.weight"


def target_layers(model: nn.Module, targets: Targets) -> tuple[str, ...]:
    """Return the names, within the backbone, of the layers that `targets` match.

    Raises:
        ConfigError: no layer matches, or an ending matches none.
        RefusedError: a target layer shares its weight with another.
    """
    backbone = model.get_submodule("backbone")
    linear = linear_layers(backbone)
    tied = _tied(model)
    if not linear:
        raise ConfigError(
            f"method.targets={targets}: {type(backbone).__name__} has no linear layer for an adapter",
            "use a model with linear layers below the heads, or another method",
        )
    endings = _endings(backbone) if targets is None else targets
    if endings == "all-linear":
        return tuple(name for name, layer in linear.items() if id(layer.weight) not in tied)
    unmatched = [ending for ending in endings if not any(_ends(name, ending) for name in linear)]
    if unmatched or not endings:
        there = ", ".join(dict.fromkeys(re.sub(r"^(.*\.)?\d+\.", "", name) for name in linear))
        raise ConfigError(
            f"method.targets={list(endings)}: no linear layer of the backbone has a name that ends in {unmatched or 'nothing'}",
            f"give endings of names (for example {next(reversed(linear))}; there are {there}), or method.targets=all-linear",
        )
    names = tuple(name for name in linear if any(_ends(name, ending) for ending in endings))
    for name in names:
        if id(linear[name].weight) in tied:
            raise RefusedError(
                f"method.targets={list(endings)}: the weight of {name} is another layer's too", "leave it out of method.targets"
            )
    return names


def linear_layers(backbone: nn.Module) -> dict[str, Any]:
    """Return the linear layers within a backbone that can have an adapter (also transformers' `Conv1D`), by name."""
    from transformers.pytorch_utils import Conv1D

    barred = tuple(f"{name}." for name, module in backbone.named_modules() if isinstance(module, UNREACHED))
    return {
        name: module
        for name, module in backbone.named_modules()
        if name and isinstance(module, (nn.Linear, Conv1D)) and not name.startswith(barred)
    }


def principal_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosines `[min(r, R, d)]` of the principal angles between the row spaces of `[r, d]` and `[R, d]`, descending."""
    bases = [torch.linalg.qr(rows.detach().double().mT).Q for rows in (first, second)]
    cosines: Tensor = subspace.svdvals(bases[0].mT @ bases[1])
    return cosines.clamp(max=1.0)


def _endings(backbone: nn.Module) -> list[str] | Literal["all-linear"]:
    """Return PEFT's default targets for a model of this type; all linear layers if it has none."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TABLE

    types = [getattr(getattr(part, "config", None), "model_type", None) for part in backbone.modules()]
    found = next((TABLE[kind] for kind in types if kind in TABLE), None)
    return list(found) if isinstance(found, (list, tuple, set)) else "all-linear"


def _ends(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")


def _tied(model: nn.Module) -> set[int]:
    """Return the identities of parameters with several names."""
    seen: set[int] = set()
    tied: set[int] = set()
    for _, parameter in model.named_parameters(remove_duplicate=False):
        (tied if id(parameter) in seen else seen).add(id(parameter))
    return tied


def _shape(layer: Any) -> tuple[int, int]:
    """Return (d_in, d_out) of a linear layer; the weight of `Conv1D` is transposed."""
    rows, columns = layer.weight.shape
    return (columns, rows) if isinstance(layer, nn.Linear) else (rows, columns)
