"""Streams with requests: what is asked to be forgotten, what is measured, and what is refused."""

from __future__ import annotations

import pytest
import torch

from clbench.engine.training.data_access import retained, unseen
from clbench.errors import ConfigError, RefusedError
from clbench.stream import Stream
from tests.scenarios.conftest import FakeSource
from tests.streams import stream_from

THREE = [{"classes": [3]}, {"samples": 0.25}, {"classes": [6, 7]}]


def made(requests=THREE, **said) -> Stream:
    datasets = said.pop("datasets", {"fake": FakeSource(), "other": FakeSource(n_classes=4, draw=1)})
    own = {"datasets": datasets, "requests": requests, "goal": "suppress", "claim_at": 0.8, "relearn_steps": 3, "n_tasks": 1}
    return stream_from("unlearn", **(own | said))


def classes(split):
    return set(split.pool.targets[split.rows].tolist())


def columns(stream, role, request=None):
    return [c for c in stream.evaluation if c.role == role and (request is None or c.request == request)]


def test_tasks_and_roles():
    stream = made()
    assert [task.kind for task in stream.tasks] == ["learn", "forget", "forget", "forget"]
    assert [task.index for task in stream.tasks] == [0, 1, 2, 3]
    assert stream.head_sizes == (14,)
    assert stream.classes_met == (14, 14, 14, 14)
    assert stream.active_outputs(3) == 14
    assert classes(stream.tasks[1].train) == {3}
    assert len(stream.tasks[1].train) == 6
    assert classes(stream.tasks[3].train) == {6, 7}
    assert not {3, 6, 7} & classes(stream.tasks[2].train), "samples are of classes that no request names"
    assert classes(stream.tasks[2].train) <= set(range(10)), "what is learned beside is left alone"
    assert len(stream.tasks[2].train) == round(0.25 * 7 * 6)
    (test,) = columns(stream, "forget_test", 3)
    assert classes(test.split) == {6, 7}
    assert len(test.split) == 6
    assert not columns(stream, "forget_test", 2), "a set of samples has no test set"
    (retain,) = columns(stream, "retain")
    assert classes(retain.split) == {0, 1, 2, 4, 5, 8, 9}
    (utility,) = columns(stream, "utility")
    assert classes(utility.split) == {10, 11, 12, 13}
    assert len(columns(stream, "task")) == 1
    assert [c.request for c in columns(stream, "forget_train")] == [1, 2, 3]
    assert columns(stream, "forget_train", 1)[0].split is stream.tasks[1].train


def test_labels_are_those_of_learning():
    stream = made(order_seed=5)
    known = dict(zip(stream.tasks[0].train.rows.tolist(), stream.tasks[0].train.labels.tolist(), strict=True))
    for task in stream.requests:
        assert [known[row] for row in task.train.rows.tolist()] == task.train.labels.tolist()
    for column in stream.evaluation:
        table = {int(c): int(stream.label_table[0, c]) for c in classes(column.split)}
        assert [table[c] for c in column.split.pool.targets[column.split.rows].tolist()] == column.split.labels.tolist()


def test_nothing_is_asked_for_twice():
    stream = made([{"samples": 9, "classes": [3, 4]}, {"classes": [3]}, {"samples": 0.5}])
    rows = [set(task.train.rows.tolist()) for task in stream.requests]
    assert len(set.union(*rows)) == sum(map(len, rows))
    assert len(rows[0]) == 9
    assert len(rows[0] | rows[1]) > 9


def test_the_seed_draws_samples_and_nothing_else():
    one, same, other = made(), made(), made(seed=1)
    assert one.fingerprint == same.fingerprint
    assert one.fingerprint != other.fingerprint
    assert not torch.equal(one.tasks[2].train.rows, other.tasks[2].train.rows)
    assert torch.equal(one.tasks[3].train.rows, other.tasks[3].train.rows)


def test_retained_is_the_rest():
    stream = made(valid_fraction=0.2)
    (first,) = retained(stream, stream.tasks[1])
    (last,) = retained(stream, stream.tasks[3])
    everything = set(stream.tasks[0].train.rows.tolist())
    gone = [set(task.train.rows.tolist()) for task in stream.requests]
    assert set(first.train.rows.tolist()) == everything - gone[0]
    assert set(last.train.rows.tolist()) == everything - set.union(*gone)
    assert first.valid is not None
    assert classes(first.valid) == set(range(14)) - {3}, "of a forgotten class nothing is validated on"
    assert not any(row in gone[0] for row in stream.tasks[0].valid.rows.tolist())


def test_unseen_is_alike_and_of_the_test_part():
    stream = made()
    split = unseen(stream, stream.tasks[3])
    assert classes(split) == {6, 7}
    assert split.pool is stream.evaluation[0].split.pool
    assert len(split) == 6


def test_requests_between_tasks():
    stream = made([{"classes": [7]}, {"classes": [1], "after": 0}, {"samples": 3, "after": 0}], n_tasks=2)
    assert [task.kind for task in stream.tasks] == ["learn", "forget", "forget", "learn", "forget"]
    assert [task.train.tasks for task in stream.tasks] == [0, 1, 2, 3, 4]
    assert [c.split.tasks for c in columns(stream, "task")] == [0, 3]
    assert classes(stream.tasks[1].train) == {1}
    assert classes(stream.tasks[2].train) <= {0, 2, 3, 4}
    assert stream.classes_met == (9, 9, 9, 14, 14)
    assert [task.index for task in retained(stream, stream.tasks[4])] == [0, 3]
    assert [task.index for task in retained(stream, stream.tasks[1])] == [0]


def test_a_request_of_one_goal():
    both = [{"classes": [3]}, {"samples": 0.25, "goal": "retrain"}]
    assert len(made(both).requests) == 1
    assert len(made(both, goal="retrain").requests) == 2


def test_without_requests_it_is_a_plain_stream():
    stream = made([])
    assert (stream.goal, stream.claim_at, stream.requests) == (None, None, ())
    assert [c.role for c in stream.evaluation] == ["task"]


def test_chance_is_what_the_first_data_set_knows():
    class Knows(FakeSource):
        chance = 0.05

    assert made().chance is None
    assert made(datasets={"fake": Knows(), "other": FakeSource(n_classes=4, draw=1)}).chance == 0.05
    assert made(datasets={"fake": FakeSource(), "other": Knows(n_classes=4, draw=1)}).chance is None


@pytest.mark.parametrize(
    ("requests", "complaint"),
    [
        ([3], "is no request"),
        ([{"class": [3]}], "is no request"),
        ([{"classes": []}], "no list of different classes"),
        ([{"classes": [3, 3]}], "no list of different classes"),
        ([{"classes": [10]}], "no list of different classes from 0 to 9"),
        ([{"classes": [3], "goal": "hide"}], "goal is none of suppress, retrain"),
        ([{"samples": 0}], "neither a number of samples nor a share"),
        ([{"samples": 1.5}], "neither a number of samples nor a share"),
        ([{"samples": 60}], "60 of 60 samples"),
        ([{"classes": None}], "names neither"),
        ([{"classes": [3], "after": 1}], "after is no position"),
        ([{"classes": [3]}, {"classes": [3, 4]}], "names class 3 in two requests"),
        ([{"samples": 5, "classes": [3]}, {"samples": 1, "classes": [3]}, {"classes": [3]}], "1 of 1 samples"),
    ],
)
def test_requests_that_cannot_be_met(requests, complaint):
    with pytest.raises(ConfigError, match=complaint):
        made(requests)


def test_what_is_not_learned_yet_cannot_be_forgotten():
    with pytest.raises(ConfigError, match="class 7, which has not been learned"):
        made([{"classes": [7], "after": 0}], n_tasks=2)


def test_two_classes_must_be_left():
    with pytest.raises(RefusedError, match="leaves 1 of 10 classes"):
        made([{"classes": list(range(9))}])


@pytest.mark.parametrize(
    ("said", "error", "complaint"),
    [
        ({"goal": "hide"}, ConfigError, "scenario.goal='hide'"),
        ({"claim_at": 2}, ConfigError, "scenario.claim_at=2"),
        ({"relearn_steps": -1}, ConfigError, "scenario.relearn_steps=-1"),
        ({"setting": "task"}, RefusedError, "scenario.setting=task"),
        ({"setting": "domain"}, RefusedError, "scenario.setting=domain"),
        ({"datasets": {}}, ConfigError, "scenario.datasets is empty"),
        ({"datasets": {"a": FakeSource(), "b": FakeSource(shape=(3, 8, 8))}}, ConfigError, "choose data sets of one shape"),
    ],
)
def test_options_that_cannot_be_used(said, error, complaint):
    with pytest.raises(error) as caught:
        made(**said)
    assert complaint in str(caught.value)
