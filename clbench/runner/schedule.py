"""The order of a sweep: what waits, what runs where, and what becomes of a run that was out of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clbench.run_spec import RunSpec
from clbench.runner.admission import Load, Place, admit
from clbench.runner.device_memory import CPU, Needs


@dataclass
class Run:
    """A run that waits or runs.

    Args:
        spec: it.
        beside: how many others it bears on its device; None: any number.
        crowd: the most others that were on its device while it ran.
    """

    spec: RunSpec
    beside: int | None = None
    crowd: int = 0


class Schedule:
    """Gives runs to slots, and takes back those that need another try."""

    def __init__(
        self,
        specs: Sequence[RunSpec],
        slots: Sequence[Mapping[str, str]],
        needs: Needs | None = None,
        budgets: Mapping[str, int] | None = None,
    ) -> None:
        """Start with everything waiting.

        Args:
            specs: in the order in which they are given out.
            slots: environment variables of each worker; CUDA_VISIBLE_DEVICES names its device.
            needs: what runs need; None: nothing is known, and only slots are counted.
            budgets: bytes per device.
        """
        self._waiting = [Run(spec) for spec in specs]
        self._places = [slot.get("CUDA_VISIBLE_DEVICES", CPU) for slot in slots]
        self._running: dict[int, Run] = {}
        self._needs, self._budgets = needs, budgets or {}

    def __len__(self) -> int:
        """Return how many runs wait."""
        return len(self._waiting)

    def start(self) -> list[tuple[int, RunSpec]]:
        """Return (slot, run) of the runs that may start now; from now on they run."""
        free = [slot for slot in range(len(self._places)) if slot not in self._running]
        if not free or not self._waiting:
            return []
        places = {
            name: Place(
                self._budgets.get(name),
                sum(self._places[slot] == name for slot in free),
                tuple(self._load(run) for slot, run in self._running.items() if self._places[slot] == name),
            )
            for name in dict.fromkeys(self._places)
        }
        given = admit([self._load(run) for run in self._waiting], places)
        started = []
        for index, name in given:
            slot = next(slot for slot in free if self._places[slot] == name)
            free.remove(slot)
            run = self._waiting[index]
            run.crowd = 0
            self._running[slot] = run
            started.append((slot, run.spec))
        gone = {index for index, _ in given}
        self._waiting = [run for index, run in enumerate(self._waiting) if index not in gone]
        for slot, run in self._running.items():
            run.crowd = max(run.crowd, self._others(slot))
        return started

    def end(self, slot: int, peak: int | None = None) -> None:
        """Take note that the run in `slot` has ended for good, having needed `peak` bytes."""
        run = self._running.pop(slot)
        if self._needs is not None and peak is not None:
            self._needs.learn(run.spec, peak)

    def again(self, slot: int) -> int | None:
        """Let the run in `slot`, which was out of memory, wait for another try with at most half as many others beside it.

        Returns:
            How many; None if it had its device to itself: then there is no other try, and it has ended.
        """
        run = self._running.pop(slot)
        if run.crowd == 0:
            return None
        run.beside = run.crowd // 2
        if self._needs is not None:
            self._needs.raise_for(run.spec)
        self._waiting.append(run)  # last: it holds up nobody, and nothing that comes after it can pass it for ever
        return run.beside

    def _others(self, slot: int) -> int:
        return sum(self._places[other] == self._places[slot] for other in self._running) - 1

    def _load(self, run: Run) -> Load:
        return Load(self._needs.of(run.spec) if self._needs is not None else 0, run.beside)
