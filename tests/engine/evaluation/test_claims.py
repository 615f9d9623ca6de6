"""What may be concluded: nothing without the condition, and the numbers of the matrix with it."""

from dataclasses import replace

import pytest
import torch

from clbench.engine.evaluation.claims import claim
from clbench.runs.run import assemble
from clbench.testing.make_run import make_spec


@pytest.fixture(scope="module")
def stream():
    made = assemble(make_spec("naive", ["scenario.n_tasks=5"]), torch.device("cpu"))[0]
    tasks = (*made.tasks[:2], replace(made.tasks[2], name="recovery"))
    return replace(made, tasks=tasks, claim_at=0.8)


def of(stream, *hits):
    events = [{"kind": "untrained", "task": -1, "step": None}]
    matrix = [[[1, 100]]]
    for task, hit in enumerate(hits):
        events += [{"kind": "within", "task": task, "step": 5}, {"kind": "task", "task": task, "step": None}]
        matrix += [[[50, 100]], [[hit, 100]]]
    return claim(stream, events, matrix)


def test_nothing_is_said_without_a_condition_or_before_task_0(stream):
    assert of(replace(stream, claim_at=None), 90) == {}
    assert of(stream) == {}


def test_too_little_known_is_no_claim(stream):
    found = of(stream, 79)
    assert found["claim"] is False
    assert "no claim" in found["no_claim"]
    assert "79.0 %" in found["no_claim"]
    assert of(stream, 80) == {"before": 0.8, "needed": 0.8, "claim": True}
    assert of(stream, 79, 10, 70)["claim"] is False


def test_loss_and_return_are_of_column_0(stream):
    assert of(stream, 90, 30)["lost"] == pytest.approx(0.6)
    found = of(stream, 90, 30, 75)
    assert (found["after"], found["recovered"]) == (0.3, 0.75)
    assert found["returned"] == pytest.approx(0.75)
    assert "returned" not in of(stream, 90, 90, 95)
