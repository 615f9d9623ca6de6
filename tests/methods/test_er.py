"""Experience replay: what joins a batch, and when a sample enters the memory."""

from __future__ import annotations

import pytest
import torch

from clbench.engine.training.loop import Training
from clbench.methods.er import ER
from tests.streams import blob_stream, learner_for, trainer


class Watched(ER):
    """Keeps the batch of every step as it goes into the loss."""

    def setup(self, learner, stream):
        super().setup(learner, stream)
        self.seen = []

    def extend_batch(self, learner, batch):
        joined = super().extend_batch(learner, batch)
        self.seen.append((batch.rows, joined))
        return joined


def steps(replay_batch, buffer_size=1000, tasks=2, **how):
    stream = blob_stream()
    learner, method = learner_for(stream), Watched(buffer_size, replay_batch, "reservoir")
    method.setup(learner, stream)
    training = Training(learner, method, trainer(**how))
    for task in stream.tasks[:tasks]:
        training.learn(task)
    return method.seen


@pytest.mark.parametrize(("replay_batch", "drawn"), [(None, 16), (7, 7), (30, 30)])
def test_a_batch_is_joined_by_as_many_stored_samples_as_said(replay_batch, drawn):
    seen = steps(replay_batch, epochs=1)
    sizes = [len(joined) - len(own) for own, joined in seen]
    stored = [16 * step for step in range(10)]
    assert sizes == [min(drawn, held) for held in stored]
    assert all(torch.equal(joined.rows[: len(own)], own) for own, joined in seen)


def test_a_sample_is_stored_after_its_own_step():
    """In a first pass, no sample meets itself: it is drawn from steps before."""
    before: set[int] = set()
    for own, joined in steps(16, tasks=1, epochs=1):
        assert set(joined.rows[len(own) :].tolist()) <= before
        before |= set(own.tolist())
    assert len(before) == 80
