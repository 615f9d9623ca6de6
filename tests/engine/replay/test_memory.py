"""The memory: who is held, what is read, what is counted."""

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from clbench.methods.er import ER
from tests.streams import blob_stream, learn, learner_for

STREAM = blob_stream()
"""Three tasks of two classes, 80 samples each; no test changes it."""


def fill(stream, seed, size=20, batch=7, policy="reservoir", tasks=1):
    """Return a memory that was offered the first `tasks` tasks in batches; beside each sample its row and twice that."""
    learner = learner_for(stream, seed=seed)
    memory = learner.memory(size, policy)
    for task in stream.tasks[:tasks]:
        learner.start(task.index)
        for positions in torch.arange(len(task.train)).split(batch):
            offered = learner.batch(task.train, positions)
            memory.add(offered, twice=torch.stack([offered.rows, 2 * offered.rows], dim=1).float())
    return memory


def test_every_sample_is_held_with_the_same_probability():
    stream = blob_stream()
    counts = torch.zeros(len(stream.tasks[0].train.pool))
    for seed in range(400):
        counts[fill(stream, seed).rows] += 1
    offered = counts[stream.tasks[0].train.rows]
    assert offered.sum() == 400 * 20
    assert chisquare(offered.numpy()).pvalue > 1e-3


def test_two_of_four_are_held_alike_often_in_whatever_pieces_they_come():
    """So few that a count that is off by one shows."""
    learner, rows = learner_for(STREAM), STREAM.tasks[0].train.rows[:4]
    pairs = Counter()
    for draw in range(1200):
        memory = learner.memory(2, name=f"draw {draw}")
        for part in rows.split([4, 2, 1][draw % 3]):
            memory.offer(part, 0)
        pairs[tuple(sorted(memory.rows.tolist()))] += 1
    assert len(pairs) == 6
    assert chisquare(list(pairs.values())).pvalue > 1e-3


def test_no_sample_is_held_twice_in_one_pass_and_the_size_is_kept():
    memory = fill(blob_stream(), 3)
    assert len(memory) == 20
    assert len(memory.samples) == 20


def test_a_smaller_stream_than_the_memory_is_held_whole():
    memory = fill(blob_stream(), 0, size=500)
    assert len(memory) == 80
    assert len(memory.sample(1000)) == 80


def test_a_draw_has_no_repetition():
    memory = fill(blob_stream(), 0)
    drawn = memory.sample(15)
    assert len(set(drawn.rows.tolist())) == 15


def test_a_permuted_sample_replays_permuted():
    stream = blob_stream("domain", kind="permuted")
    learner = learner_for(stream)
    learner.start(1)
    memory = learner.memory(10)
    batch = learner.batch(stream.tasks[1].train, torch.arange(10))
    memory.add(batch)
    learner.start(2)
    again = memory.read(torch.arange(10))
    assert torch.equal(again.inputs, batch.inputs)
    assert torch.equal(again.labels, batch.labels)
    assert not torch.equal(again.inputs, learner.batch(stream.tasks[2].train, torch.arange(10)).inputs)


def test_bytes_are_those_of_the_distinct_samples():
    memory = fill(blob_stream(), 0)
    assert memory.bytes == 20 * 16
    memory.rows[:] = memory.rows[0]
    assert memory.bytes == 16


def test_replay_offers_each_sample_once_whatever_the_epochs():
    stream = blob_stream()
    method = ER(1000, 4, "reservoir")
    learn(method, stream)
    assert method.memory.seen == sum(len(task.train) for task in stream.tasks)
    assert len(method.memory.samples) == method.memory.seen


# ---- split, replace --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_the_split_is_what_is_held_with_its_labels(setting):
    stream = blob_stream(setting)
    memory = fill(stream, 0, 30, policy="ring", tasks=3)
    held, last = memory.split(), memory.split(task=2)
    assert set(zip(held.tasks.tolist(), held.rows.tolist(), strict=True)) == memory.samples
    table = {(task.index, r): y for task in stream.tasks for r, y in zip(task.train.rows.tolist(), task.train.labels.tolist())}
    assert [table[t, r] for t, r in zip(held.tasks.tolist(), held.rows.tolist(), strict=True)] == held.labels.tolist()
    assert set(last.tasks.tolist()) == {2}
    assert len(last) == 10


def test_a_split_beside_a_task_begins_with_the_task():
    memory = fill(STREAM, 0, 30, policy="ring", tasks=2)
    train = STREAM.tasks[2].train
    mixed = memory.split(beside=train)
    assert torch.equal(mixed.rows[:80], train.rows)
    assert torch.equal(mixed.labels[:80], train.labels)
    assert mixed.tasks[:80].eq(2).all()
    assert torch.equal(mixed.rows[80:], memory.split().rows)
    assert torch.equal(mixed.tasks[80:], memory.split().tasks)


def test_an_empty_memory_beside_a_task_is_the_task():
    mixed = learner_for(STREAM).memory(30).split(beside=STREAM.tasks[0].train)
    assert torch.equal(mixed.rows, STREAM.tasks[0].train.rows)
    assert torch.equal(mixed.labels, STREAM.tasks[0].train.labels)


def test_a_split_shows_each_sample_as_its_task_did():
    stream = blob_stream("domain", kind="permuted")
    memory = fill(stream, 0, 30, policy="ring", tasks=3)
    split = memory.split()
    assert torch.equal(split.raw(), memory.read(memory.slots()).inputs.mul(0.25).add(0.5).mul(255).round().to(torch.uint8))
    for task in stream.tasks:
        own = memory.split(task=task.index)
        shown = dict(zip(task.train.rows.tolist(), task.train.raw(), strict=True))
        assert all(torch.equal(image, shown[row]) for row, image in zip(own.rows.tolist(), own.raw(), strict=True))


def test_replace_holds_exactly_what_is_named_in_order():
    memory = fill(STREAM, 0, 30, tasks=3)
    train = STREAM.tasks[1].train
    rows = train.rows[torch.tensor([5, 60, 3])]
    memory.replace(rows, 1, mark=torch.tensor([1.0, 2.0, 3.0]))
    assert len(memory) == 3
    assert torch.equal(memory.split().rows, rows)
    assert torch.equal(memory.split().tasks, torch.ones(3, dtype=torch.int64))
    assert set(memory.kept) == {"mark"}
    assert memory.kept["mark"][memory.slots()].tolist() == [1.0, 2.0, 3.0]
    assert memory.bytes == 3 * 16
    memory.replace(torch.cat([rows, STREAM.tasks[0].train.rows[:1]]), torch.tensor([1, 1, 1, 0]))
    assert memory.samples == {(1, row) for row in rows.tolist()} | {(0, int(STREAM.tasks[0].train.rows[0]))}
    assert memory.kept == {}


def test_replace_refuses_what_does_not_fit_and_who_chooses_by_itself():
    rows = STREAM.tasks[0].train.rows
    with pytest.raises(ValueError, match="31 samples for a memory of 30"):
        learner_for(STREAM).memory(30).replace(rows[:31], 0)
    for policy in ("ring", "balanced"):
        with pytest.raises(ValueError, match=policy):
            learner_for(STREAM).memory(30, policy).replace(rows[:3], 0)
