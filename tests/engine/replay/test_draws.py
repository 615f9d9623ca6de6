"""Draws from a memory: uniform over what is held, new at every draw, augmented when they replay."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare

from tests.engine.replay.test_memory import STREAM, fill
from tests.engine.training.test_draws import OneImage, all_differ
from tests.streams import blob_stream, learner_for

POLICIES = ["reservoir", "ring", "balanced"]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_stored_sample_is_drawn_alike_often(policy):
    memory = fill(STREAM, 0, size=12, policy=policy, tasks=3)
    slots = torch.cat([memory.draw(5) for _ in range(600)])
    counts = torch.stack([(slots == slot).sum() for slot in memory.slots()])
    assert counts.sum() == 3000
    assert chisquare(counts.numpy()).pvalue > 1e-3


def test_no_two_draws_are_the_same_and_each_seed_has_its_own():
    memories = [fill(STREAM, seed, size=60, tasks=3) for seed in (0, 1)]
    drawn = [memory.draw(20) for memory in memories for _ in range(3)]
    assert all_differ(drawn)
    again = fill(STREAM, 0, size=60, tasks=3)
    assert torch.equal(again.draw(20), drawn[0])


def test_two_memories_of_one_method_draw_apart():
    learner = learner_for(STREAM)
    memories = [learner.memory(60, name=name) for name in ("memory", "other")]
    for memory in memories:
        memory.offer(STREAM.tasks[0].train.rows[:60], 0)
    assert all_differ([memory.draw(20) for memory in memories])


@pytest.mark.parametrize("changes", [{"crop": 2}, {"flip": True}])
def test_replay_is_augmented_anew_and_reading_is_not(changes):
    stream = blob_stream(dataset=OneImage(**changes))
    memory = fill(stream, 0, size=40)
    stored = stream.preprocess(stream.tasks[0].train.raw())[:40]
    assert all_differ([stored, *(memory.sample(40).inputs for _ in range(3))])
    assert torch.equal(memory.read(memory.slots()).inputs, stored)
    assert torch.equal(memory.sample(40, augment=False).inputs, stored)


def test_a_draw_leaves_labels_with_their_samples():
    memory = fill(STREAM, 0, size=60, tasks=3)
    memory.learner.start(2)
    labels = {
        (task.index, row): y for task in STREAM.tasks for row, y in zip(task.train.rows.tolist(), task.train.labels.tolist())
    }
    batch = memory.sample(30)
    names = zip(batch.tasks.tolist(), batch.rows.tolist(), strict=True)
    assert [labels[name] for name in names] == batch.labels.tolist()
    assert len(set(batch.labels.tolist())) == 6
