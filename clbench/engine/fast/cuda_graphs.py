"""Training steps replayed as CUDA graphs: recorded once per shape, then started by a single call of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

WARM = 3
"""Steps of a shape taken without a graph before one is recorded: libraries choose kernels, optimisers make their state."""
Step = Callable[..., Tensor]


class Recorder(Protocol):
    """Records and replays steps: torch's graphs on CUDA, another in tests."""

    def apart(self, step: Step, *tensors: Tensor) -> Tensor:
        """Take a step outside the default stream, as in recording."""

    def record(self, step: Step, *tensors: Tensor) -> tuple[Callable[[], None], Tensor]:
        """Return a function that replays `step` on these same tensors, and the tensor of its result."""


class CudaRecorder:
    """Records on its own stream; all graphs share one pool of memory."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool: Any = torch.cuda.graph_pool_handle()

    def apart(self, step: Step, *tensors: Tensor) -> Tensor:
        """Take a step on the own stream, after all earlier work and before all later work of the default stream."""
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
    """A step that is replayed. It is recorded after `WARM` steps with the same shapes and learning rate.

    A recorded step always reads and writes the same tensors, changed in place: parameters, and the state of optimiser and method.
    Every task makes a new `GraphedStep`, because parameters may have been replaced.
    """

    def __init__(self, step: Step, rate: Callable[[], float], recorder: Recorder) -> None:
        """Start with nothing recorded.

        Args:
            step: from tensors to the loss; moves the parameters.
            rate: returns the learning rate, a plain number that a recording keeps.
            recorder: see `Recorder`.
        """
        self.step, self.rate, self.recorder = step, rate, recorder
        self._taken: dict[Any, int] = {}
        self._recorded: dict[Any, tuple[Callable[[], None], Tensor, tuple[Tensor, ...]]] = {}

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Take a step; return its loss as a new tensor."""
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
