"""Policies of a memory: which samples of a stream stay (reservoir, ring, balanced)."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from clbench.errors import ConfigError
from clbench.stream import Stream


class Slots(Protocol):
    """The memory, as a policy uses it: `size` slots, and how many samples were offered so far."""

    stream: Stream
    size: int
    seen: int

    def generator(self) -> torch.Generator:
        """Return the memory's next generator."""


class Reservoir:
    """Algorithm R (Vitter, ACM TOMS 1985), for many samples at a time."""

    def __init__(self, memory: Slots) -> None:
        self.memory, self.held = memory, 0

    def choose(self, rows: Tensor, tasks: int | Tensor) -> tuple[Tensor, Tensor]:
        """Decide about new samples.

        Args:
            rows: int64 `[n]`, rows of the pool, in the order of the offers.
            tasks: of all of them, or int64 `[n]`.

        Returns:
            Positions of the stored samples among the n, and their slots: int64 `[k]` each, on the host, slots distinct.
        """
        memory, n = self.memory, len(rows)
        order = memory.seen + torch.arange(n)
        counts = (order + 1).to(torch.float64)
        drawn = (torch.rand(n, dtype=torch.float64, generator=memory.generator()) * counts).long()
        slots = torch.where(order < memory.size, order, drawn)
        self.held = min(memory.seen + n, memory.size)
        origin = torch.nonzero(slots < memory.size).squeeze(1)
        return last_of_each(origin, slots[origin])

    def slots(self, positions: Tensor) -> Tensor:
        """Return the slots of the samples at `positions` (0 to held - 1)."""
        return positions

    def state(self) -> dict[str, Any]:
        """Return what to keep in a checkpoint."""
        return {"held": self.held}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.held = state["held"]


class Ring(Reservoir):
    """An equal share of the slots for every task; within it the newest samples."""

    def __init__(self, memory: Slots) -> None:
        super().__init__(memory)
        tasks = len(memory.stream)
        self.share = memory.size // tasks
        if self.share < 1:
            raise ConfigError(
                f"method.buffer_size={memory.size} leaves a ring without a slot for each of {tasks} tasks",
                f"give method.buffer_size={tasks} or more, or another policy",
            )
        self.offered = [0] * tasks
        self._filled = torch.zeros(0, dtype=torch.int64)

    def choose(self, rows: Tensor, tasks: int | Tensor) -> tuple[Tensor, Tensor]:
        """As `Reservoir.choose`. If `tasks` is an int, nothing is read from the device."""
        n, share = len(rows), self.share
        if isinstance(tasks, int):
            parts = [(tasks, torch.arange(n))]
        else:
            owners = tasks.cpu()
            parts = [(task, torch.nonzero(owners == task).squeeze(1)) for task in sorted(set(owners.tolist()))]
        slots = torch.empty(n, dtype=torch.int64)
        for task, positions in parts:
            before = self.offered[task]
            slots[positions] = task * share + (before + torch.arange(len(positions))) % share
            self.offered[task] += len(positions)
            self.held += min(self.offered[task], share) - min(before, share)
        return last_of_each(torch.arange(n), slots)

    def slots(self, positions: Tensor) -> Tensor:
        """As `Reservoir.slots`."""
        if len(self._filled) != self.held:  # a step draws far more often than slots are filled
            tasks = torch.tensor(self.offered).unsqueeze(1)
            self._filled = torch.nonzero((torch.arange(self.share) < tasks).flatten()).squeeze(1)
        return self._filled[positions]

    def state(self) -> dict[str, Any]:
        """Return what to keep in a checkpoint."""
        return {"held": self.held, "offered": list(self.offered)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.held, self.offered = state["held"], list(state["offered"])
        self._filled = torch.zeros(0, dtype=torch.int64)


class Balanced(Reservoir):
    """Algorithm 1 of GDumb (Prabhu et al., ECCV 2020): the largest class gives way.

    A sample is taken while there is room, or while its class holds fewer than size / (classes so far) samples; in a full
    memory it takes the place of a random sample of the largest class. A class is a (task, label).
    """

    def __init__(self, memory: Slots) -> None:
        super().__init__(memory)
        self.owners: list[int] = []
        """The class of the sample in each slot, numbered in order of appearance."""
        self.classes: dict[tuple[int, int], int] = {}

    def choose(self, rows: Tensor, tasks: int | Tensor) -> tuple[Tensor, Tensor]:
        """As `Reservoir.choose`. Labels are read on the host: a method that offers every batch waits for the device."""
        memory, n = self.memory, len(rows)
        draws = torch.rand(n, dtype=torch.float64, generator=memory.generator()).tolist()
        tasks = torch.full_like(rows, tasks) if isinstance(tasks, int) else tasks
        labels = memory.stream.gather(rows, tasks).labels
        keys = zip(tasks.tolist(), labels.tolist(), strict=True)
        members: list[list[int]] = [[] for _ in self.classes]
        for slot, owner in enumerate(self.owners):
            members[owner].append(slot)
        kept: dict[int, int] = {}
        for i, key in enumerate(keys):
            owner = self.classes.setdefault(key, len(self.classes))
            if owner == len(members):
                members.append([])
            if len(self.owners) < memory.size:
                slot = len(self.owners)
                self.owners.append(owner)
            else:
                if len(members[owner]) * len(members) >= memory.size:
                    continue
                largest = max(range(len(members)), key=lambda c: len(members[c]))
                slot = members[largest].pop(int(draws[i] * len(members[largest])))
                self.owners[slot] = owner
            members[owner].append(slot)
            kept[slot] = i
        self.held = len(self.owners)
        return torch.tensor(list(kept.values()), dtype=torch.int64), torch.tensor(list(kept), dtype=torch.int64)

    def state(self) -> dict[str, Any]:
        """Return what to keep in a checkpoint."""
        classes = [[task, label, number] for (task, label), number in self.classes.items()]
        return {"held": self.held, "owners": list(self.owners), "classes": classes}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.held, self.owners = state["held"], list(state["owners"])
        self.classes = {(task, label): number for task, label, number in state["classes"]}


def last_of_each(origin: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Return `origin` and `slots` (int64 `[k]` each) without the samples whose slot a later one takes."""
    order = torch.argsort(slots, stable=True)
    ordered = slots[order]
    last = torch.ones(len(ordered), dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    chosen = order[last]
    return origin[chosen], slots[chosen]
