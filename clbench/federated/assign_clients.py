"""A federated stream from a stream: every training sample of a task gets a client."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import torch

from clbench.federated.options import Federated
from clbench.stream import Stream
from clbench.utils import rng


def divide(stream: Stream, federated: Federated, seed: int) -> Stream:
    """Return the stream with a client for every training sample, drawn within each task from (seed, "clients", task).

    The fingerprint of the new stream covers this assignment.

    Raises:
        ConfigError: the partition cannot divide a task among so many clients.
    """
    digest = hashlib.sha256(stream.fingerprint.encode())
    tasks = []
    for task in stream.tasks:
        draws = rng.generator(seed, "clients", task.index)
        owned = federated.partition.positions(task.train.labels.cpu(), federated.clients, federated.min_samples, draws)
        for positions in owned:
            digest.update(b"|" + positions.numpy().tobytes())
        tasks.append(replace(task, clients=tuple(owned)))
    return replace(stream, tasks=tuple(tasks), fingerprint=digest.hexdigest())


def partition_counts(stream: Stream) -> dict[str, Any]:
    """Return a record's entry `partition`: for each task and client the counts of the task's labels, as text.

    `"12 0 3"` means twelve samples with the first label and none with the second. One text per client keeps records small. An
    empty dictionary for a stream that is not federated.
    """
    if stream.tasks[0].clients is None:
        return {}
    found = []
    for task in stream.tasks:
        labels, width = task.train.labels.cpu(), len(task.classes)
        counts = [torch.bincount(labels[positions], minlength=width).tolist() for positions in task.clients or ()]
        found.append([" ".join(map(str, each)) for each in counts])
    return {"partition": found}
