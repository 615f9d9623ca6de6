"""The upper bounds: joint and cumulative see exactly the data that they declare."""

import torch

from clbench.engine.training.loop import Training
from clbench.method import Method
from clbench.methods.joint import Cumulative, Joint
from clbench.methods.naive import Naive
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights


def watch(kind, *arguments):
    """Return a method that notes the (task, row) of every sample it trains on."""

    class Watched(kind):
        def extend_batch(self, learner, batch):
            tasks = torch.full_like(batch.rows, batch.task) if batch.tasks is None else batch.tasks
            notes.setdefault(batch.task, set()).update(zip(tasks.tolist(), batch.rows.tolist(), strict=True))
            return batch

    notes: dict[int, set] = {}
    return Watched(*arguments), notes


def test_cumulative_trains_on_all_seen_and_nothing_else():
    stream = blob_stream()
    method, notes = watch(Cumulative, True)
    learn(method, stream)
    for t in range(3):
        assert notes[t] == {(i, r) for i in range(t + 1) for r in stream.tasks[i].train.rows.tolist()}


def only_event(method, stream):
    """Train a method that sees all data on its only task, the last one; return its learner."""
    learner = learner_for(stream)
    Training(learner, method, trainer()).learn(stream.tasks[-1])
    return learner


def test_cumulative_with_a_reset_ends_exactly_where_joint_does():
    stream = blob_stream()
    joint = only_event(Joint(), stream)
    reset, _ = learn(Cumulative(True), stream)
    warm, _ = learn(Cumulative(False), stream)
    assert same(weights(reset), weights(joint))
    assert not same(weights(warm), weights(joint))


def test_joint_trains_on_everything_once():
    stream = blob_stream("task")
    method, notes = watch(Joint)
    only_event(method, stream)
    assert notes == {2: {(t.index, r) for t in stream.tasks for r in t.train.rows.tolist()}}


def test_naive_changes_no_hook():
    assert not any(
        Naive().overrides(hook)
        for hook in (
            "fit",
            "extend_batch",
            "criterion",
            "penalty",
            "edit_gradients",
            "edit_update",
            "begin_task",
            "end_task",
            "predict",
        )
    )
    assert Method().access == "current"
