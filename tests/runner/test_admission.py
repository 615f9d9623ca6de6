"""Which runs may start: within the budget, in their order, and none waits for ever."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.runner.admission import Device, Load, admit

loads = st.builds(Load, st.integers(0, 12), st.none() | st.integers(0, 3))
devices = st.builds(Device, st.none() | st.integers(0, 12), st.integers(0, 4), st.lists(loads, max_size=4).map(tuple))
many = st.lists(devices, min_size=1, max_size=3).map(lambda found: {str(i): device for i, device in enumerate(found)})


def sound(device: Device) -> bool:
    """Whether the runs on the device may share it."""
    runs = device.running
    enough_room = all(run.max_others is None or len(runs) - 1 <= run.max_others for run in runs)
    return len(runs) <= 1 or (enough_room and (device.budget is None or sum(run.need for run in runs) <= device.budget))


def after(before: dict[str, Device], waiting: list[Load], admitted: list[tuple[int, str]]) -> dict[str, Device]:
    now = dict(before)
    for index, name in admitted:
        now[name] = replace(now[name], free=now[name].free - 1, running=(*now[name].running, waiting[index]))
    return now


@settings(deadline=None, max_examples=300)
@given(many, st.lists(loads, max_size=8))
def test_what_starts_fits(before: dict[str, Device], waiting: list[Load]) -> None:
    admitted = admit(waiting, before)
    indices = [index for index, _ in admitted]
    assert indices == sorted(set(indices)), "each at most once, in order"
    now = after(before, waiting, admitted)
    for name, device in now.items():
        assert device.free >= 0
        if sound(before[name]) or device.running != before[name].running:
            assert sound(device) or not sound(before[name])
    for name in {name for _, name in admitted}:
        assert sound(now[name]) or not sound(before[name])


@settings(deadline=None, max_examples=300)
@given(many, st.lists(loads, min_size=1, max_size=8))
def test_the_first_starts_if_it_can(before: dict[str, Device], waiting: list[Load]) -> None:
    could = any(device.admits(waiting[0]) for device in before.values())
    assert could == any(index == 0 for index, _ in admit(waiting, before))


@settings(deadline=None, max_examples=300)
@given(many, st.lists(loads, min_size=1, max_size=8))
def test_nothing_idles_that_could_work(before: dict[str, Device], waiting: list[Load]) -> None:
    """An empty device with a free worker gets a run, if any is left."""
    admitted = admit(waiting, before)
    now = after(before, waiting, admitted)
    idle = [device for device in now.values() if not device.running and device.free]
    assert not idle or len(admitted) == len(waiting)


def test_a_run_larger_than_the_device_runs_alone() -> None:
    assert admit([Load(50)], {"0": Device(10, 2)}) == [(0, "0")]
    assert admit([Load(50)], {"0": Device(10, 2, (Load(1),))}) == []
    assert admit([Load(1)], {"0": Device(10, 2, (Load(50),))}) == []


def test_a_run_goes_where_there_is_least() -> None:
    before = {"0": Device(10, 3, (Load(1), Load(1))), "1": Device(10, 3, (Load(1),))}
    assert admit([Load(1)] * 3, before) == [(0, "1"), (1, "0"), (2, "1")]


def test_who_has_to_wait_holds_up_one_device_only() -> None:
    before = {"0": Device(10, 3, (Load(4),)), "1": Device(10, 3, (Load(4), Load(4)))}
    assert admit([Load(9), Load(1), Load(1), Load(2)], before) == [(1, "1"), (2, "1")]


def test_a_run_that_bears_one_other_gets_no_second() -> None:
    picky = Load(1, max_others=1)
    assert admit([Load(1), Load(1)], {"0": Device(None, 5, (picky,))}) == [(0, "0")]
    assert admit([picky], {"0": Device(None, 5, (Load(1), Load(1)))}) == []
    assert admit([Load(1, max_others=0), Load(1)], {"0": Device(None, 5)}) == [(0, "0")]


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4), loads)
def test_no_flood_of_small_runs_keeps_a_large_one_waiting_for_ever(seed: int, devices: int, workers: int, head: Load) -> None:
    """Small runs arrive without end behind `head`; each lasts up to five rounds; it starts all the same."""
    draw = random.Random(seed)
    running: dict[str, list[list[int]]] = {str(name): [[draw.randint(1, 5)] for _ in range(workers)] for name in range(devices)}
    for _ in range(5 * (workers + 1) * devices):
        before = {name: Device(8, workers - len(runs), (Load(2),) * len(runs)) for name, runs in running.items()}
        admitted = admit([head, *[Load(2)] * 20], before)
        if any(index == 0 for index, _ in admitted):
            return
        for _, name in admitted:
            running[name].append([draw.randint(1, 5)])
        for runs in running.values():
            for run in runs:
                run[0] -= 1
            runs[:] = [run for run in runs if run[0] > 0]
    raise AssertionError("it never started")
