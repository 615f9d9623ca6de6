"""The order of a sweep: which runs wait, which run is where, and which are tried again after they were out of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clbench.run_spec import RunSpec
from clbench.runner.admission import Device, Load, admit
from clbench.runner.device_memory import CPU, Needs


@dataclass
class ScheduledRun:
    """A waiting or active run.

    Args:
        spec: the run.
        max_others: how many other runs may share its device; None: any number.
        most_others: the largest number of other runs on its device in its present try.
    """

    spec: RunSpec
    max_others: int | None = None
    most_others: int = 0


class Schedule:
    """Assigns runs to slots, and takes runs back that need another try."""

    def __init__(
        self,
        specs: Sequence[RunSpec],
        slots: Sequence[Mapping[str, str]],
        needs: Needs | None = None,
        budgets: Mapping[str, int] | None = None,
    ) -> None:
        """Let all runs wait.

        Args:
            specs: in the order of their start.
            slots: environment variables of each worker.
            needs: memory needs of the runs; None: unknown, only slots are counted.
            budgets: bytes per device.
        """
        self._waiting = [ScheduledRun(spec) for spec in specs]
        self._devices = [slot.get("CUDA_VISIBLE_DEVICES", CPU) for slot in slots]
        self._running: dict[int, ScheduledRun] = {}
        self._needs, self._budgets = needs, budgets or {}

    def __len__(self) -> int:
        """Return the number of waiting runs."""
        return len(self._waiting)

    def start(self) -> list[tuple[int, RunSpec]]:
        """Return (slot, run) of the runs that may start now, and count them as running."""
        free = [slot for slot in range(len(self._devices)) if slot not in self._running]
        if not free or not self._waiting:
            return []
        devices = {
            name: Device(
                self._budgets.get(name),
                sum(self._devices[slot] == name for slot in free),
                tuple(self._load(run) for slot, run in self._running.items() if self._devices[slot] == name),
            )
            for name in dict.fromkeys(self._devices)
        }
        admitted = admit([self._load(run) for run in self._waiting], devices)
        started = []
        for index, name in admitted:
            slot = next(slot for slot in free if self._devices[slot] == name)
            free.remove(slot)
            run = self._waiting[index]
            run.most_others = 0
            self._running[slot] = run
            started.append((slot, run.spec))
        gone = {index for index, _ in admitted}
        self._waiting = [run for index, run in enumerate(self._waiting) if index not in gone]
        for slot, run in self._running.items():
            run.most_others = max(run.most_others, self._others(slot))
        return started

    def drop(self) -> list[RunSpec]:
        """Remove all waiting runs, and return them."""
        dropped, self._waiting = [run.spec for run in self._waiting], []
        return dropped

    def end(self, slot: int, peak: int | None = None) -> None:
        """End the run in `slot`, which needed `peak` bytes."""
        run = self._running.pop(slot)
        if self._needs is not None and peak is not None:
            self._needs.learn(run.spec, peak)

    def add(self, spec: RunSpec) -> None:
        """Let another run wait, after all others."""
        self._waiting.append(ScheduledRun(spec))

    def sort(self, order: Callable[[RunSpec], int]) -> None:
        """Let runs wait in another order, smallest first; of equal ones the earlier."""
        self._waiting.sort(key=lambda run: order(run.spec))

    def again(self, slot: int) -> int | None:
        """Let the run in `slot`, which was out of memory, wait for another try with at most half as many others on its device.

        Returns:
            How many others; None if the run had its device to itself: the run has ended without another try.
        """
        run = self._running.pop(slot)
        if run.most_others == 0:
            return None
        run.max_others = run.most_others // 2
        if self._needs is not None:
            self._needs.raise_for(run.spec)
        self._waiting.append(run)  # at the end it delays no other run, and no later run can overtake it for ever
        return run.max_others

    def _others(self, slot: int) -> int:
        return sum(self._devices[other] == self._devices[slot] for other in self._running) - 1

    def _load(self, run: ScheduledRun) -> Load:
        return Load(self._needs.of(run.spec) if self._needs is not None else 0, run.max_others)
