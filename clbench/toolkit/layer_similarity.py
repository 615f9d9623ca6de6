"""Similarity of the inputs and outputs of a backbone's layers: cosines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clbench.data.pool import Split
from clbench.data.prefetch import prefetch
from clbench.engine.learner.learner import Learner
from clbench.models.language import trimmed

CHUNK = 32
"""Samples per forward pass (memory)."""


def cosines(learner: Learner, split: Split, positions: Tensor, modules: Mapping[str, nn.Module]) -> dict[str, float]:
    """Return the mean cosine of input and output of each module over the samples at `positions`, in evaluation mode.

    For texts, the mean covers all tokens except padding. In an encoder-decoder, which splits a row, it covers all positions.
    Modules that are not called, or whose input and output differ in width, are left out.

    Args:
        learner: contains the model.
        split: the samples.
        positions: int64 `[n]`.
        modules: by name. The input is the first argument; the output is the result or its first element.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    pad = getattr(learner.model.backbone, "pad", None)
    text: list[Tensor] = []  # True for positions of the current rows that contain a token

    def hook(name: str) -> Any:
        def record(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            x = arguments[0] if arguments else named.get("hidden_states")
            y = output[0] if isinstance(output, (tuple, list)) else output
            if not isinstance(x, Tensor) or not isinstance(y, Tensor) or x.shape != y.shape or not x.is_floating_point():
                return
            found = F.cosine_similarity(x.float(), y.float(), dim=-1)
            counted = text[-1] if text and text[-1].shape == found.shape else torch.ones_like(found)
            sums[name] = sums.get(name, torch.zeros((), device=x.device)) + (found * counted).sum()
            counts[name] = counts.get(name, torch.zeros((), device=x.device)) + counted.sum()

        return modules[name].register_forward_hook(record, with_kwargs=True)

    handles = [hook(name) for name in modules]
    learner.model.eval()
    try:
        parts = learner.chunks(positions, CHUNK)
        for part, raw in zip(parts, prefetch(split, parts), strict=True):
            inputs = learner.batch(split, part, raw=raw).inputs
            if pad is not None:
                text.append((trimmed(inputs, pad) != pad).float())
            with torch.no_grad(), learner.arithmetic:
                learner.features(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {name: float(total / counts[name]) for name, total in sums.items()}


def relative(values: Mapping[str, float]) -> dict[str, float]:
    """Return `values` divided by their mean, with negative ones as 0; all 1 if none is positive."""
    positive = {name: max(value, 0.0) for name, value in values.items()}
    mean = sum(positive.values()) / max(len(positive), 1)
    return {name: value / mean if mean > 0 else 1.0 for name, value in positive.items()}
