"""Federated orthogonal training: updates off the stored subspaces, bases from sums of sketches alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clbench import subspace
from clbench.errors import ConfigError
from clbench.federated.servers.fot import FOT
from clbench.toolkit import weight_matrices
from tests.federated.servers.rounds import federate, federated_stream
from tests.federated.servers.shipped import shipped
from tests.streams import blob_stream, learner_for, same, weights

TASK = blob_stream("task")


def joined(learner: Any, tensors: dict[str, torch.Tensor], rule: FOT) -> dict[str, torch.Tensor]:
    return {name: matrix.joined(tensors) for name, matrix in rule._matrices(learner).items()}


def leaks(rule: FOT, tasks: int = 3, **options: Any) -> list[float]:
    """Return for every round after the first task how much of each matrix's change lies in its basis, relative to the change."""
    found: list[float] = []
    before: dict[str, Any] = {}

    def look(training: Any, number: int) -> None:
        learner = training.learner
        now = {name: p.detach().clone() for name, p in learner.parameters.items()}
        if before and learner.task > 0:
            moved = {name: now[name] - before[name] for name in now}
            for name, change in joined(learner, moved, rule).items():
                found.append(float((change @ rule.bases[name]).norm() / change.norm()))
        before.update(now)

    federate(rule, options.pop("stream", TASK), tasks=tasks, after=look, **options)
    assert found
    return found


@pytest.mark.parametrize("bias", ["project", "free"])
@pytest.mark.parametrize("weighting", ["samples", "uniform"])
def test_every_update_is_orthogonal_to_the_stored_subspace(bias, weighting):
    assert max(leaks(shipped("fot", bias=bias, weighting=weighting, threshold=0.9))) < 1e-5


def test_not_without_the_projection(monkeypatch):
    monkeypatch.setattr(weight_matrices, "project", lambda *arguments: None)
    assert max(leaks(shipped("fot", threshold=0.9))) > 1e-2


def test_the_authors_way_too():
    assert max(leaks(shipped("fot_authors", threshold=0.9))) < 1e-5


def test_one_client_moves_as_gpm_would_let_it():
    """Given the same basis, the update of a single client is that of GPM's projection."""
    rule, plain = shipped("fot", threshold=0.9), shipped("fedavg")
    training = federate(rule, TASK, clients=1, tasks=1)
    learner, start = training.learner, weights(training.learner)
    other = federate(plain, TASK, clients=1, tasks=1)
    other.learner.model.load_state_dict(start)
    for each in (training, other):
        each.federated.rounds = 1
        each.learn(each.learner.stream.tasks[1])
    free = {name: value - start[name] for name, value in weights(other.learner).items()}
    found = {name: value - start[name] for name, value in weights(learner).items()}
    bases = {name: basis for name, basis in training_bases(rule).items() if basis.shape[1]}
    weight_matrices.project(free, rule._matrices(learner), {name: subspace.remove(basis, True) for name, basis in bases.items()})
    for name, value in found.items():
        torch.testing.assert_close(value, free[name], atol=1e-6, rtol=1e-5)


def training_bases(rule: FOT) -> dict[str, torch.Tensor]:
    """Return the bases that protected the task before the last consolidation: columns stay as they are when more are added."""
    before = rule._subspace_report.before
    return {name: basis[:, : before[name]] for name, basis in rule.bases.items()}


def test_the_basis_of_one_client_is_gpms():
    """A wide sketch of all of a client's samples spans what GPM's decomposition of the same rows does."""
    rule = shipped("fot", threshold=0.9, width=200.0)
    training = federate(rule, TASK, clients=1, tasks=1)
    learner, split = training.learner, TASK.tasks[0].train
    for name, rows in weight_matrices.entering(learner, split, torch.arange(len(split)), rule._matrices(learner)):
        exact = subspace.extend(None, rows, 0.9)
        found = rule.bases[name]
        assert abs(found.shape[1] - exact.shape[1]) <= 1
        k = min(found.shape[1], exact.shape[1])
        cosines = torch.linalg.svdvals(found[:, :k].mT @ subspace.extend(None, rows, 1.0)[:, : k + 2])
        assert cosines.min() > 0.9


def test_threshold_zero_is_federated_averaging():
    runs = [federate(rule, TASK, tasks=3) for rule in (shipped("fedavg"), shipped("fot", threshold=0.0))]
    assert same(*(weights(run.learner) for run in runs))
    assert runs[0].sent == runs[1].sent


def test_nothing_is_added_where_nothing_is_new():
    for rule, more in ((shipped("fot", threshold=0.9), 0), (shipped("fot", threshold=0.9, at_least_one=True), 1)):
        training = federate(rule, TASK, tasks=1)
        taken = {name: basis.shape[1] for name, basis in rule.bases.items()}
        task = training.learner.stream.tasks[0]
        rule.end_task(training.learner, task, lambda kind, payload, t=training, k=task: t._ask(k, [0, 1, 2, 3], kind, payload))
        for name, basis in rule.bases.items():
            assert basis.shape[1] - taken[name] == (more if taken[name] < basis.shape[0] else 0)


def test_bases_grow_and_stay_orthonormal():
    rule = shipped("fot", threshold=0.95)
    sizes = []
    federate(
        rule,
        blob_stream("domain", kind="permuted"),
        after=lambda t, n: sizes.append({k: b.shape[1] for k, b in rule.bases.items()}),
    )
    for name, basis in rule.bases.items():
        torch.testing.assert_close(basis.mT @ basis, torch.eye(basis.shape[1]), atol=1e-5, rtol=0)
        assert basis.shape[1] > sizes[len(sizes) // 2][name]


@pytest.mark.parametrize("on", ["global", "local"])
def test_sketches_are_counted_where_they_travel(on):
    rule = shipped("fot", threshold=0.9, sketch_on=on, width=2.0)
    training = federate(rule, TASK, clients=4, rounds=2, tasks=2)
    up, down = training.diagnostics()["federated"]["up"], training.diagnostics()["federated"]["down"]
    sizes = [matrix.shape[1] for matrix in joined(training.learner, dict(training.learner.parameters), rule).values()]
    sketches = 4 * sum(4 * d * 2 * d + 4 * 8 for d in sizes)  # clients, floats, and four doubles a matrix
    bases = 4 * 4 * sum(basis.numel() for basis in training_bases(rule).values())
    purpose = "sketch" if on == "global" else "riding"
    assert up[purpose] == sketches
    assert down[purpose] == bases
    assert up.get("riding" if on == "global" else "sketch", 0) == 0


def test_local_sketches_are_of_the_clients_own_models():
    globally, locally = (shipped("fot", threshold=0.9, sketch_on=on) for on in ("global", "local"))
    for rule in (globally, locally):
        federate(rule, blob_stream("domain"), tasks=1)
    first, second = list(globally.bases)
    torch.testing.assert_close(globally.bases[first], locally.bases[first])  # raw inputs are the same for any model
    assert globally.bases[second].shape != locally.bases[second].shape or not torch.allclose(
        globally.bases[second], locally.bases[second], atol=1e-4
    )


def test_it_goes_on_from_its_state():
    rule, again = shipped("fot", threshold=0.9), shipped("fot", threshold=0.9)
    training = federate(rule, TASK, tasks=2)
    learner = learner_for(federated_stream(TASK, 4))
    again.setup(learner, learner.stream)
    again.load_state(learner, rule.state())
    assert same(again.bases, rule.bases)
    assert training.report()["method_state_bytes"] == sum(basis.numel() * 4 for basis in rule.bases.values())


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"sketched_by=all"):
        shipped("fot", sketch_on="local", sketched_by="all")
    with pytest.raises(ConfigError, match=r"federated\.server\.threshold=\[0\.5, 0\.6\]"):
        federate(shipped("fot", threshold=[0.5, 0.6]), TASK, tasks=1)
    with pytest.raises(ConfigError, match=r"federated\.server\.width"):
        federate(shipped("fot", width=[5.0, 1.0]), TASK, tasks=1)
