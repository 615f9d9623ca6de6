"""Requests to forget for a model that writes answers: a tiny language model, and riddles with six answers."""

import pytest
import torch
import torch.nn.functional as F

from clbench.engine.evaluation.request_probes import losses
from clbench.engine.training.data_access import unseen
from clbench.errors import RefusedError
from tests.methods.shipped import shipped
from tests.methods.test_unlearning import stream_of
from tests.riddles import Riddles, writer_for
from tests.streams import learn, same, trainer, weights

FAST = {"epochs": 12, "batch_size": 16}


def stream(**said):
    return stream_of([{"classes": [1]}, {"classes": [4]}], datasets={"riddles": Riddles()}, **said)


def test_evaluation_sets_say_whether_the_form_is_kept():
    made = stream()
    roles = [(column.role, column.metric, column.request) for column in made.evaluation]
    assert ("forget_test", "exact_match", 1) in roles
    assert ("forget_test", "format", 1) in roles
    assert ("retain", "exact_match", None) in roles
    assert sum(role == "utility" for role, _, _ in roles) == 0
    assert len(unseen(made, made.tasks[1])) > 0


@pytest.mark.parametrize("name", ["ga", "gd", "kl_ga", "npo", "simnpo", "task_vector"])
def test_methods_without_requests_are_the_base(name):
    made = stream_of((), datasets={"riddles": Riddles()})
    one, rows = learn(shipped(name), made, writer_for(made), how=trainer(epochs=1))
    other, base = learn(shipped("naive"), made, writer_for(made), how=trainer(epochs=1))
    assert rows == base
    assert same(weights(one), weights(other))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ga", {"lr": 1e-3}),
        ("gd", {"lr": 1e-3}),
        ("kl_ga", {"lr": 1e-3}),
        ("npo", {"lr": 3e-3}),
        ("simnpo", {"forget_weight": 1.0}),
        ("task_vector", {"lr": 1e-2}),
        ("random_labels", {"lr": 3e-3, "epochs": 20}),
        ("retrain", {}),
    ],
)
def test_a_class_is_forgotten(name, changes):
    made = stream()
    _, rows = learn(shipped(name, **changes), made, writer_for(made), tasks=2, how=trainer(**FAST))
    place = next(i for i, c in enumerate(made.evaluation) if (c.role, c.request, c.metric) == ("forget_test", 1, "exact_match"))
    n = len(made.evaluation[place].split)
    assert rows[0][place] > 0.8 * n
    assert rows[1][place] < 0.5 * n


def test_losses_are_means_over_an_answers_tokens():
    made = stream()
    learner, _ = learn(shipped("naive"), made, writer_for(made), tasks=1, how=trainer(epochs=1))
    method, split = shipped("naive"), made.tasks[2].train
    found = losses(learner, method, split, 5)
    batch = learner.batch(split, torch.arange(len(split)))
    each = F.cross_entropy(learner.forward(batch), batch.labels, reduction="none")
    counts = (batch.inputs < 0).sum(1).tolist()
    expected = [float(part.mean()) for part in torch.split(each, counts)]
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("setting", ["task"])
def test_the_task_setting_is_refused(setting):
    with pytest.raises(RefusedError):
        stream(setting=setting)
    assert stream(setting="domain").setting == "domain"
