"""Residence of a stream's data: on the device, in host memory, or in files. It changes speed and memory, no result."""

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


def with_residence(node: Mapping[str, Any], residence: str) -> dict[str, Any]:
    """Return a scenario's node whose data set is told to stay on disk or not, if it has the choice (a field `mapped`).

    Args:
        node: of the scenario.
        residence: as for `place_stream`; `auto` and `device` leave the choice to the data set.
    """
    dataset = node.get("dataset")
    if residence in ("auto", "device") or not isinstance(dataset, Mapping) or "mapped" in dataset:
        return dict(node)
    accepted, _ = parameters(locate(dataset.get("_target_"), "scenario.dataset"))
    return {**node, "dataset": {**dataset, "mapped": residence == "disk"}} if "mapped" in accepted else dict(node)


def place_stream(stream: Stream, device: torch.device, residence: str, share: float) -> Stream:
    """Return `stream` with labels, rows and views on `device`, and inputs where `residence` says.

    Args:
        stream: from its scenario, on the CPU.
        device: of the run.
        residence: `device`; `host`: host memory, samples stream to the device; `disk`: files mapped into memory, for data sets of
            such files; `auto`: the first of these three that all pools together fit into.
        share: of the free memory, on the device and on the host, that the pools may take under `auto`, in (0, 1].

    Raises:
        ConfigError: `disk` for data that is read into memory.
    """
    pools: dict[int, Pool] = {}
    for split in _splits(stream):
        pools.setdefault(id(split.pool), split.pool)
    if residence == "auto":
        residence = choose_residence(list(pools.values()), device, share)
    elif residence == "disk" and not all(pool.mapped for pool in pools.values()):
        raise ConfigError(
            "data.residence=disk, but this data is read into memory as a whole",
            "give data.residence=host, or bring the data as .npy files or as a folder of images (docs/data.md)",
        )
    moved = {key: _place_pool(pool, device, residence) for key, pool in pools.items()}

    def move(split: Split) -> Split:
        tasks = split.tasks if isinstance(split.tasks, int) else split.tasks.to(device)
        view = None if split.view is None else split.view.to(device)
        return Split(moved[id(split.pool)], split.rows.to(device), split.labels.to(device), tasks, view)

    tasks = [replace(t, train=move(t.train), valid=None if t.valid is None else move(t.valid)) for t in stream.tasks]
    columns = [replace(column, split=move(column.split)) for column in stream.evaluation]
    return replace(stream, tasks=tuple(tasks), evaluation=tuple(columns))


def choose_residence(pools: list[Pool], device: torch.device, share: float) -> str:
    """Return the fastest residence where the pools fit into `share` of the memory that is free now."""
    size = sum(pool.inputs.numel() * pool.inputs.element_size() for pool in pools)
    if device.type == "cuda" and size <= share * torch.cuda.mem_get_info(device)[0]:
        return "device"
    mapped = sum(pool.inputs.numel() * pool.inputs.element_size() for pool in pools if pool.mapped)
    available = available_memory()
    if mapped and available is not None and mapped > share * available:  # the others are in the host's memory already
        return "disk"
    return "host"


def _place_pool(pool: Pool, device: torch.device, residence: str) -> Pool:
    targets_moved = replace(replace(pool, inputs=pool.inputs[:0]).to(device), inputs=pool.inputs, mapped=pool.mapped)
    if residence == "disk":
        return targets_moved
    inputs = pool.inputs.clone(memory_format=torch.contiguous_format) if pool.mapped else pool.inputs
    return replace(targets_moved, inputs=inputs if residence == "host" else inputs.to(device), mapped=False)


def _splits(stream: Stream) -> list[Split]:
    tasks = [split for task in stream.tasks for split in (task.train, task.valid) if split is not None]
    return [*tasks, *(column.split for column in stream.evaluation)]
