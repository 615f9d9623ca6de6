"""The reservoir: who is held, what is read, what is counted."""

import torch
from scipy.stats import chisquare

from clbench.methods.er import ER
from tests.streams import blob_stream, learn, learner_for


def fill(stream, seed, size=20, batch=7):
    learner = learner_for(stream, seed=seed)
    learner.start(0)
    memory = learner.memory(size)
    train = stream.tasks[0].train
    for positions in torch.arange(len(train)).split(batch):
        memory.add(learner.batch(train, positions))
    return memory


def test_every_sample_is_held_with_the_same_probability():
    stream = blob_stream()
    counts = torch.zeros(len(stream.tasks[0].train.pool))
    for seed in range(400):
        counts[fill(stream, seed).rows] += 1
    offered = counts[stream.tasks[0].train.rows]
    assert offered.sum() == 400 * 20
    assert chisquare(offered.numpy()).pvalue > 1e-3


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


def test_state_restores_the_contents_and_the_draws():
    stream = blob_stream()
    memory = fill(stream, 5)
    twin = learner_for(stream, seed=5).memory(20)
    twin.learner.start(0)
    twin.load_state({key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in memory.state().items()})
    assert torch.equal(memory.sample(6).rows, twin.sample(6).rows)


def test_replay_offers_each_sample_once_whatever_the_epochs():
    stream = blob_stream()
    method = ER(1000, 4, "reservoir")
    learn(method, stream)
    assert method.memory.seen == sum(len(task.train) for task in stream.tasks)
    assert len(method.memory.samples) == method.memory.seen
