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

from clbench.errors import ConfigError, RefusedError

Targets = list[str] | Literal["all-linear"] | None
"""Which layers get an adapter: endings of their names, all linear ones, or what PEFT's own table says of the model's type."""

Draws = Callable[[str], torch.Generator]
"""Generator (on the CPU) of each layer's A, by the layer's name."""

UNREACHED = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
"""Modules that read the weights of layers within them themselves: an adapter there would silently do nothing."""


class Holder(Protocol):
    """What has a model with a backbone; a learner, say."""

    model: Any


class Adapters:
    """The adapters on a backbone: y = W x + sum of scaling * B A dropout(x) over those present.

    A is `[r, d_in]`, B `[d_out, r]`; B starts at zero, so that an adapter that was just added changes no output. An adapted
    layer's own weight is then the parameter `backbone.LAYER.base_layer.weight`, the factors of an adapter
    `backbone.LAYER.lora_A.ADAPTER.weight` and `backbone.LAYER.lora_B.ADAPTER.weight`.

    Args:
        holder: its `model.backbone` is adapted.
        targets: see `Targets`; endings match whole parts of a name, between dots.
        scaling: s, alpha / r in the literature.

    Raises:
        ConfigError: PEFT is not installed, or `targets` match nothing.
        RefusedError: a layer named shares its weight with another.
    """

    def __init__(self, holder: Holder, targets: Targets, scaling: float) -> None:
        if importlib.util.find_spec("peft") is None:
            raise ConfigError("low-rank adapters need the package peft, which is not installed", "pip install 'clbench[llm]'")
        self.holder, self.scaling = holder, scaling
        self.layers = chosen(holder.model, targets)
        self.shapes = {name: _shape(holder.model.backbone.get_submodule(name)) for name in self.layers}
        self.present: dict[str, int] = {}
        """Rank of each adapter, in the order in which they were added."""
        self._draws: dict[str, Draws] = {}

    def add(self, name: str, rank: int, dropout: float = 0.0, draws: Draws | None = None) -> None:
        """Put an adapter beside every chosen layer.

        Args:
            name: of the adapter; without a dot. One that is there already stays as it is.
            rank: r.
            dropout: share of its inputs that are dropped in training.
            draws: of A: kaiming uniform with a = sqrt(5), as PEFT draws it, but from a stream of its own. None: A and B stay
                what they happen to be, to be written.
        """
        if name in self.present:
            return
        from peft import LoraConfig, inject_adapter_in_model

        backbone = self.holder.model.backbone
        if hasattr(backbone, "peft_config"):
            del backbone.peft_config  # PEFT's note of the last adapter; it warns of it
        config = LoraConfig(
            r=rank,
            lora_alpha=self.scaling * rank,
            lora_dropout=dropout,
            target_modules="|".join(re.escape(layer) for layer in self.layers),  # a pattern: these names and no others
        )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a layer of transformers' GPT-2 is transposed, which PEFT then allows for
            inject_adapter_in_model(config, backbone, adapter_name=name)
        self.present[name] = rank
        if draws is None:
            return
        self._draws[name] = draws
        self.write(name, self._drawn(name))

    def _drawn(self, name: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Return A and B that an adapter starts from, by layer."""
        found = {}
        for layer, (a, b) in self.factors(name).items():
            drawn = torch.empty(a.shape)
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=self._draws[name](layer))
            found[layer] = (drawn, torch.zeros(b.shape))
        return found

    def initial(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state dict of a model without adapters as that of the model with them, the adapters as they were drawn."""
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
        """Let all adapters act, `name` train, and everything else in the backbone stand still (running statistics too)."""
        self.act(list(self.present))
        for parameter in self.holder.model.backbone.parameters():
            parameter.requires_grad_(False)
        for factors in self.factors(name).values():
            for factor in factors:
                factor.requires_grad_(True)

    def act(self, names: Sequence[str]) -> None:
        """Let these adapters act and no others; whether a factor trains is to be said afterwards."""
        for layer in self.layers if self.present else ():
            self._module(layer).set_adapter(list(names))

    def factors(self, name: str) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """Return A `[r, d_in]` and B `[d_out, r]` of an adapter, by layer."""
        return {layer: self._factors(layer, name) for layer in self.layers}

    def output(self, layer: str, name: str) -> nn.Module:
        """Return the module whose output, times the scaling, an adapter adds to a layer's."""
        part: nn.Module = self._module(layer).lora_B[name]
        return part

    def write(self, name: str, factors: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Give an adapter these A and B, by layer."""
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
        """Take an adapter away."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that another adapter is active now, which `train` says anew
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


def chosen(model: nn.Module, targets: Targets) -> tuple[str, ...]:
    """Return the names, within the backbone, of the layers that `targets` match.

    Raises:
        ConfigError: none, or an ending that matches none.
        RefusedError: one that is named shares its weight with another layer.
    """
    backbone = model.get_submodule("backbone")
    linear = linear_layers(backbone)
    tied = _tied(model)
    if not linear:
        raise ConfigError(
            f"method.targets={targets}: {type(backbone).__name__} has no linear layer that an adapter can be put on",
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
    """Return the linear layers within a backbone that an adapter acts on (transformers' `Conv1D` is one), by name."""
    from transformers.pytorch_utils import Conv1D

    barred = tuple(f"{name}." for name, module in backbone.named_modules() if isinstance(module, UNREACHED))
    return {
        name: module
        for name, module in backbone.named_modules()
        if name and isinstance(module, (nn.Linear, Conv1D)) and not name.startswith(barred)
    }


def principal_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosines of the principal angles between the row spaces of `[r, d]` and `[R, d]`, `[min(r, R, d)]`, falling."""
    bases = [torch.linalg.qr(rows.detach().double().mT).Q for rows in (first, second)]
    cosines: Tensor = torch.linalg.svdvals(bases[0].mT @ bases[1])
    return cosines.clamp(max=1.0)


def _endings(backbone: nn.Module) -> list[str] | Literal["all-linear"]:
    """Return what PEFT adapts by itself in a model of this type; all linear layers, if it has no word on it."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TABLE

    types = [getattr(getattr(part, "config", None), "model_type", None) for part in backbone.modules()]
    found = next((TABLE[kind] for kind in types if kind in TABLE), None)
    return list(found) if isinstance(found, (list, tuple, set)) else "all-linear"


def _ends(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")


def _tied(model: nn.Module) -> set[int]:
    """Return the identities of parameters that have several names."""
    seen: set[int] = set()
    tied: set[int] = set()
    for _, parameter in model.named_parameters(remove_duplicate=False):
        (tied if id(parameter) in seen else seen).add(id(parameter))
    return tied


def _shape(layer: Any) -> tuple[int, int]:
    """Return (d_in, d_out) of a linear layer; `Conv1D` has its weight transposed."""
    rows, columns = layer.weight.shape
    return (columns, rows) if isinstance(layer, nn.Linear) else (rows, columns)
