"""Where the data of a stream is kept: on the device, in host memory, or in files. It changes speed and memory, no result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from clbench.data.pool import Pool, Split
from clbench.errors import ConfigError
from clbench.instantiate import locate, parameters
from clbench.stream import Stream
from clbench.utils.system import available_memory


def declare(node: Mapping[str, Any], residence: str) -> dict[str, Any]:
    """Return a scenario's node whose data set knows that it is to stay on disk, or not, where it has the choice.

    Args:
        node: of the scenario.
        residence: as for `place`; `auto` and `device` leave it to the data set.
    """
    dataset = node.get("dataset")
    if residence in ("auto", "device") or not isinstance(dataset, Mapping) or "mapped" in dataset:
        return dict(node)
    accepted, _ = parameters(locate(dataset.get("_target_"), "scenario.dataset"))
    return {**node, "dataset": {**dataset, "mapped": residence == "disk"}} if "mapped" in accepted else dict(node)


def place(stream: Stream, device: torch.device, residence: str, share: float) -> Stream:
    """Return `stream` with labels, rows and views on `device`, and inputs where `residence` says.

    Args:
        stream: as its scenario made it, on the CPU.
        device: of the trial.
        residence: `device`; `host` (memory of the host; samples stream to the device); `disk` (files mapped into memory: of
            data sets that come as such); `auto`: the first of these where all pools together fit.
        share: of the free memory, on the device and on the host, that `auto` lets the pools take, in (0, 1].

    Raises:
        ConfigError: `disk` for data that was read into memory.
    """
    pools: dict[int, Pool] = {}
    for split in _splits(stream):
        pools.setdefault(id(split.pool), split.pool)
    if residence == "auto":
        residence = choose(list(pools.values()), device, share)
    elif residence == "disk" and not all(pool.mapped for pool in pools.values()):
        raise ConfigError(
            "data.residence=disk, but this data is read into memory as a whole",
            "give data.residence=host, or bring the data as .npy files or as a folder of images (docs/data.md)",
        )
    moved = {key: _placed(pool, device, residence) for key, pool in pools.items()}

    def move(split: Split) -> Split:
        tasks = split.tasks if isinstance(split.tasks, int) else split.tasks.to(device)
        view = None if split.view is None else split.view.to(device)
        return Split(moved[id(split.pool)], split.rows.to(device), split.labels.to(device), tasks, view)

    tasks = [replace(t, train=move(t.train), valid=None if t.valid is None else move(t.valid)) for t in stream.tasks]
    columns = [replace(column, split=move(column.split)) for column in stream.evaluation]
    return replace(stream, tasks=tuple(tasks), evaluation=tuple(columns))


def choose(pools: list[Pool], device: torch.device, share: float) -> str:
    """Return where pools go that may go anywhere: the fastest place where they fit into `share` of what is free now."""
    size = sum(pool.inputs.numel() * pool.inputs.element_size() for pool in pools)
    if device.type == "cuda" and size <= share * torch.cuda.mem_get_info(device)[0]:
        return "device"
    mapped = sum(pool.inputs.numel() * pool.inputs.element_size() for pool in pools if pool.mapped)
    available = available_memory()
    if mapped and available is not None and mapped > share * available:  # the others are in the host's memory already
        return "disk"
    return "host"


def _placed(pool: Pool, device: torch.device, residence: str) -> Pool:
    beside = replace(replace(pool, inputs=pool.inputs[:0]).to(device), inputs=pool.inputs, mapped=pool.mapped)
    if residence == "disk":
        return beside
    inputs = pool.inputs.clone(memory_format=torch.contiguous_format) if pool.mapped else pool.inputs
    return replace(beside, inputs=inputs if residence == "host" else inputs.to(device), mapped=False)


def _splits(stream: Stream) -> list[Split]:
    tasks = [split for task in stream.tasks for split in (task.train, task.valid) if split is not None]
    return [*tasks, *(column.split for column in stream.evaluation)]
