"""Layer inputs as rows: one function per type of layer, `weights`, gives the rows that each weight matrix multiplies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments of one call of a layer."""


@dataclass(frozen=True)
class Weight:
    """One weight matrix of a layer.

    Args:
        name: name of the parameter in the layer.
        bias: name of the parameter that is added to the outputs, or None.
        rows: function of the layer and one call of it. Returns the rows `[n, d]` that this matrix multiplied, in the order of its
            columns, without the bias's constant.
        transposed: whether the parameter has the shape `[d, out]`, as an embedding's has.
    """

    name: str
    bias: str | None
    rows: Callable[[Any, Call], Tensor]
    transposed: bool = False


@singledispatch
def weights(layer: nn.Module) -> tuple[Weight, ...]:
    """Return the weight matrices that a layer owns; none for an unknown type of layer.

    Register one function for a new type of layer: `@subspace.weights.register`.

    >>> [weight.name for weight in weights(nn.Linear(2, 3))], weights(nn.ReLU())
    (['weight'], ())
    """
    return ()


@weights.register
def _(layer: nn.Linear) -> tuple[Weight, ...]:
    return (Weight("weight", "bias" if layer.bias is not None else None, lambda _, call: _flat(call[0][0])),)


@weights.register
def _(layer: nn.Conv2d) -> tuple[Weight, ...]:
    return (Weight("weight", "bias" if layer.bias is not None else None, lambda own, call: _patches(own, call[0][0])),)


@weights.register
def _(layer: nn.Embedding) -> tuple[Weight, ...]:
    """The input of an embedding is one-hot: one row per distinct token, with the root of the token's count as its length."""

    def rows(own: nn.Embedding, call: Call) -> Tensor:
        tokens, counts = call[0][0].unique(return_counts=True)
        hot: Tensor = F.one_hot(tokens, own.num_embeddings) * counts.to(own.weight.dtype).sqrt().unsqueeze(1)
        return hot

    return (Weight("weight", None, rows, transposed=True),)


@weights.register
def _(layer: nn.MultiheadAttention) -> tuple[Weight, ...]:
    """Two matrices: one for queries, keys and values, and one for the output, whose module PyTorch never calls."""
    if layer.in_proj_weight is None or layer.bias_k is not None:
        raise TypeError("attention with kdim, vdim or add_bias_kv is not supported; use separate linear layers")

    def entering(own: nn.MultiheadAttention, call: Call) -> Tensor:
        found = dict(zip(("query", "key", "value"), call[0], strict=False)) | call[1]
        distinct = {id(found[name]): found[name] for name in ("query", "key", "value")}
        return torch.cat([_flat(each) for each in distinct.values()])

    def context(own: nn.MultiheadAttention, call: Call) -> Tensor:
        plain = {"out_proj.weight": torch.eye(own.embed_dim, dtype=own.out_proj.weight.dtype, device=own.out_proj.weight.device)}
        if own.out_proj.bias is not None:
            plain["out_proj.bias"] = torch.zeros_like(own.out_proj.bias)
        return _flat(torch.func.functional_call(own, plain, call[0], call[1])[0])

    has_bias = layer.in_proj_bias is not None
    return (
        Weight("in_proj_weight", "in_proj_bias" if has_bias else None, entering),
        Weight("out_proj.weight", "out_proj.bias" if has_bias else None, context),
    )


def with_one(rows: Tensor) -> Tensor:
    """Return `rows` `[n, d]` with the bias's constant 1 at the end: `[n, d + 1]`.

    >>> with_one(torch.tensor([[2.0, 3.0]])).tolist()
    [[2.0, 3.0, 1.0]]
    """
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _patches(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Return one row per output position (im2col with the layer's own kernel, stride, padding and dilation).

    With groups, the rows of all groups follow one another: groups share the width of their rows, but no weights.
    """
    if isinstance(layer.padding, str):
        raise TypeError("a convolution with its padding given by name is not supported; give its padding in pixels")
    padding = (layer.padding[1], layer.padding[1], layer.padding[0], layer.padding[0])
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    columns = F.unfold(F.pad(inputs, padding, mode=mode), layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    width = columns.shape[1] // layer.groups
    grouped = columns.reshape(columns.shape[0], layer.groups, width, columns.shape[2])
    return grouped.permute(0, 1, 3, 2).reshape(-1, width)
