"""Which runs may start now, and where: by memory, in their order. A pure function, and what it decides about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Load:
    """What a run asks of a device.

    Args:
        need: bytes.
        beside: how many others it bears on its device; 0: it has to be alone; None: any number.
    """

    need: int
    beside: int | None = None


@dataclass(frozen=True)
class Place:
    """A device as it is now.

    Args:
        budget: bytes that the runs on it may need together; None: nobody knows, any.
        free: workers that have nothing to do.
        running: what is on it.
    """

    budget: int | None
    free: int
    running: tuple[Load, ...] = ()

    def bears(self, load: Load) -> bool:
        """Return whether `load` may start here now. A device with nothing on it bears any: where else should it run?"""
        if self.free < 1:
            return False
        if not self.running:
            return True
        others = len(self.running)
        if any(run.beside is not None and others > run.beside for run in (load, *self.running)):
            return False  # each of them would have `others` beside it
        return self.budget is None or sum(run.need for run in self.running) + load.need <= self.budget


def admit(waiting: Sequence[Load], places: Mapping[str, Place]) -> list[tuple[int, str]]:
    """Return (index in `waiting`, name of the device) of every run that may start now.

    Runs come in their order, each to the device that bears it with the fewest runs on it. The first that no device bears
    keeps others from starting on the one device with the fewest runs: it drains, so that nothing waits for ever; on the other
    devices what comes later may go ahead.
    """
    now, started = dict(places), list[tuple[int, str]]()
    reserved: str | None = None
    for index, load in enumerate(waiting):
        open_now = [name for name in now if name != reserved]
        if not any(now[name].free for name in open_now):
            break
        fitting = [name for name in open_now if now[name].bears(load)]
        if fitting:
            name = min(fitting, key=lambda name: len(now[name].running))
            now[name] = replace(now[name], free=now[name].free - 1, running=(*now[name].running, load))
            started.append((index, name))
        elif reserved is None:
            reserved = min(now, key=lambda name: len(now[name].running))
    return started
