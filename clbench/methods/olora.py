"""Orthogonal low-rank adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Batch, Learner
from clbench.errors import ConfigError
from clbench.methods.lora import IncLoRA
from clbench.stream import Stream, Task
from clbench.toolkit.lora import parameter_name

Strength = Annotated[float, Field(ge=0)]


@dataclass
class OLoRA(IncLoRA):
    """O-LoRA (Wang et al., Findings of EMNLP 2023): one adapter per task, its A orthogonal to the A of earlier ones.

    loss + strength * sum over layers of |A_past A^T| + l2_strength * sum over A and B of their Frobenius norms. The gradient of B
    is not constrained, so a new task may still change the outputs on earlier ones. The sum grows with the number of tasks and
    the rank. A good strength therefore holds for one model and one length of stream. With `strength` and `l2_strength` 0 this
    is `inc_lora`, bit for bit.

    Args:
        strength: lambda_1; a list gives each task its own (the authors' `scripts/long.sh`).
        l2_strength: lambda_2, in the same form. The norms are not squared, as in the authors' program.
        penalty_form: `l1`: the sum of the entries' absolute values (the authors' program, `src/uie_trainer_lora.py`). `squared`:
            the sum of their squares (the paper's equation).
    """

    strength: Strength | list[Strength]
    l2_strength: Strength | list[Strength]
    penalty_form: Literal["l1", "squared"]

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without earlier adapters.

        Raises:
            ConfigError: a list of strengths with another length than the stream.
        """
        super().setup(learner, stream)
        for key in ("strength", "l2_strength"):
            given = getattr(self, key)
            if isinstance(given, list) and len(given) != len(stream.tasks):
                raise ConfigError(
                    f"method.{key}={given} has {len(given)} values, and the stream {len(stream.tasks)} tasks",
                    "give one value for each task, or a single one for all",
                )
        self._now = (0.0, 0.0)
        self._groups: list[tuple[list[str], Tensor]] = []
        self._decayed: list[str] = []
        self._first: Tensor | None = None

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Stack the earlier tasks' A of all layers with equally many inputs, once per task. A step then needs few products."""
        super().begin_task(learner, task)
        self._groups, self._first = [], None
        self._now = (_of(self.strength, task.index), _of(self.l2_strength, task.index))
        if not self.names:
            return
        newest, widths = self.names[-1], self._adapters.shapes
        earlier = self._past() if self._now[0] > 0 else {}
        for width in dict.fromkeys(d_in for d_in, _ in widths.values()) if earlier else ():
            alike = [layer for layer, (d_in, _) in widths.items() if d_in == width]
            stacked = torch.stack([earlier[layer][0] for layer in alike])
            self._groups.append(([parameter_name(layer, "A", newest) for layer in alike], stacked))
        both = [parameter_name(layer, factor, newest) for layer in widths for factor in ("A", "B")]
        self._decayed = both if self._now[1] > 0 else []

    def penalty(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return strength * (overlap of A with the earlier ones) + l2_strength * (norms of A and B)."""
        value = logits.new_zeros(())
        with torch.autocast(learner.device.type, enabled=False):
            if self._groups:
                overlap = self.overlap(learner)
                if self._first is None:
                    self._first = overlap.detach().clone()
                value = value + self._now[0] * overlap
            if self._decayed:
                norms = torch._foreach_norm([learner.parameters[name] for name in self._decayed])
                value = value + self._now[1] * torch.stack(norms).sum()
        return value

    def overlap(self, learner: Learner) -> Tensor:
        """Return the sum over layers and entries of |A_past A^T|, or of its squares."""
        terms = []
        for names, past in self._groups:
            products = past @ torch.stack([learner.parameters[name] for name in names]).mT
            terms.append(products.abs().sum() if self.penalty_form == "l1" else products.square().sum())
        return torch.stack(terms).sum()

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Record the overlap at the task's first step. With earlier adapters it must not be 0."""
        super().end_task(learner, task, history)
        if self._first is not None:
            self._report["overlap_at_start"] = float(self._first)

    def diagnostics(self) -> dict[str, Any]:
        """Return those of `inc_lora` and `overlap_at_start`: the factor of `strength` at the first step."""
        return super().diagnostics()


def _of(given: float | list[float], task: int) -> float:
    return given[task] if isinstance(given, list) else given
