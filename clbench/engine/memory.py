"""The index memory behind replay: it holds which samples to keep, not copies, and reads only those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from clbench.engine.learner import Batch, Learner

Policy = Literal["reservoir"]


class Memory:
    """At most `size` training samples of the stream, named by (task, row of the pool).

    A sample replays as its task showed it (permuted, rotated, with that task's label). Draws come from a stream of
    random numbers of the memory's own and are made on the host, so that no step waits for the device.

    `reservoir`: algorithm R (Vitter, ACM TOMS 1985): after n samples each is held with probability size / n.
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
        self.seen = 0
        self._name, self._draws = name, 0

    def __len__(self) -> int:
        return min(self.seen, self.size)

    def add(self, batch: Batch) -> None:
        """Offer the batch's own samples (replayed ones are passed over), in order."""
        n = batch.own
        slots = self._slots(n)
        chosen = {slot: i for i, slot in enumerate(slots) if slot < self.size}  # of several for one slot the last wins
        self.seen += n
        if not chosen:
            return
        into = torch.tensor(list(chosen), device=self.rows.device)
        origin = torch.tensor(list(chosen.values()), device=self.rows.device)
        self.rows[into] = batch.rows.index_select(0, origin)
        if batch.tasks is None:
            self.tasks[into] = batch.task
        else:
            self.tasks[into] = batch.tasks.index_select(0, origin)

    def sample(self, n: int, augment: bool = True) -> Batch:
        """Return `n` distinct samples drawn uniformly (all of them, if the memory holds no more)."""
        held = len(self)
        generator = self._generator()
        chosen = torch.randperm(held, generator=generator)[:n] if held > n else torch.arange(held)
        return self.read(chosen.to(self.rows.device), augment)

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

    def _slots(self, n: int) -> list[int]:
        """Return the slot each of `n` new samples would take; a slot >= size means it is not kept."""
        counts = torch.arange(self.seen + 1, self.seen + n + 1, dtype=torch.float64)
        draws = (torch.rand(n, dtype=torch.float64, generator=self._generator()) * counts).long().tolist()
        return [self.seen + i if self.seen + i < self.size else draws[i] for i in range(n)]

    def _generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        self._draws += 1
        return self.learner.generator(self._name, self._draws, device=device)

    @property
    def samples(self) -> set[tuple[int, int]]:
        """The distinct (task, row) held."""
        n = len(self)
        return set(zip(self.tasks[:n].tolist(), self.rows[:n].tolist(), strict=True))

    @property
    def bytes(self) -> int:
        """Distinct samples times the size of a stored sample: indices alone would hide what replay keeps of the data."""
        return len(self.samples) * self.learner.stream.tasks[0].train.pool.sample_bytes

    def state(self) -> dict[str, Any]:
        """Return what is held, and the position in the random stream."""
        return {"rows": self.rows, "tasks": self.tasks, "seen": self.seen, "draws": self._draws}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.rows = state["rows"].to(self.rows.device)
        self.tasks = state["tasks"].to(self.tasks.device)
        self.seen, self._draws = state["seen"], state["draws"]
