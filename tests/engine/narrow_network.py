"""Trains a narrow convolutional network for some steps; a process that damages its memory dies or hangs.

    python -m tests.engine.narrow_network [compile]

`tests/engine/learner/test_memory_format.py` runs it with oneDNN held to AVX2 and with malloc's checks.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.engine.training.loop import Training
from clbench.methods.naive import Naive
from clbench.models.classifier import Classifier
from tests.streams import Blobs, blob_stream, trainer


class Narrow(nn.Module):
    """A user's network with a strided 1x1 convolution of 4 input channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.shortcut = nn.Conv2d(4, 8, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(self.stem(x).relu()).relu().mean((2, 3))


def main(compiled: bool) -> None:
    torch.set_num_threads(1)
    stream = blob_stream("class", dataset=Blobs(shape=(3, 32, 32), per_class=64))
    sizes = [sum(stream.head_sizes)]
    learner = Learner(stream, lambda: Classifier(Narrow(), sizes, (3, 32, 32)), SGD(0.05), torch.device("cpu"), 0)
    training = Training(learner, Naive(), trainer(epochs=5))
    if compiled:
        training.accelerate("default", False, print)
    for task in stream.tasks:
        training.learn(task)
    print("finite" if all(bool(p.isfinite().all()) for p in learner.model.parameters()) else "not finite")


if __name__ == "__main__":
    main("compile" in sys.argv)
