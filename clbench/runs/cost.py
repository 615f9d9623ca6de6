"""The cost of a run: seconds, samples per second, memory. Accumulates over resumes."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from clbench.engine.learner.learner import Learner


class Cost:
    """A clock for training and evaluation; the time of training excludes evaluation within a task."""

    def __init__(self, device: torch.device) -> None:
        """Start at zero."""
        self.device = device
        self.train_seconds = self.eval_seconds = 0.0
        self.resumed = 0
        self.inference_ms: list[float] = []
        """Milliseconds per sample of each evaluation, for runs that are not stacked: shows whether prediction becomes slower."""
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def training(self, sharers: int = 1) -> Iterator[None]:
        """Count the time inside as training; each of several runs side by side gets its share."""
        start, evaluated = self._now(), self.eval_seconds
        yield
        self.train_seconds += (self._now() - start) / sharers - (self.eval_seconds - evaluated)

    @contextmanager
    def evaluation(self, sharers: int = 1) -> Iterator[None]:
        """Count the time inside as evaluation, shared in the same way."""
        start = self._now()
        yield
        self.eval_seconds += (self._now() - start) / sharers

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def state(self) -> dict[str, Any]:
        """Return the values for a checkpoint."""
        seconds = {"train_seconds": self.train_seconds, "eval_seconds": self.eval_seconds}
        return {**seconds, "resumed": self.resumed, "inference_ms": self.inference_ms}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.train_seconds, self.eval_seconds = state["train_seconds"], state["eval_seconds"]
        self.resumed = state["resumed"] + 1
        self.inference_ms = list(state.get("inference_ms", []))

    def report(self, learner: Learner, done: dict[str, int]) -> dict[str, Any]:
        """Return the record's cost part; peak memory is the device's on CUDA, else the process's.

        Args:
            learner: has the model.
            done: the counts of `Training.report`.
        """
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device)
        else:
            unit = 1 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return {
            "seconds": self.train_seconds + self.eval_seconds,
            "train_seconds": self.train_seconds,
            "eval_seconds": self.eval_seconds,
            "samples": done["samples"],
            "samples_per_second": done["samples"] / self.train_seconds if self.train_seconds > 0 else None,
            "peak_memory_bytes": peak,
            "method_state_bytes": done["method_state_bytes"],
            "parameters": sum(parameter.numel() for parameter in learner.model.parameters()),
            "flops": None,
            "bytes_sent": done["bytes_sent"],
            "inference_ms": self.inference_ms,
        }
