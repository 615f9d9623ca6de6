"""How a task is passed over: epochs, batches, learning rate, precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from clbench.engine.learner.precision import Precision

Positive = Annotated[int, Field(ge=1)]


@dataclass
class Trainer:
    """How a task is passed over.

    Args:
        epochs: passes over the data of a task. A list has one entry per task; its last entry holds for all later tasks.
        batch_size: samples per step.
        online_batch_size: samples per step in a single-pass stream (`scenario.online=true`); applied by the command line.
        schedule: of the learning rate within a task.
        clip_norm: bound on the joint norm of all gradients, or None.
        iterations: steps per task, in as many passes as that takes, the last one cut short; None: `epochs` passes.
        clip_value: bound on the absolute value of every entry of the gradients, or None.
        precision: of forward passes, in training and evaluation (`clbench.engine.learner.precision`).
        micro_batch_size: samples per forward and backward pass; the parts of a batch add up to one step (gradient accumulation).
            It saves memory; batch normalisation sees the parts, and a method that draws in its loss draws for each. If the model
            cannot take one sample, no part has one (`engine.learner.batch.cut`). None: all.
        later_lr: learning rate from the second task on, in the place of the optimiser's; None: that.
    """

    epochs: Positive | Annotated[list[Positive], Field(min_length=1)]
    batch_size: Positive
    online_batch_size: Positive
    schedule: Any
    clip_norm: Annotated[float, Field(gt=0)] | None
    iterations: Positive | None = None
    clip_value: Annotated[float, Field(gt=0)] | None = None
    precision: Precision = "float32"
    micro_batch_size: Positive | None = None
    later_lr: Annotated[float, Field(gt=0)] | None = None
