"""The layers of any backbone in the order of the forward pass, found by structure and not by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layers:
    """The parts of a backbone, from the inputs on.

    Args:
        inputs: name -> module, for modules before the first layer: embeddings of tokens and positions, their normalisation and
            dropout, the stem of a convolutional network.
        layers: one entry per layer, bottom first: name -> module, for the modules of this layer.
    """

    inputs: dict[str, nn.Module]
    layers: list[dict[str, nn.Module]]

    @property
    def names(self) -> list[str]:
        """The name of each layer's first module."""
        return [next(iter(layer)) for layer in self.layers]

    def holds_others(self, name: str) -> bool:
        """Return whether a listed module contains other listed modules."""
        listed = [*self.inputs, *(each for layer in self.layers for each in layer)]
        return any(other != name and (not name or other.startswith(f"{name}.")) for other in listed)


def find_layers(backbone: nn.Module, run: Callable[[], Tensor]) -> Layers:
    """Return the layers of a backbone, by one forward pass in evaluation mode. The backbone does not change.

    If it has lists of repeated blocks, each block is a layer. Such a list is an `nn.ModuleList` or `nn.Sequential` whose members
    have one type and contain modules: `layers.N`, `h.N`, `encoder.layer.N`, `block.N`. Lists within blocks do not count. Several
    lists follow in the order of the forward pass (T5: the encoder's blocks, then the decoder's). Otherwise (an MLP, a plain
    convolutional network), every module with a weight matrix is a layer, with the normalisation and dropout after it.

    Args:
        backbone: a module.
        run: passes some samples through it.
    """
    called = _calls(backbone, run)
    repeated = _repeated(backbone)
    blocks = [(name, module) for name, module in called.items() if name in repeated]
    if blocks:
        before = _up_to(called, blocks[0][0])
        inner = {id(part) for _, block in blocks for part in block.modules()}
        first = {name: module for name, module in before.items() if id(module) not in inner and _own(module)}
        return Layers(first, [{name: module} for name, module in blocks])
    start: dict[str, nn.Module] = {}
    layers: list[dict[str, nn.Module]] = []
    for name, module in called.items():
        if not _own(module):
            continue
        matrix = any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))
        if matrix and not isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            layers.append({name: module})
        else:
            (layers[-1] if layers else start)[name] = module
    return Layers(start, layers)


def _own(module: nn.Module) -> bool:
    """Return whether a module itself has parameters, buffers or dropout."""
    held = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return bool(held) or isinstance(module, nn.modules.dropout._DropoutNd)


def _up_to(called: dict[str, nn.Module], name: str) -> dict[str, nn.Module]:
    names = list(called)
    return {key: called[key] for key in names[: names.index(name)]}


def _repeated(backbone: nn.Module) -> set[str]:
    """Return the names of the members of the outermost lists of repeated blocks."""
    found: set[str] = set()
    for name, module in backbone.named_modules():
        if any(name.startswith(f"{block}.") for block in found) or not isinstance(module, (nn.ModuleList, nn.Sequential)):
            continue
        members = list(module.children())
        alike = len({type(member) for member in members}) == 1 and (len(members) > 1 or isinstance(module, nn.ModuleList))
        if alike and all(_compound(member) for member in members):
            found |= {f"{name}.{key}" if name else key for key, _ in module.named_children()}
    return found


def _compound(module: nn.Module) -> bool:
    parts = [part for part in module.modules() if part is not module]
    return any(parameter.dim() > 1 for part in parts for parameter in part.parameters(recurse=False))


def _calls(backbone: nn.Module, run: Callable[[], Tensor]) -> dict[str, nn.Module]:
    """Return name -> module, in the order of the first calls."""
    called: dict[str, nn.Module] = {}
    handles = []
    for name, module in backbone.named_modules():

        def note(module: nn.Module, arguments: object, name: str = name) -> None:
            called.setdefault(name, module)

        handles.append(module.register_forward_pre_hook(note))
    modes = {part: part.training for part in backbone.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fast path skips the layers and their hooks
    backbone.eval()
    try:
        with torch.no_grad():
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
        for part, training in modes.items():
            part.training = training
    return called
