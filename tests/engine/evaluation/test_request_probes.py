"""What is looked at around requests: whether there is enough to forget, losses, relearning; and that looking changes nothing."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from clbench.engine.evaluation.accuracy import evaluate
from clbench.engine.evaluation.claims import chance_level, shown, unlearning, worth_forgetting
from clbench.engine.evaluation.joint_baseline import joint_row
from clbench.engine.evaluation.request_probes import LARGEST, LOSSES, detection, losses, probe
from clbench.engine.optimizers import Adam
from clbench.engine.training.loop import Training
from clbench.errors import RefusedError
from clbench.methods.naive import Naive
from clbench.runs.run import assemble, train_run
from clbench.testing import make_spec, run
from tests.methods.shipped import shipped
from tests.methods.test_unlearning import stream_of
from tests.streams import learner_for, same, trainer, weights


def learned(stream, name="naive", tasks=None, **options):
    learner, method = learner_for(stream, **options), shipped(name)
    method.setup(learner, stream)
    training = Training(learner, method, trainer())
    for task in stream.tasks[:tasks]:
        training.learn(task)
    return learner, method, training


def row(stream, **accuracy):
    """A row of the matrix with the given accuracies by role, 0 elsewhere, of 100 samples a column."""
    return [[accuracy.get(column.role, 0), 100] for column in stream.evaluation]


def test_too_little_known_is_no_claim():
    stream = stream_of(claim_at=0.8)
    assert chance_level(stream) == pytest.approx(1 / 6)
    # two test sets, and the samples of the request without one
    joint = row(stream, forget_test=90, forget_train=90)
    assert worth_forgetting(stream, row(stream, forget_test=73, forget_train=73), joint)["claim"]
    found = worth_forgetting(stream, row(stream, forget_test=71, forget_train=72), joint)
    assert found["claim"] is False
    assert "no claim" in found["no_claim"]
    assert found["before"] == pytest.approx([0.71, 0.72, 0.71])
    assert found["needed"] == pytest.approx([0.72] * 3)
    assert "request 0" in found["no_claim"]
    assert "on 2 more" in found["no_claim"]


def test_an_unknown_request_is_no_claim_however_well_others_are_known():
    stream = stream_of(claim_at=0.8)
    base = row(stream, forget_test=100, forget_train=100)
    last = next(i for i, c in enumerate(stream.evaluation) if c.request == stream.requests[2].index and c.role == "forget_test")
    base[last] = [20, 100]
    found = worth_forgetting(stream, base, row(stream, forget_test=100, forget_train=100))
    assert found["claim"] is False
    assert "request 2" in found["no_claim"]
    assert "20.0 %" in found["no_claim"]


def test_what_is_at_chance_is_nothing_to_forget():
    stream = stream_of(claim_at=0.8)
    poor = row(stream, forget_test=30, forget_train=30)
    assert worth_forgetting(stream, poor, None)["claim"] is False
    fair = row(stream, forget_test=34, forget_train=34)
    assert worth_forgetting(stream, fair, None)["claim"] is True


@pytest.mark.parametrize(
    ("chance", "least", "words"),
    [
        (0.05, 0.1, "twice chance level"),
        (1 / 3, 2 / 3, "twice chance level"),
        (0.5, 0.75, "half-way from chance to all right"),
        (0.9, 0.95, "half-way from chance to all right"),
    ],
)
def test_the_floor_can_be_reached_whatever_the_chance(chance, least, words):
    stream = replace(stream_of(claim_at=0.0), chance=chance)
    found = worth_forgetting(stream, row(stream), None)
    assert found["needed"] == pytest.approx([least] * len(stream.requests))
    assert max(found["needed"]) <= 1
    assert words in found["no_claim"]
    above = [[least * 100 + 1e-9, 100] for _ in stream.evaluation]
    assert worth_forgetting(stream, above, None)["claim"] is True


def test_the_streams_own_chance_comes_first():
    stream = stream_of()
    assert chance_level(replace(stream, chance=0.05)) == 0.05
    assert chance_level(replace(stream, chance=0.0)) == 0.0
    assert unlearning(replace(stream, chance=0.05))["unlearning"]["chance"] == 0.05


def test_joint_training_is_the_base_of_a_single_task():
    stream = stream_of()
    learner, method, _ = learned(stream, tasks=1)
    before = weights(learner)
    assert joint_row(stream, learner, trainer(), stream.tasks[0], 64) == evaluate(learner, method, stream.evaluation, 64)
    assert same(before, weights(learner))


def test_a_continual_learner_is_held_against_joint_training():
    """Two tasks, the first one forgotten: naive knows nothing of class 1, joint training does."""
    stream = stream_of(n_tasks=2, requests=[{"classes": [1]}])
    learner, method, training = learned(stream, tasks=2)
    measured = evaluate(learner, method, stream.evaluation, 64)
    found = probe(stream, learner, method, training.trainer, stream.tasks[1], measured, 64)["conclusion"]
    assert found["joint"] == [1.0]
    assert max(found["before"]) < 0.5
    assert not found["claim"]
    assert probe(stream, learner, method, training.trainer, stream.tasks[0], measured, 64) == {}


def test_losses_are_those_of_the_right_labels():
    stream = stream_of()
    learner, method, _ = learned(stream, tasks=1)
    split = stream.tasks[1].train
    batch = learner.batch(split, torch.arange(len(split)))
    expected = F.cross_entropy(learner.forward(batch), batch.labels, reduction="none")
    assert losses(learner, method, split, 7) == pytest.approx(expected.tolist(), rel=1e-3)
    whole = losses(learner, method, stream.tasks[0].train, 64)
    assert len(whole) == LOSSES
    with torch.no_grad():
        learner.model.heads[0].bias[1] = float("-inf")
    assert losses(learner, method, split, 64) == [LARGEST] * len(split)


@pytest.mark.parametrize("optimizer", [None, Adam(0.01, (0.9, 0.999), 1e-8, 0.0, carry=True)])
def test_looking_changes_nothing(optimizer):
    stream = stream_of(relearn_steps=5)
    learner, method, training = learned(stream, "gd", optimizer=copy.deepcopy(optimizer))
    last = stream.tasks[-1]
    before, moments = weights(learner), copy.deepcopy(learner.optimizer.state())
    flags = (learner.plan, learner.lr, learner.base_lr, learner.task)
    told = probe(stream, learner, method, training.trainer, last, [], 64)
    assert same(before, weights(learner))
    assert flags == (learner.plan, learner.lr, learner.base_lr, learner.task)
    after = learner.optimizer.state()
    assert str(after) == str(moments)
    assert [each["request"] for each in told["losses"]] == [1, 2, 3]
    assert told["relearning"]["steps"] == [0, 1, 2, 4, 5]
    assert all(len(row) == 3 for row in told["relearning"]["accuracy"])
    assert told == probe(stream, learner, method, training.trainer, last, [], 64)


def test_what_was_forgotten_comes_back():
    stream = stream_of(relearn_steps=32)
    learner, method, training = learned(stream, "ga")
    told = probe(stream, learner, method, training.trainer, stream.tasks[-1], [], 64)["relearning"]
    assert told["accuracy"][-1][0] > told["accuracy"][0][0]


class Tells(Naive):
    """Says of an input how near its first coordinate is to a request's number."""

    def forget_score(self, learner, inputs):
        return inputs.flatten(1)[:, :1] * torch.tensor([[1.0, -1.0, 0.0]])


def test_detection_is_the_area_under_the_curve_of_a_methods_own_measure():
    from sklearn.metrics import roc_auc_score

    stream = stream_of()
    learner = learner_for(stream)
    found = detection(stream, learner, Tells(), 7)
    assert [each["request"] for each in found] == [1, 2, 3]

    def first(role, request=None):
        split = next(c for c in stream.evaluation if (c.role, c.request) == (role, request)).split
        return learner.batch(split, torch.arange(len(split))).inputs.flatten(1)[:, 0].tolist()

    own, rest = first("forget_test", 1), first("retain")
    expected = roc_auc_score([1] * len(own) + [0] * len(rest), own + rest)
    assert found[0]["retain"] == pytest.approx(expected, abs=1e-4)
    own = first("forget_train", 2)
    expected = roc_auc_score([1] * len(own) + [0] * len(rest), [-x for x in own + rest])
    assert found[1]["retain"] == pytest.approx(expected, abs=1e-4)
    assert found[2]["retain"] == 0.5, "all alike: a guess"


def test_what_is_shown_after_an_event():
    stream = stream_of(n_tasks=2)
    some = list(range(len(stream.evaluation)))
    assert shown(stream, some, 0) == [0]
    assert shown(stream, some, 1) == [0, 1]
    assert [stream.evaluation[i].role for i in shown(stream, some, 2)] == ["retain"]


def test_methods_that_say_nothing_are_refused():
    with pytest.raises(RefusedError, match="method=er does not handle requests"):
        assemble(make_spec("er", ["scenario=unlearn_digits", "scenario.n_tasks=1"]), torch.device("cpu"))


def test_compositions_say_what_their_parts_say():
    from clbench.methods.compose import Compose

    parts = {name: shipped(name) for name in ("naive", "ga", "er")}
    assert Compose({"a": parts["naive"]}).requests == "ignored"
    assert Compose({"a": parts["naive"], "b": parts["ga"]}).requests == "handled"
    assert Compose({"a": parts["ga"], "b": parts["er"]}).requests == "refused"


def test_a_record_of_requests(tmp_path):
    options = ["scenario=unlearn_digits", "scenario.n_tasks=1", "trainer.epochs=3", "scenario.relearn_steps=2"]
    options += ["scenario.goal=retrain"]
    result = run(make_spec("retrain", options, results_dir=tmp_path)).result
    assert result["unlearning"] == {"goal": "retrain", "requests": [1, 2, 3, 4], "chance": 1 / 20}
    assert [event["kind"] for event in result["events"]] == ["untrained", "task", *["request"] * 4]
    assert result["n_tasks"] == 1
    assert {column["role"] for column in result["columns"]} == {"task", "forget_train", "forget_test", "retain", "utility"}
    place = next(i for i, c in enumerate(result["columns"]) if c["role"] == "forget_test" and c["request"] == 1)
    assert result["matrix"][1][place][0] > 20
    assert result["matrix"][2][place][0] == 0, "retrained without the class, nobody names it"


def test_too_little_training_is_said_once(tmp_path):
    told = []
    options = ["scenario=unlearn_digits", "scenario.n_tasks=1", "optimizer.lr=1e-6"]
    spec = make_spec("naive", options, results_dir=tmp_path)
    result = train_run(spec, lambda message: told.append(message.get("text", ""))).result
    assert result["diagnostics"][0]["conclusion"]["claim"] is False
    assert sum("no claim" in text for text in told) == 1


def test_streams_without_requests_say_nothing_of_them(tmp_path):
    result = run(make_spec("naive", results_dir=tmp_path)).result
    assert "unlearning" not in result
    assert all("request" not in column for column in result["columns"])
    assert result["n_tasks"] == 5
    assert replace(stream_of(()), fingerprint="").goal is None
