"""One-pass evaluation against a plain loop."""

import pytest
import torch

from clbench.engine.evaluation.accuracy import evaluate
from clbench.method import Method
from clbench.methods.naive import Naive
from tests.streams import blob_stream, learn, learner_for


def plainly(learner, column, task):
    """Return the correct predictions of one column, one sample at a time."""
    stream, hits = learner.stream, 0
    for i in range(len(column.split)):
        at = torch.tensor([i])
        x = stream.preprocess(column.split.inputs(at))
        with torch.no_grad():
            scores = learner.logits(x, task if stream.setting == "task" else None)
        hits += int(scores.argmax(1) == column.split.labels[at])
    return hits


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
@pytest.mark.parametrize("kind", ["split", "permuted"])
@pytest.mark.parametrize("batch_size", [7, 1000])
def test_it_counts_what_a_plain_loop_counts(setting, kind, batch_size):
    stream = blob_stream(setting, kind=kind)
    learner, _ = learn(Naive(), stream, tasks=2)
    row = evaluate(learner, Naive(), stream.evaluation, batch_size)
    assert [n for _, n in row] == [len(column.split) for column in stream.evaluation]
    for t, column in enumerate(stream.evaluation):
        assert row[t][0] == plainly(learner, column, t)


def test_classes_not_met_yet_are_never_predicted():
    stream = blob_stream("class", "seen")
    _, rows = learn(Naive(), stream, tasks=2)
    assert rows[0][1] == rows[0][2] == rows[1][2] == 0


def test_the_methods_own_prediction_is_asked_and_told_the_task_only_in_the_task_setting():
    told = {}

    class Oracle(Method):
        def predict(self, learner, inputs, task_id):
            told.setdefault(learner.stream.setting, set()).add(task_id)
            return learner.logits(inputs, task_id)

    for setting in ("task", "domain", "class"):
        stream = blob_stream(setting)
        evaluate(learner_for(stream), Oracle(), stream.evaluation, 50)
    assert told == {"task": {0, 1, 2}, "domain": {None}, "class": {None}}


def test_batch_statistics_at_test_keep_evaluation_sets_apart():
    stream = blob_stream("class", "all")
    sizes = []

    class Watch(Method):
        def predict(self, learner, inputs, task_id):
            sizes.append(len(inputs))
            return learner.logits(inputs, task_id)

    learner = learner_for(stream)
    evaluate(learner, Watch(), stream.evaluation, 1000)
    assert sizes == [120]
    sizes.clear()
    learner.model.backbone = torch.nn.Sequential(learner.model.backbone, torch.nn.BatchNorm1d(16, track_running_stats=False))
    evaluate(learner, Watch(), stream.evaluation, 1000)
    assert sizes == [40, 40, 40]
