"""Which runs may start now, and on which device: a pure function of memory and of the order of the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Load:
    """The demand of a run on its device.

    Args:
        need: memory in bytes.
        max_others: how many other runs may share the device; 0: none; None: any number.
    """

    need: int
    max_others: int | None = None


@dataclass(frozen=True)
class Device:
    """The present state of a device.

    Args:
        budget: bytes that its runs may need together; None: unknown, no limit.
        free: number of idle workers.
        running: the loads of its runs.
    """

    budget: int | None
    free: int
    running: tuple[Load, ...] = ()

    def admits(self, load: Load) -> bool:
        """Return whether `load` may start here now. An empty device admits any load, since no device would suit better."""
        if self.free < 1:
            return False
        if not self.running:
            return True
        others = len(self.running)
        if any(run.max_others is not None and others > run.max_others for run in (load, *self.running)):
            return False  # each of them would share the device with `others` runs
        return self.budget is None or sum(run.need for run in self.running) + load.need <= self.budget


def admit(waiting: Sequence[Load], devices: Mapping[str, Device]) -> list[tuple[int, str]]:
    """Return (index in `waiting`, name of the device) of every run that may start now.

    Runs start in their order. Each goes to the device with the fewest runs among those that admit it. The first run that no
    device admits reserves the device with the fewest runs: no later run starts there, so that no run waits for ever. On the
    other devices later runs may start.
    """
    now, started = dict(devices), list[tuple[int, str]]()
    reserved: str | None = None
    for index, load in enumerate(waiting):
        open_now = [name for name in now if name != reserved]
        if not any(now[name].free for name in open_now):
            break
        suitable = [name for name in open_now if now[name].admits(load)]
        if suitable:
            name = min(suitable, key=lambda name: len(now[name].running))
            now[name] = replace(now[name], free=now[name].free - 1, running=(*now[name].running, load))
            started.append((index, name))
        elif reserved is None:
            reserved = min(now, key=lambda name: len(now[name].running))
    return started
