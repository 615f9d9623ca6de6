"""The policies of a memory: what each promises, and what all do."""

import copy
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from clbench.engine.replay.policies import last_of_each
from clbench.errors import ConfigError
from tests.engine.replay.test_memory import STREAM, fill
from tests.streams import blob_stream, learner_for

POLICIES = ["reservoir", "ring", "balanced"]


def classes(memory):
    """Return how many samples of each (task, label) are held."""
    held = memory.split()
    return Counter(zip(held.tasks.tolist(), held.labels.tolist(), strict=True))


# ---- every policy ----------------------------------------------------------------------------------------------------
@given(
    policy=st.sampled_from(POLICIES),
    size=st.integers(3, 90),
    batch=st.integers(1, 60),
    tasks=st.integers(1, 3),
    seed=st.integers(0, 20),
)
@settings(max_examples=60, deadline=None)
def test_what_is_held_was_offered_once_and_fits(policy, size, batch, tasks, seed):
    memory = fill(STREAM, seed, size, batch, policy, tasks)
    offered = {(task.index, row) for task in STREAM.tasks[:tasks] for row in task.train.rows.tolist()}
    slots = memory.slots()
    assert memory.seen == len(offered)
    assert len(memory) == len(slots) == len(set(slots.tolist())) == len(memory.samples) <= size
    assert memory.samples <= offered
    assert slots.min() >= 0
    assert slots.max() < size
    drawn = memory.draw(7)
    assert len(drawn) == len(set(drawn.tolist())) == min(7, len(memory))
    assert set(drawn.tolist()) <= set(slots.tolist())


@given(policy=st.sampled_from(POLICIES), size=st.integers(3, 90), batch=st.integers(1, 60), tasks=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_what_is_kept_beside_a_sample_stays_with_it(policy, size, batch, tasks):
    memory = fill(STREAM, 0, size, batch, policy, tasks)
    slots = memory.slots()
    assert torch.equal(memory.kept["twice"][slots, 0], memory.rows[slots].float())
    assert torch.equal(memory.kept["twice"][slots, 1], 2 * memory.rows[slots].float())


@pytest.mark.parametrize("policy", POLICIES)
def test_a_stream_that_fits_is_held_whole(policy):
    memory = fill(STREAM, 0, size=240, policy=policy, tasks=3)
    assert memory.samples == {(task.index, row) for task in STREAM.tasks for row in task.train.rows.tolist()}


@pytest.mark.parametrize("policy", POLICIES)
def test_offering_names_is_adding_batches(policy):
    memory = fill(STREAM, 4, 30, 80, policy, 3)
    names = learner_for(STREAM, seed=4).memory(30, policy)
    for task in STREAM.tasks:
        names.offer(task.train.rows, task.index)
    assert torch.equal(memory.rows, names.rows)
    assert torch.equal(memory.tasks, names.tasks)


@pytest.mark.parametrize("policy", POLICIES)
def test_samples_of_several_tasks_may_come_together(policy):
    apart, together = (learner_for(STREAM, seed=4).memory(30, policy) for _ in range(2))
    union = STREAM.union(STREAM.tasks[:3])
    for task in STREAM.tasks:
        apart.offer(task.train.rows, task.index)
    together.offer(union.rows, union.tasks)
    assert len(apart) == len(together)
    assert {task for task, _ in together.samples} == {task for task, _ in apart.samples}
    if policy == "ring":  # which draws nothing
        assert together.samples == apart.samples


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("setting", ["task", "class"])
def test_replayed_samples_of_a_batch_are_passed_over(policy, setting):
    stream = blob_stream(setting)
    learner = learner_for(stream)
    memory = learner.memory(30, policy)
    memory.offer(stream.tasks[0].train.rows, 0)
    before = memory.samples
    learner.start(1)
    memory.add(learner.join(learner.batch(stream.tasks[1].train, torch.arange(4)), memory.sample(10)))
    assert memory.seen == 84
    assert memory.samples <= before | {(1, row) for row in stream.tasks[1].train.rows[:4].tolist()}


@pytest.mark.parametrize("policy", POLICIES)
def test_state_restores_contents_draws_and_what_comes_next(policy):
    memory = fill(STREAM, 5, policy=policy, tasks=2)
    state = copy.deepcopy(memory.state())
    twin = learner_for(STREAM, seed=5).memory(20, policy)
    twin.load_state(state)
    assert torch.equal(memory.slots(), twin.slots())
    for one in (memory, twin):
        one.learner.start(2)
        assert len(one) == len(one.samples)
        batch = one.learner.batch(STREAM.tasks[2].train, torch.arange(60))
        one.add(batch, twice=torch.stack([batch.rows, 2 * batch.rows], dim=1).float())
    assert torch.equal(memory.rows, twin.rows)
    assert torch.equal(memory.tasks, twin.tasks)
    assert torch.equal(memory.kept["twice"], twin.kept["twice"])
    assert torch.equal(memory.draw(6), twin.draw(6))


def test_the_state_of_an_empty_memory_is_empty():
    for policy in POLICIES:
        memory, twin = (learner_for(STREAM).memory(20, policy) for _ in range(2))
        twin.load_state(memory.state())
        assert len(twin) == len(twin.slots()) == len(twin.sample(3)) == twin.bytes == 0


# ---- ring ------------------------------------------------------------------------------------------------------------
@given(size=st.integers(3, 90), batch=st.integers(1, 60), tasks=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_a_ring_holds_the_newest_of_every_task(size, batch, tasks):
    memory, share = fill(STREAM, 0, size, batch, "ring", tasks), size // 3
    newest = {(task.index, row) for task in STREAM.tasks[:tasks] for row in task.train.rows[-share:].tolist()}
    assert memory.samples == newest


def test_a_ring_without_a_slot_for_each_task_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"method\.buffer_size=2 .* 3 tasks\n.*method\.buffer_size=3"):
        learner_for(STREAM).memory(2, "ring")


# ---- balanced --------------------------------------------------------------------------------------------------------
@given(size=st.integers(1, 239), batch=st.integers(1, 90), tasks=st.integers(1, 3), seed=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_a_balanced_memory_differs_by_one_at_most_and_wastes_no_slot(size, batch, tasks, seed):
    """Samples come class by class: the hardest order."""
    memory = fill(STREAM, seed, size, batch, "balanced", tasks)
    assert len(memory) == min(size, 80 * tasks)
    counts = classes(memory)
    met = [counts[task, label] for task in range(tasks) for label in (2 * task, 2 * task + 1)]
    assert max(met) - min(met) <= 1


def test_a_class_smaller_than_its_share_is_held_whole_and_the_others_fill_the_rest():
    memory = learner_for(STREAM).memory(100, "balanced")
    first = STREAM.tasks[0].train
    order = torch.cat([torch.arange(40), torch.arange(40, 45)])  # all of the first class, five of the second
    memory.offer(first.rows[order], 0)
    memory.offer(STREAM.tasks[1].train.rows, 1)
    counts = classes(memory)
    assert counts[0, 1] == 5
    assert sum(counts.values()) == 100
    assert min(counts[0, 0], counts[1, 2], counts[1, 3]) >= 25


def test_the_sample_that_gives_way_is_random():
    """40 of the first class fill the memory, 20 of the second replace 20 of them: each with the same probability."""
    rows = STREAM.tasks[0].train.rows
    left = torch.zeros(len(STREAM.tasks[0].train.pool))
    for seed in range(400):
        memory = learner_for(STREAM, seed=seed).memory(40, "balanced")
        memory.offer(rows, 0)
        left[memory.rows] += 1
    first, second = left[rows[:40]], left[rows[40:]]
    assert first.sum() == second.sum() == 400 * 20
    assert chisquare(first.numpy()).pvalue > 1e-3
    assert second[:20].min() == 400  # the first 20 of the second class come while it is not yet full


def test_a_class_is_a_task_and_a_label_however_the_batch_numbers_it():
    """In the task setting a batch that asks several heads numbers its labels otherwise; the classes stay the same."""
    stream = blob_stream("task")
    learner = learner_for(stream)
    memory = learner.memory(60, "balanced")
    for task in stream.tasks:
        learner.start(task.index)
        batch = learner.batch(task.train, torch.arange(80))
        memory.add(batch if task.index % 2 else learner.with_all_heads(batch))
        memory.add(learner.with_all_heads(batch) if task.index % 2 else batch)
    assert classes(memory) == {(task, label): 10 for task in range(3) for label in range(2)}


@given(slots=st.lists(st.integers(0, 5), max_size=30))
def test_the_last_one_takes_the_slot(slots):
    origin, chosen = last_of_each(torch.arange(len(slots)), torch.tensor(slots, dtype=torch.int64))
    expected = {slot: i for i, slot in enumerate(slots)}
    assert dict(zip(chosen.tolist(), origin.tolist(), strict=True)) == expected
    assert len(chosen) == len(expected)
