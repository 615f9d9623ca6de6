"""From a stream to a federated one: each task's training samples dealt out to clients."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import torch

from clbench.federated.options import Federated
from clbench.stream import Stream
from clbench.utils import rng


def divide(stream: Stream, federated: Federated, seed: int) -> Stream:
    """Return the stream with an owner for every training sample, drawn within each task from (seed, "clients", task).

    Its fingerprint covers who owns what.

    Raises:
        ConfigError: a task cannot be dealt out like that.
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


def dealt(stream: Stream) -> dict[str, Any]:
    """Return what a record says of who owns what: under `partition`, by task and client, counts of the task's labels as text.

    `"12 0 3"`: twelve samples with the first label, none with the second. A text for each client keeps records small. Nothing
    for a stream that is not federated.
    """
    if stream.tasks[0].clients is None:
        return {}
    found = []
    for task in stream.tasks:
        labels, width = task.train.labels.cpu(), len(task.classes)
        counts = [torch.bincount(labels[positions], minlength=width).tolist() for positions in task.clients or ()]
        found.append([" ".join(map(str, each)) for each in counts])
    return {"partition": found}
