"""The index memory behind replay: it holds which samples to keep, not copies, and reads only those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from clbench.data.pool import Split

if TYPE_CHECKING:
    from clbench.engine.learner import Batch, Learner

Policy = Literal["reservoir", "ring", "balanced"]


class Memory:
    """At most `size` training samples of the stream, named by (task, row of the pool).

    A sample replays as its task showed it (permuted, rotated, with that task's label). Draws come from a stream of
    random numbers of the memory's own and are made on the host, so that no step waits for the device.

    Which samples stay is the policy's part:
        `reservoir`: algorithm R (Vitter, ACM TOMS 1985): after n samples each is held with probability size / n.
        `ring`: every task has an equal share of the slots, in which its newest samples overwrite its oldest (GEM,
            Lopez-Paz & Ranzato, NeurIPS 2017, section 3: the last m examples of each task).
        `balanced`: as many samples of every (task, label) as fit; a sample of a class that is not yet full takes the
            place of a random one of the largest class (GDumb's greedy sampler, Prabhu et al., ECCV 2020, algorithm 1).
    """

    def __init__(self, learner: Learner, size: int, policy: Policy = "reservoir", name: str = "memory") -> None:
        """Start empty.

        Args:
            learner: whose stream is remembered.
            size: capacity in samples, at least 1.
            policy: which samples stay.
            name: of the random stream; two memories of one method need two names.
        """
        self.learner, self.size, self.policy = learner, size, policy
        self.rows = torch.zeros(size, dtype=torch.int64, device=learner.device)
        self.tasks = torch.zeros(size, dtype=torch.int64, device=learner.device)
        self.kept: dict[str, Tensor] = {}
        """What was stored beside the samples, by name: `[size, ...]`, one entry per slot."""
        self.seen = 0
        self._chooser = {"reservoir": Reservoir, "ring": Ring, "balanced": Balanced}[policy](self)
        self._name, self._draws = name, 0

    def __len__(self) -> int:
        return self._chooser.held

    # ---- writing ----------------------------------------------------------------------------------------------------
    def add(self, batch: Batch, **values: Tensor) -> None:
        """Offer the batch's own samples (replayed ones are passed over), in order.

        Args:
            batch: of any tasks.
            values: further values to keep beside each sample, `[own, ...]` each (logits at the time it was seen).
        """
        n = batch.own
        origin, slots = self._chooser.choose(n, batch)
        self.seen += n
        if len(slots) == 0:
            return
        into, origin = slots.to(self.rows.device), origin.to(self.rows.device)
        self.rows[into] = batch.rows.index_select(0, origin)
        self.tasks[into] = batch.task if batch.tasks is None else batch.tasks.index_select(0, origin)
        for name, value in values.items():
            if name not in self.kept:
                self.kept[name] = value.new_zeros(self.size, *value.shape[1:])
            self.kept[name][into] = value.index_select(0, origin)

    def replace(self, rows: Tensor, tasks: Tensor) -> None:
        """Hold exactly the samples named by `rows` and `tasks` (int64 `[n]`, n at most `size`): the method has chosen."""
        n = len(rows)
        if n > self.size:
            raise ValueError(f"{n} samples for a memory of {self.size}")
        self.rows[:n], self.tasks[:n] = rows, tasks
        self.seen = self._chooser.held = n

    # ---- reading ----------------------------------------------------------------------------------------------------
    def draw(self, n: int) -> Tensor:
        """Return the slots (int64) of `n` distinct samples drawn uniformly, of all if the memory holds no more."""
        held = len(self)
        generator = self._generator()
        chosen = torch.randperm(held, generator=generator)[:n] if held > n else torch.arange(held)
        return self._chooser.slots(chosen).to(self.rows.device)

    def sample(self, n: int, augment: bool = True) -> Batch:
        """Return `n` distinct samples drawn uniformly (all of them, if the memory holds no more)."""
        return self.read(self.draw(n), augment)

    def read(self, slots: Tensor, augment: bool = False) -> Batch:
        """Return the samples in `slots` (int64 `[B]`), preprocessed, labels as columns of the learner's joint logits."""
        split = self.learner.stream.gather(self.rows.index_select(0, slots), self.tasks.index_select(0, slots))
        positions = torch.arange(len(split), device=self.rows.device)
        generator = None
        if augment and self.learner.stream.preprocess.augments:
            generator = self._generator(self.rows.device)
        batch = self.learner.batch(split, positions, augment=generator)
        batch.own = 0
        return batch

    def slots(self) -> Tensor:
        """Return the slots that hold a sample, int64 `[len(self)]`."""
        return self._chooser.slots(torch.arange(len(self))).to(self.rows.device)

    def split(self, task: int | None = None, beside: Split | None = None) -> Split:
        """Return what is held as training data, mixed over tasks.

        Args:
            task: only its samples; None: all.
            beside: a split of one task whose samples come first (iCaRL learns a task together with the exemplars).
        """
        slots = self.slots()
        rows, tasks = self.rows.index_select(0, slots), self.tasks.index_select(0, slots)
        if task is not None:
            rows, tasks = rows[tasks == task], tasks[tasks == task]
        if beside is not None:
            assert isinstance(beside.tasks, int)
            rows = torch.cat([beside.rows, rows])
            tasks = torch.cat([torch.full_like(beside.rows, beside.tasks), tasks])
        return self.learner.stream.gather(rows, tasks)

    # ---- randomness, bytes, state -----------------------------------------------------------------------------------
    def _generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        self._draws += 1
        return self.learner.generator(self._name, self._draws, device=device)

    @property
    def samples(self) -> set[tuple[int, int]]:
        """The distinct (task, row) held."""
        slots = self.slots()
        return set(zip(self.tasks[slots].tolist(), self.rows[slots].tolist(), strict=True))

    @property
    def bytes(self) -> int:
        """Distinct samples times the size of a stored sample: indices alone would hide what replay keeps of the data."""
        return len(self.samples) * self.learner.stream.tasks[0].train.pool.sample_bytes

    def state(self) -> dict[str, Any]:
        """Return what is held, and the position in the random stream."""
        own = {"rows": self.rows, "tasks": self.tasks, "seen": self.seen, "draws": self._draws, "chooser": self._chooser.state()}
        return own | ({"kept": self.kept} if self.kept else {})

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.rows = state["rows"].to(self.rows.device)
        self.tasks = state["tasks"].to(self.tasks.device)
        self.seen, self._draws = state["seen"], state["draws"]
        self.kept = {name: value.to(self.rows.device) for name, value in state.get("kept", {}).items()}
        self._chooser.load_state(state["chooser"])


class Reservoir:
    """Algorithm R, for a whole batch at a time."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.held = memory, 0

    def choose(self, n: int, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return which of `n` new samples are kept, and in which slots: int64 `[k]` each, on the host, slots distinct."""
        memory = self.memory
        order = memory.seen + torch.arange(n)
        counts = (order + 1).to(torch.float64)
        drawn = (torch.rand(n, dtype=torch.float64, generator=memory._generator()) * counts).long()
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

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.share = memory.size // len(memory.learner.stream)
        if self.share < 1:
            raise ValueError(f"a ring of {memory.size} samples has no slot for each of {len(memory.learner.stream)} tasks")
        self.offered = [0] * len(memory.learner.stream)

    def choose(self, n: int, batch: Batch) -> tuple[Tensor, Tensor]:
        """As `Reservoir.choose`; the batch is of one task."""
        task, share = batch.task, self.share
        slots = task * share + (self.offered[task] + torch.arange(n)) % share
        self.offered[task] += n
        self.held = sum(min(count, share) for count in self.offered)
        return last_of_each(torch.arange(n), slots)

    def slots(self, positions: Tensor) -> Tensor:
        """As `Reservoir.slots`."""
        filled = [t * self.share + torch.arange(min(count, self.share)) for t, count in enumerate(self.offered)]
        return torch.cat(filled)[positions]

    def state(self) -> dict[str, Any]:
        """Return what to keep in a checkpoint."""
        return {"held": self.held, "offered": self.offered}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.held, self.offered = state["held"], list(state["offered"])


class Balanced(Reservoir):
    """As many of every (task, label) as fit; the largest class gives way."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.owners: list[int] = []
        """The class, numbered as met, of the sample in each slot."""
        self.classes: dict[tuple[int, int], int] = {}

    def choose(self, n: int, batch: Batch) -> tuple[Tensor, Tensor]:
        """As `Reservoir.choose`. Labels are read on the host: a method that offers every batch waits for the device."""
        memory, generator = self.memory, self.memory._generator()
        labels = batch.labels[:n].tolist()
        tasks = [batch.task] * n if batch.tasks is None else batch.tasks[:n].tolist()
        draws = torch.rand(n, dtype=torch.float64, generator=generator).tolist()
        members: list[list[int]] = [[] for _ in self.classes]
        for slot, owner in enumerate(self.owners):
            members[owner].append(slot)
        kept: dict[int, int] = {}
        for i in range(n):
            owner = self.classes.setdefault((tasks[i], labels[i]), len(self.classes))
            if owner == len(members):
                members.append([])
            if len(self.owners) < memory.size:
                slot = len(self.owners)
                self.owners.append(owner)
            else:
                if len(members[owner]) >= memory.size // len(members):
                    continue
                largest = max(range(len(members)), key=lambda c: len(members[c]))
                place = int(draws[i] * len(members[largest]))
                slot = members[largest].pop(place)
                self.owners[slot] = owner
            members[owner].append(slot)
            kept[slot] = i
        self.held = len(self.owners)
        return torch.tensor(list(kept.values()), dtype=torch.int64), torch.tensor(list(kept), dtype=torch.int64)

    def state(self) -> dict[str, Any]:
        """Return what to keep in a checkpoint."""
        classes = [[task, label, number] for (task, label), number in self.classes.items()]
        return {"held": self.held, "owners": self.owners, "classes": classes}

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
