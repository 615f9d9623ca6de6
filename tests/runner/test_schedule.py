"""The order of a sweep, without processes: every run ends with any amount of memory."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.runner.device_memory import GIB, Limits, Needs
from clbench.runner.schedule import Schedule
from tests.runner.run_functions import make_spec

LIMITS = Limits(share=0.9, unknown={"cpu": 1, "cuda": 1}, context=0, margin=1)


def gpu_slots(devices: int, workers: int) -> list[dict[str, str]]:
    return [{"CUDA_VISIBLE_DEVICES": str(number % devices)} for number in range(devices * workers)]


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    devices=st.integers(1, 3),
    workers=st.integers(1, 4),
    true=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    informed=st.booleans(),
)
def test_every_run_ends_and_fails_only_alone(seed: int, devices: int, workers: int, true: list[int], informed: bool) -> None:
    """Devices of 6 GiB. Runs need the amounts in `true`, which are unknown before. Too much on a device ends one of its runs."""
    draw = random.Random(seed)
    specs = [make_spec(Path("r"), number, method=f"m{need}", need=need) for number, need in enumerate(true)]
    slots = gpu_slots(devices, workers)
    budgets = {str(device): 6 * GIB for device in range(devices)}
    needs = Needs(LIMITS, "cuda") if informed else None
    schedule = Schedule(specs, slots, needs, budgets if informed else None)
    running: dict[int, int] = {}
    ended: dict[int, str] = {}
    for _ in range(2000):
        started = schedule.start()
        assert all(slot not in running for slot, _ in started)
        running.update({slot: spec.seed for slot, spec in started})
        if not running:
            break
        slot = draw.choice(list(running))
        number = running.pop(slot)
        device = slots[slot]["CUDA_VISIBLE_DEVICES"]
        others = [true[other] for s, other in running.items() if slots[s]["CUDA_VISIBLE_DEVICES"] == device]
        if true[number] + sum(others) > 6:
            if schedule.again(slot) is None:
                assert not others
                ended[number] = "failed"
        else:
            schedule.end(slot, true[number] * GIB)
            ended[number] = "done"
    assert len(schedule) == 0
    assert ended == {number: "failed" if need > 6 else "done" for number, need in enumerate(true)}


def test_each_try_has_fewer_runs_on_its_device() -> None:
    schedule = Schedule([make_spec(Path("r"), seed) for seed in range(6)], gpu_slots(1, 6))
    slot = next(slot for slot, spec in schedule.start() if spec.seed == 5)
    assert schedule.again(slot) == 2
    for other in (0, 1, 2):
        assert schedule.start() == []
        schedule.end(other)
    ((slot, spec),) = schedule.start()
    assert (spec.seed, schedule.again(slot)) == (5, 1)
    schedule.end(3)
    ((slot, _),) = schedule.start()
    assert schedule.again(slot) == 0
    assert schedule.start() == []
    schedule.end(4)
    ((slot, _),) = schedule.start()
    assert schedule.again(slot) is None
    assert schedule.start() == []


def test_a_run_was_not_alone_if_it_was_for_a_while_only() -> None:
    schedule = Schedule([make_spec(Path("r"), seed) for seed in range(2)], gpu_slots(1, 2))
    schedule.start()
    schedule.end(0)
    assert schedule.again(1) == 0


def test_what_the_first_run_needed_decides_how_many_follow() -> None:
    needs = Needs(LIMITS, "cuda")
    schedule = Schedule([make_spec(Path("r"), seed) for seed in range(20)], gpu_slots(1, 16), needs, {"0": 4 * GIB})
    started = schedule.start()
    assert len(started) == 4, "nothing is known yet: 1 GiB each"
    schedule.end(started[0][0], peak=GIB // 2)
    assert len(schedule.start()) == 5, "3 are on it; at half a GiB each, 8 fit"
