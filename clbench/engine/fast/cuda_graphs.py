"""Training steps replayed as CUDA graphs: recorded once per shape, then started by a single call of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from clbench.engine.optimizers import SGD

if TYPE_CHECKING:
    from clbench.engine.training.loop import Training

WARM = 3
"""Steps of a shape that are taken plainly before it is recorded: libraries choose kernels, optimisers make their state."""
Step = Callable[..., Tensor]


class Recorder(Protocol):
    """What records; torch's on CUDA, another in tests."""

    def apart(self, step: Step, *tensors: Tensor) -> Tensor:
        """Take a step as it will be recorded, away from the default stream."""

    def record(self, step: Step, *tensors: Tensor) -> tuple[Callable[[], None], Tensor]:
        """Return what replays `step` on these very tensors, and the tensor that its result appears in."""


class CudaRecorder:
    """Records on a stream of its own; all graphs share a pool of memory."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool: Any = torch.cuda.graph_pool_handle()

    def apart(self, step: Step, *tensors: Tensor) -> Tensor:
        """Take a step on the stream of its own, between what came before and what comes after."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = step(*tensors)
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def record(self, step: Step, *tensors: Tensor) -> tuple[Callable[[], None], Tensor]:
        """Record a step without taking it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            result = step(*tensors)
        return graph.replay, result


class GraphedStep:
    """A step that is recorded once it has been taken `WARM` times with inputs of a shape at a learning rate, and then replayed.

    What it reads and writes besides its arguments (parameters, the optimiser's and the method's state) must be the same tensors
    every time, changed in place. A new task is a new one of these: parameters may have been replaced.
    """

    def __init__(self, step: Step, rate: Callable[[], float], recorder: Recorder) -> None:
        """Start with nothing recorded.

        Args:
            step: from tensors to the loss; moves the parameters.
            rate: the learning rate, a plain number that a recording keeps.
            recorder: see `Recorder`.
        """
        self.step, self.rate, self.recorder = step, rate, recorder
        self._taken: dict[Any, int] = {}
        self._recorded: dict[Any, tuple[Callable[[], None], Tensor, tuple[Tensor, ...]]] = {}

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Take a step; return its loss as a tensor of its own."""
        key = (self.rate(), *(tensor.shape for tensor in tensors))
        if key not in self._recorded:
            taken = self._taken[key] = self._taken.get(key, 0) + 1
            if taken <= WARM:
                return self.recorder.apart(self.step, *tensors)
            held = tuple(tensor.clone() for tensor in tensors)
            self._recorded[key] = (*self.recorder.record(self.step, *held), held)
        replay, result, held = self._recorded[key]
        for into, tensor in zip(held, tensors, strict=True):
            into.copy_(tensor)
        replay()
        return result.clone()


def unsupported_reason(training: Training) -> str | None:
    """Return why the steps of this training cannot be replayed; None: they can."""
    learner, method = training.learner, training.method
    name = type(method).__name__
    if learner.device.type != "cuda":
        return f"CUDA graphs need a CUDA device, and this is {learner.device.type}"
    if learner.stream.vocabulary is not None:
        return "answers differ in length, so that no two steps are of the same shape"
    if training.trainer.micro_batch_size is not None:
        return "trainer.micro_batch_size takes a batch in parts"
    if not isinstance(learner.optimizer, SGD):
        return f"{type(learner.optimizer).__name__} counts its steps on the host"
    for hook in ("extend_batch", "criterion", "penalty", "reparametrize"):
        if method.overrides(hook):
            return f"{name} has its own {hook}, which may look at more than tensors"
    if not method.stackable and (method.overrides("edit_gradients") or method.overrides("edit_update")):
        return f"{name} does not declare stackable, so that its hooks may look at more than tensors"
    return None


def recorded(training: Training, tell: Callable[[str], None], recorder: Recorder | None = None) -> Recorder | None:
    """Return what records the training's steps; None if they cannot be replayed, and then the reason is told."""
    reason = unsupported_reason(training) if recorder is None else None
    if reason is None:
        return recorder or CudaRecorder()
    tell(f"runner.graph: steps are not replayed: {reason}")
    return None
