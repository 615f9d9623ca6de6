"""The index memory of replay: it stores the names of samples, not copies, and reads only these samples."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from clbench.data.pool import Split
from clbench.engine.learner.batch import Batch
from clbench.engine.replay.policies import Balanced, Reservoir, Ring
from clbench.stream import Stream

Policy = Literal["reservoir", "ring", "balanced"]


class Owner(Protocol):
    """The learner, as a memory uses it."""

    stream: Stream
    device: torch.device

    def generator(self, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a generator of the run for one purpose."""

    def batch(
        self, split: Split, positions: Tensor, epoch: int = 0, augment: torch.Generator | None = None, raw: Tensor | None = None
    ) -> Batch:
        """Return the samples of `split` at `positions`, preprocessed."""


class Memory:
    """At most `size` training samples of the stream, named by (task, row of the pool).

    A sample replays as in its task (permuted, rotated, with that task's label). The memory draws from its own random numbers,
    on the host, so that no step waits for the device.

    The policy decides which samples stay (`engine.replay.policies`):
        `reservoir`: algorithm R (Vitter, ACM TOMS 1985): after n samples each is stored with probability size / n.
        `ring`: every task has an equal share of the slots, in which its newest samples overwrite its oldest (GEM,
            Lopez-Paz & Ranzato, NeurIPS 2017, section 3: the last m examples of each task).
        `balanced`: as many samples of every (task, label) as fit; a sample of a class that is not yet full takes the
            place of a random one of the largest class (GDumb, Prabhu et al., ECCV 2020, algorithm 1).
    """

    def __init__(self, learner: Owner, size: int, policy: Policy = "reservoir", name: str = "memory") -> None:
        """Start empty.

        Args:
            learner: whose stream is remembered.
            size: capacity in samples, at least 1.
            policy: which samples stay.
            name: of the random stream; two memories of one method need two names.
        """
        self.learner, self.stream, self.size, self.policy = learner, learner.stream, size, policy
        self.rows = torch.zeros(size, dtype=torch.int64, device=learner.device)
        self.tasks = torch.zeros(size, dtype=torch.int64, device=learner.device)
        self.kept: dict[str, Tensor] = {}
        """Values stored with the samples, by name: `[size, ...]`, one entry per slot."""
        self.seen = 0
        self._chooser: Reservoir = {"reservoir": Reservoir, "ring": Ring, "balanced": Balanced}[policy](self)
        self._name, self._draws = name, 0

    def __len__(self) -> int:
        return self._chooser.held

    # ---- writing ----------------------------------------------------------------------------------------------------
    def add(self, batch: Batch, **values: Tensor) -> None:
        """Offer the batch's own samples, without the replayed ones, in order.

        Args:
            batch: of any tasks.
            values: further values to store with each sample, `[own, ...]` each (for example its current logits).
        """
        n = batch.own
        self.offer(batch.rows[:n], batch.task if batch.tasks is None else batch.tasks[:n], **values)

    def offer(self, rows: Tensor, tasks: int | Tensor, **values: Tensor) -> None:
        """Offer samples by name, in order; their inputs are not touched.

        Args:
            rows: int64 `[n]`, rows of the pool.
            tasks: the task of all of them, or int64 `[n]`.
            values: further values to store with each sample, `[n, ...]` each; the same names at every call.
        """
        origin, slots = self._chooser.choose(rows, tasks)
        self.seen += len(rows)
        if len(slots) > 0:
            self._write(slots, origin.to(rows.device), rows, tasks, values)

    def replace(self, rows: Tensor, tasks: int | Tensor, **values: Tensor) -> None:
        """Store exactly these samples (as `offer` takes them, n at most `size`), in this order: the method has chosen.

        Raises:
            ValueError: more samples than slots, or a policy that assigns slots.
        """
        n = len(rows)
        if n > self.size:
            raise ValueError(f"{n} samples for a memory of {self.size}")
        if self.policy != "reservoir":
            raise ValueError(f"a {self.policy} memory chooses by itself; only a reservoir's contents can be replaced")
        self.kept = {}
        every = torch.arange(n)
        self._write(every, every.to(rows.device), rows, tasks, values)
        self.seen = self._chooser.held = n

    def _write(self, slots: Tensor, origin: Tensor, rows: Tensor, tasks: int | Tensor, values: dict[str, Tensor]) -> None:
        """Put the offered samples at positions `origin` into `slots`."""
        into = slots.to(self.rows.device)
        self.rows[into] = rows.index_select(0, origin)
        self.tasks[into] = tasks if isinstance(tasks, int) else tasks.index_select(0, origin)
        for name, value in values.items():
            if name not in self.kept:
                self.kept[name] = value.new_zeros(self.size, *value.shape[1:])
            self.kept[name][into] = value.index_select(0, origin)

    # ---- reading ----------------------------------------------------------------------------------------------------
    def draw(self, n: int) -> Tensor:
        """Return the slots (int64) of `n` distinct samples drawn uniformly, of all if the memory holds no more."""
        held = len(self)
        generator = self.generator()
        chosen = torch.randperm(held, generator=generator)[:n] if held > n else torch.arange(held)
        return self._chooser.slots(chosen).to(self.rows.device)

    def sample(self, n: int, augment: bool = True) -> Batch:
        """Return `n` distinct samples drawn uniformly (all of them, if the memory holds no more)."""
        return self.read(self.draw(n), augment)

    def read(self, slots: Tensor, augment: bool = False) -> Batch:
        """Return the samples in `slots` (int64 `[B]`), preprocessed, labels as columns of the learner's joint logits."""
        split = self.stream.gather(self.rows.index_select(0, slots), self.tasks.index_select(0, slots))
        positions = torch.arange(len(split), device=self.rows.device)
        generator = None
        if augment and self.stream.preprocess.augments:
            generator = self.generator(self.rows.device)
        batch = self.learner.batch(split, positions, augment=generator)
        batch.own = 0
        return batch

    def slots(self) -> Tensor:
        """Return the used slots, int64 `[len(self)]`."""
        return self._chooser.slots(torch.arange(len(self))).to(self.rows.device)

    def split(self, task: int | None = None, beside: Split | None = None) -> Split:
        """Return the stored samples as training data, mixed over tasks.

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
        return self.stream.gather(rows, tasks)

    # ---- randomness, bytes, state -----------------------------------------------------------------------------------
    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """Return the memory's next generator: every draw has its own."""
        self._draws += 1
        return self.learner.generator(self._name, self._draws, device=device)

    @property
    def samples(self) -> set[tuple[int, int]]:
        """The distinct stored (task, row)."""
        slots = self.slots()
        return set(zip(self.tasks[slots].tolist(), self.rows[slots].tolist(), strict=True))

    @property
    def bytes(self) -> int:
        """Distinct samples times the size of a sample: the size of the indices alone would hide the stored data."""
        return len(self.samples) * self.stream.tasks[0].train.pool.sample_bytes

    def state(self) -> dict[str, Any]:
        """Return the stored samples, and the position in the random stream."""
        own = {"rows": self.rows, "tasks": self.tasks, "seen": self.seen, "draws": self._draws, "chooser": self._chooser.state()}
        return own | ({"kept": self.kept} if self.kept else {})

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.rows = state["rows"].to(self.rows.device)
        self.tasks = state["tasks"].to(self.tasks.device)
        self.seen, self._draws = state["seen"], state["draws"]
        self.kept = {name: value.to(self.rows.device) for name, value in state.get("kept", {}).items()}
        self._chooser.load_state(state["chooser"])
